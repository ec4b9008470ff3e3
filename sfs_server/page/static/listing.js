// What the list shows: a folder, or what was found in it and below.
//
// The service lists by name, files and folders among each other. The first page is most often all
// there is. Where there is more, folders still come first: the rest of them is asked for at once,
// while of the files only as many are loaded as somebody scrolls to.
import * as api from "./api.js";
import { compareNames } from "./format.js";
import { NOTHING_LOADED, set, state } from "./store.js";

const MOST_FOUND = 1000; // more than anyone looks through
const DRAW_MS = 150; // between two drawings of what is found

// Only the newest list may change what is shown; an older one is given up.
let request = new AbortController();

/** @param {Partial<Loaded>} patch */
const patched = (patch) => set({ files: { ...state.files, ...patch } });

/** @param {Entry} entry */
const isFolder = ({ type }) => type === "folder";

/**
 * The order of the list.
 * @param {Entry} a @param {Entry} b
 */
export const foldersFirst = (a, b) =>
  Number(isFolder(b)) - Number(isFolder(a)) || compareNames(a.path, b.path);

/** From its beginning. What is shown stays until there is something to show. */
export async function load() {
  request.abort();
  const mine = (request = new AbortController());
  const { namespace, folder, find } = state.place;
  if (!namespace) return set({ files: NOTHING_LOADED });
  patched({ loading: true, error: null });
  await unless(mine, async () => {
    if (find) return await showFound(mine);
    const { entries, after } = await api.listFolder(namespace, folder, {}, mine.signal);
    if (mine.signal.aborted) return;
    set({ files: { ...NOTHING_LOADED, entries: entries.sort(foldersFirst), after } });
    if (after !== null) await otherFolders(mine, after);
  });
}

/**
 * What is found shows as it comes.
 * @param {AbortController} mine
 */
async function showFound(mine) {
  const { namespace, folder, find } = state.place;
  const { search } = await import("./finding.js");
  /** @type {Entry[]} */
  let entries = [];
  let drawn = 0;
  for await (const batch of search(namespace, folder, find, mine.signal)) {
    entries = entries.concat(batch);
    if (entries.length >= MOST_FOUND) break;
    if (performance.now() - drawn < DRAW_MS) continue;
    drawn = performance.now();
    patched({ entries: entries.toSorted(foldersFirst) });
  }
  if (mine.signal.aborted) return;
  const cut = entries.length >= MOST_FOUND;
  if (cut) mine.abort();
  patched({ entries: entries.slice(0, MOST_FOUND).sort(foldersFirst), loading: false, cut });
}

/**
 * The folders that come after a name.
 * @param {AbortController} mine @param {string | null} after
 */
async function otherFolders(mine, after) {
  const { namespace, folder } = state.place;
  for (let from = after; from !== null; ) {
    const how = { type: /** @type {const} */ ("folder"), after: from, limit: api.MOST };
    const page = await api.listFolder(namespace, folder, how, mine.signal);
    if (mine.signal.aborted) return;
    from = page.after;
    if (page.entries.length) {
      patched({ entries: [...state.files.entries, ...page.entries].sort(foldersFirst) });
    }
  }
}

/** The next page of files. */
export async function loadMore(limit = api.PAGE) {
  const { after, loading } = state.files;
  if (after === null || loading) return;
  const mine = request;
  const { namespace, folder } = state.place;
  patched({ loading: true, error: null });
  await unless(mine, async () => {
    const how = { type: /** @type {const} */ ("file"), after, limit };
    const page = await api.listFolder(namespace, folder, how, mine.signal);
    if (mine.signal.aborted) return;
    const entries = state.files.entries.concat(page.entries);
    patched({ entries, after: page.after, loading: false });
  });
}

/** All that there is: a list can be sorted, and counted, only whole. */
export async function loadAll() {
  const mine = request;
  while (mine === request && state.files.after !== null && !state.files.error) {
    if (state.files.loading) return;
    await loadMore(api.MOST);
  }
}

/**
 * What goes wrong is shown, unless nobody waits for it any more.
 * @param {AbortController} mine @param {() => Promise<void>} act
 */
async function unless(mine, act) {
  try {
    await act();
  } catch (error) {
    if (!mine.signal.aborted) patched({ loading: false, error });
  }
}

/** Somebody comes back to the page: what others have changed meanwhile shows. */
export function refresh() {
  if (state.files.entries.length <= api.PAGE) load();
}
