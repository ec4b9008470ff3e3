// The one place where the state of the page lives. Views read it, actions change it through set().
import { useLayoutEffect, useState } from "./vendor/hooks.js";

/** @type {LoadedFiles} */
export const NO_FILES = { entries: [], next: null, loading: false, error: null };

export const state = {
  ready: false, // the session has been fetched
  reachable: true, // the service responds
  late: 0, // how many of its responses are late
  /** @type {Session | null} */
  session: null, // of an anonymous visitor
  /** @type {Namespace[] | null} */
  namespaces: null, // until the service has listed them
  current: "default", // the namespace that is shown
  files: NO_FILES, // what has been loaded of it, by name
  prefix: "", // the filter, applied by the service
  /** @type {Sort} */
  sort: { key: "name", down: false },
  /** @type {Set<string>} */
  selected: new Set(), // names
  /** @type {OpenDialog | null} */
  dialog: null, // one at a time
  /** @type {OpenMenu | null} */
  menu: null,
  railOpen: false, // on a narrow screen
  /** @type {Upload[]} */
  uploads: [], // see queue.js
  /** @type {Remembered[]} */
  unfinished: [], // uploads of an earlier visit, which wait for their files
  /** @type {Notice[]} */
  notices: [],
  said: "", // for screen readers, politely
};

/** @type {Set<() => void>} */
const listeners = new Set();

/** @param {Partial<typeof state>} patch */
export function set(patch) {
  Object.assign(state, patch);
  for (const listener of listeners) listener();
}

/**
 * Calls `listener` after each change; returns what ends that.
 * @param {() => void} listener
 */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// It listens from the first drawing on: an effect that waits for a frame would miss what comes
// before it.
export function useStore() {
  const [, redraw] = useState(0);
  useLayoutEffect(() => subscribe(() => redraw((n) => n + 1)), []);
  return state;
}
