// The one place where the state of the page lives. Views read it, actions change it through set().
import { placeIn } from "./places.js";
import { useLayoutEffect, useState } from "./vendor/hooks.js";

/** @type {Loaded} */
export const NOTHING_LOADED = {
  entries: [],
  after: null,
  cut: false,
  loading: false,
  error: null,
};

/** In the place of a path: the row that has the focus first where a list comes into sight. */
export const FIRST = "/";

export const state = {
  ready: false, // the session has been fetched
  reachable: true, // the service responds
  late: 0, // how many of its responses are late
  /** @type {Session | null} */
  session: null, // of an anonymous visitor
  /** @type {Namespace[] | null} */
  namespaces: null, // until the service has listed them
  place: placeIn("default"), // what is shown
  files: NOTHING_LOADED, // what is listed there
  /** @type {Set<string>} */
  fresh: new Set(), // paths of what was just added or changed
  acting: 0, // how often this page is about to change the list itself: see moving.js
  /** @type {Viewing | null} */
  viewing: null, // the file that is shown
  /** @type {Set<string>} */
  selected: new Set(), // paths
  renaming: "", // the path of what gets another name
  focusOn: "", // the path of the row that gets the focus as soon as it is there
  /** @type {OpenDialog | null} */
  dialog: null, // one at a time
  /** @type {OpenMenu | null} */
  menu: null,
  railOpen: false, // on a narrow screen
  /** @type {Upload[]} */
  uploads: [], // see queue.js
  /** @type {number | null} */
  reading: null, // files that were found so far in folders that are being read
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
