// What the list shows: a folder, or what was found in it and below.
//
// The service lists by name, files and folders among each other. The first page is most often all
// there is. Where there is more, folders still come first: the rest of them is asked for at once,
// while of the files only as many are loaded as somebody scrolls to.
//
// What is loaded is kept true (live.js). Pages and changes come one after the other, so that none
// undoes what another one has brought.
import * as api from "./api.js";
import { compareNames } from "./format.js";
import { joined } from "./places.js";
import { NOTHING_LOADED, set, state } from "./store.js";

const MOST_FOUND = 1000; // more than anyone looks through
const DRAW_MS = 150; // between two drawings of what is found
const STREAM_MS = 300; // how long a list waits for the stream of changes, and then goes first
const MOST_AGAIN = 1_000_000; // entries that are listed again
const FRESH_MS = 2000;
const MOST_FRESH = 500;

// Only the newest list may change what is shown; an older one is given up.
let request = new AbortController();
/** @type {Promise<unknown>} the last of what is under way for it */
let turn = Promise.resolve();

/** @type {Promise<void> | null} until the stream of changes is open, or cannot be opened */
let opening = null;
let opened = () => {};
let waiting = 0;

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

/**
 * @param {Entry} a @param {Entry} b
 */
const isEqual = (a, b) =>
  a.type === b.type && a.size === b.size && a.modified_at === b.modified_at;

/** A stream of changes is being opened; a list that is asked for meanwhile waits for it. */
export function expectStream() {
  opened();
  opening = new Promise((resolve) => (opened = resolve));
}

/** The stream is open, or cannot be opened: what was listed before may have changed since. */
export async function streamDecided() {
  opening = null;
  opened();
  if (waiting === 0) await again();
}

async function streamOpened() {
  if (!opening) return;
  waiting += 1;
  await Promise.race([opening, new Promise((resolve) => setTimeout(resolve, STREAM_MS))]);
  waiting -= 1;
}

/**
 * After what is under way for this list, if it is still wanted then.
 * @param {(mine: AbortController) => Promise<void>} act
 */
function inTurn(act) {
  const mine = request;
  const done = turn.then(async () => {
    if (mine !== request) return;
    try {
      await act(mine);
    } catch (error) {
      if (!mine.signal.aborted) throw error;
    }
  });
  turn = done.catch(() => {}); // the caller gets the error, from `done`
  return done;
}

/** From its beginning. What is shown stays until there is something to show. */
export async function load() {
  request.abort();
  request = new AbortController();
  turn = Promise.resolve();
  const { namespace, folder, find } = state.place;
  if (!namespace) return set({ files: NOTHING_LOADED });
  patched({ loading: true, error: null });
  await shown(async (mine) => {
    await streamOpened();
    if (mine.signal.aborted) return;
    if (find) return await showFound(mine);
    const { entries, after } = await api.listFolder(namespace, folder, {}, mine.signal);
    if (mine.signal.aborted) return;
    const loading = after !== null;
    set({ files: { ...NOTHING_LOADED, entries: entries.sort(foldersFirst), after, loading } });
    if (loading) await otherFolders(mine, after);
  });
}

/**
 * What is found shows as it comes; or `quietly`, once all is found.
 * @param {AbortController} mine
 */
async function showFound(mine, quietly = false) {
  const { namespace, folder, find } = state.place;
  const { search } = await import("./finding.js");
  /** @type {Entry[]} */
  let entries = [];
  let drawn = 0;
  for await (const batch of search(namespace, folder, find, mine.signal)) {
    entries = entries.concat(batch);
    if (entries.length >= MOST_FOUND) break;
    if (quietly || performance.now() - drawn < DRAW_MS) continue;
    drawn = performance.now();
    patched({ entries: entries.toSorted(foldersFirst) });
  }
  if (mine.signal.aborted) return;
  const cut = entries.length >= MOST_FOUND;
  replaced({ entries: entries.slice(0, MOST_FOUND).sort(foldersFirst), after: null, cut }, quietly);
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
  patched({ loading: false });
}

/** The next page of files. */
export async function loadMore(limit = api.PAGE) {
  const { after, loading } = state.files;
  if (after === null || loading) return;
  const { namespace, folder } = state.place;
  patched({ loading: true, error: null });
  await shown(async (mine) => {
    const { after: from } = state.files;
    if (from === null) return patched({ loading: false });
    const how = { type: /** @type {const} */ ("file"), after: from, limit };
    const page = await api.listFolder(namespace, folder, how, mine.signal);
    if (mine.signal.aborted) return;
    const entries = state.files.entries.concat(page.entries);
    patched({ entries, after: page.after, loading: false });
  });
}

/** All that there is. */
export async function loadAll() {
  const mine = request;
  while (mine === request && state.files.after !== null && !state.files.error) {
    if (state.files.loading) return;
    await loadMore(api.MOST);
  }
}

