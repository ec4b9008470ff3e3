// Which uploads have begun, in this browser: after a reload, or in another tab, the same file goes on
// from what is stored when it is picked or dropped again. It is the same where its size and time
// of change are, and it goes to the same path for the same user, alone or with a whole folder.
//
// The session of an upload belongs to one tab. Tabs ask each other: the one that has it says so, and
// a tab that was closed says nothing.
import { set, state } from "./store.js";
import { KEY } from "./uploads.js";

const MOST = 200;
const LIFE_MS = 24 * 3600 * 1000; // where the service does not say
const ASK_MS = 250;

/** @type {Set<string>} sessions of this tab */
const held = new Set();

/** @type {BroadcastChannel | undefined} */
let channel;
/** @type {Set<(url: string) => void>} */
const hearers = new Set();

function tabs() {
  if (channel) return channel;
  const opened = (channel = new BroadcastChannel(KEY));
  opened.onmessage = ({ data: { ask, held: url } }) => {
    if (ask) for (const mine of held) opened.postMessage({ held: mine });
    if (url) for (const hear of hearers) hear(url);
  };
  return opened;
}

/** @returns {Promise<Set<string>>} the sessions that other tabs have */
async function heldElsewhere() {
  const found = new Set();
  const hear = (/** @type {string} */ url) => found.add(url);
  hearers.add(hear);
  tabs().postMessage({ ask: true });
  await new Promise((resolve) => setTimeout(resolve, ASK_MS));
  hearers.delete(hear);
  return found;
}

/** @returns {Remembered[]} */
function read() {
  /** @type {(Remembered & { name?: string })[]} */
  const all = JSON.parse(localStorage.getItem(KEY) ?? "[]");
  // Before there were folders, a path was called a name.
  return all
    .filter(({ expires }) => expires > Date.now())
    .map(({ name = "", ...one }) => ({ ...one, path: one.path ?? name }));
}

/** @param {Remembered[]} all */
function write(all) {
  try {
    if (all.length) localStorage.setItem(KEY, JSON.stringify(all.slice(-MOST)));
    else localStorage.removeItem(KEY);
  } catch {
    // The browser has no space left for it: the upload goes on, but only in this tab.
  }
}

/** Whether there is anything to go on with. */
export const any = () => localStorage.getItem(KEY) !== null;

/**
 * What a file has in common with itself in another visit.
 * @param {Upload | Remembered} one
 */
export const identity = ({ user, namespace, picked, size, lastModified }) =>
  JSON.stringify([user, namespace, picked, size, lastModified]);

/**
 * Notes where an upload is kept, and how much of it.
 * @param {Upload} upload @param {number} expires milliseconds since 1970; 0: not said
 */
export function remember(
  { user, namespace, picked, path, replace, url, stored, size, lastModified },
  expires,
) {
  tabs();
  held.add(url);
  const others = read().filter((other) => other.url !== url);
  const entry = { user, namespace, picked, path, replace, url, stored, size, lastModified };
  write([...others, { ...entry, expires: expires || Date.now() + LIFE_MS }]);
}

/** @param {string} url */
export function forget(url) {
  if (!url) return;
  held.delete(url);
  write(read().filter((other) => other.url !== url));
  set({ unfinished: state.unfinished.filter((other) => other.url !== url) });
}

/** What has begun of a file, by its identity. */
export function recollect() {
  const begun = new Map(
    read().map((one) => {
      const { path, replace, url } = one;
      return [identity(one), { path, replace, url, recalled: true }];
    }),
  );
  return (/** @type {string} */ mine) => begun.get(mine);
}

/**
 * Takes a session for this tab; false where another one has it.
 * @param {string} url
 */
export async function claim(url) {
  if (held.has(url)) return true;
  if ((await heldElsewhere()).has(url)) return false;
  tabs();
  held.add(url);
  return true;
}

/** Shows what waits for its file: of this user, and in no tab. */
export async function showUnfinished() {
  const user = state.session?.user ?? null;
  const elsewhere = any() ? await heldElsewhere() : new Set();
  const free = read().filter(
    (one) => one.user === user && !held.has(one.url) && !elsewhere.has(one.url),
  );
  if (free.length || state.unfinished.length) set({ unfinished: free });
}
