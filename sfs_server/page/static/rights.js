// Who may do what, as the service will decide: what a person may not do is not offered.
// An API token may do less than its user; then the service's refusal is shown.

/** @typedef {Session | null} Who */

/** @param {Who} session @param {Namespace} ns */
const owns = (session, ns) => session !== null && ns.owner !== null && ns.owner === session.user;

/** @param {Who} session @param {Namespace} [ns] */
export const mayWrite = (session, ns) =>
  Boolean(session && ns && (ns.owner === null || owns(session, ns) || session.admin));

/** @param {Who} session @param {Namespace} [ns] */
export const mayManage = (session, ns) =>
  Boolean(session && ns && (owns(session, ns) || session.admin));

/** @param {Who} session @param {Namespace} ns */
export const mayDeleteNamespace = (session, ns) => mayManage(session, ns) && ns.name !== "default";
/** @param {Who} session */
export const mayCreateNamespace = (session) => session !== null;