/**
 * The path of the first file whose name starts with a text, or "".
 * @param {string} prefix
 */
export async function firstWith(prefix) {
  const { namespace, folder } = state.place;
  try {
    const how = { type: /** @type {const} */ ("file"), prefix, limit: 1 };
    return (await api.listFolder(namespace, folder, how)).entries[0]?.path ?? "";
  } catch {
    return ""; // as where there is none: the focus stays where it is
  }
}

/**
 * In its turn; what goes wrong is shown.
 * @param {(mine: AbortController) => Promise<void>} act
 */
async function shown(act) {
  const done = inTurn(act);
  const mine = request;
  try {
    await done;
  } catch (error) {
    if (mine === request) patched({ loading: false, error });
  }
}

/** Lists again, quietly, as much as was loaded. Throws what may be tried again. */
export async function again() {
  if (!state.place.namespace || state.files === NOTHING_LOADED) return;
  await inTurn(async (mine) => {
    await streamOpened();
    if (mine.signal.aborted) return;
    try {
      if (state.place.find) await showFound(mine, true);
      else await listAgain(mine);
    } catch (error) {
      if (![401, 403, 404].includes(error.status)) throw error;
      set({ files: { ...NOTHING_LOADED, error }, selected: new Set() });
    }
  });
}

/** @param {AbortController} mine */
async function listAgain({ signal }) {
  const { namespace, folder } = state.place;
  const { entries: before, after: until } = state.files;
  const last = until ?? before.findLast((entry) => !isFolder(entry))?.name ?? "";
  const limit = Math.min(Math.max(before.length, api.PAGE), api.MOST);
  const first = await api.listFolder(namespace, folder, { limit }, signal);
  const entries = first.entries;
  /** @param {"file" | "folder"} type @param {(after: string) => boolean} enough */
  const more = async (type, enough) => {
    let { after } = first;
    while (after !== null && !enough(after)) {
      const page = await api.listFolder(namespace, folder, { type, after, limit: api.MOST }, signal);
      entries.push(...page.entries);
      after = page.after;
    }
    return after;
  };
  await more("folder", () => false);
  const after = await more(
    "file",
    (name) => compareNames(name, last) >= 0 || entries.length >= MOST_AGAIN,
  );
  if (!signal.aborted) replaced({ entries: entries.sort(foldersFirst), after, cut: false }, true);
}

/**
 * What has come takes the place of what was loaded. `marked`: what is new in it is to be seen.
 * @param {Pick<Loaded, "entries" | "after" | "cut">} come @param {boolean} marked
 */
function replaced({ entries, after, cut }, marked) {
  const before = new Map(state.files.entries.map((entry) => [entry.path, entry]));
  /** @type {string[]} */
  const news = [];
  const kept = entries.map((entry) => {
    const old = before.get(entry.path);
    if (old && isEqual(old, entry)) return old;
    news.push(entry.path);
    return entry;
  });
  const there = new Set(kept.map(({ path }) => path));
  const selected = new Set([...state.selected].filter((path) => there.has(path)));
  const files = { ...NOTHING_LOADED, entries: kept, after, cut };
  set({ files, selected: selected.size === state.selected.size ? state.selected : selected });
  if (marked) mark(news);
}

/**
 * One entry has changed.
 * @param {Extract<Change, { name: string }>} change
 */
export function changed({ name, change }) {
  return inTurn(async (mine) => {
    const { namespace, folder } = state.place;
    const path = joined(folder, name);
    const entry = change === "put" ? await api.findEntry(namespace, path) : undefined;
    if (mine.signal.aborted) return;
    const { entries, after } = state.files;
    const old = entries.find((one) => one.path === path);
    if (entry && old && isEqual(old, entry)) return;
    const rest = old ? entries.filter((one) => one !== old) : entries;
    if (entry && (isFolder(entry) || after === null || compareNames(name, after) <= 0)) {
      patched({ entries: placed(rest, entry) });
      mark([path]);
    } else if (old) {
      const selected = new Set(state.selected);
      selected.delete(path);
      set({ files: { ...state.files, entries: rest }, selected });
    }
  });
}

/**
 * With an entry at the place where it belongs.
 * @param {Entry[]} entries @param {Entry} entry
 */
export function placed(entries, entry) {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (foldersFirst(entries[middle], entry) < 0) low = middle + 1;
    else high = middle;
  }
  return entries.toSpliced(low, 0, entry);
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let fading;

/**
 * What is new is marked for a moment.
 * @param {string[]} paths
 */
function mark(paths) {
  if (paths.length === 0) return;
  clearTimeout(fading);
  set({ fresh: new Set([...state.fresh, ...paths].slice(-MOST_FRESH)) });
  fading = setTimeout(() => set({ fresh: new Set() }), FRESH_MS);
}
