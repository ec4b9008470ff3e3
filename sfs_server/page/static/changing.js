// What a person did to entries shows in the list at once, and the focus is never lost by it.
import { MOST } from "./api.js";
import { compareNames } from "./format.js";
import { rowsShown } from "./list.js";
import { foldersFirst, loadMore } from "./listing.js";
import { parentOf, within } from "./places.js";
import { set, state } from "./store.js";

/**
 * Some entries are gone from where they were, and others have come. The focus goes to one of those,
 * or else to the row that takes the place of the one that had it.
 * @param {Entry[]} gone @param {Entry[]} [come] @param {string} [focusOn] the path of one of them
 */
export function changed(gone, come = [], focusOn = "") {
  const { namespace, folder, find } = state.place;
  const { entries, after } = state.files;
  /** @param {Entry} entry */
  const isHere = (entry) => entry.namespace === namespace;
  const left = new Set(gone.filter(isHere).map(({ path }) => path));
  /** @param {string} path */
  const isGone = (path) => {
    for (let up = path; up; up = find ? parentOf(up) : "") if (left.has(up)) return true;
    return false;
  };
  const added = come.filter((entry) => {
    if (!isHere(entry)) return false;
    if (find) return left.size > 0 && within(entry.path, folder);
    const listed = entry.type === "folder" || after === null || compareNames(entry.name, after) <= 0;
    return parentOf(entry.path) === folder && listed; // or it comes with a later page
  });
  for (const { path } of added) left.add(path);
  if (left.size === 0) return;
  const next = focusOn || (mayMoveFocus() ? successor(isGone) : "");
  const rest = entries.filter(({ path }) => !isGone(path));
  const selected = new Set([...state.selected].filter((path) => !isGone(path)));
  const files = { ...state.files, entries: [...rest, ...added].sort(foldersFirst) };
  set({ files, selected, focusOn: next });
}

/** Whether the focus is where it would be lost, or is lost: not in a field that somebody fills. */
function mayMoveFocus() {
  const focused = document.activeElement;
  return !focused?.closest("dialog, input:not([type=checkbox])");
}

/**
 * The path of the row that comes after those that are gone. Where there is none, the focus goes to
 * the title of the list.
 * @param {(path: string) => boolean} isGone
 */
function successor(isGone) {
  const rows = rowsShown();
  const first = rows.findIndex(({ path }) => isGone(path));
  if (first < 0) return "";
  const next =
    rows.find(({ path }, at) => at > first && !isGone(path)) ??
    rows.findLast(({ path }, at) => at < first && !isGone(path));
  if (!next) document.querySelector("h1")?.focus();
  return next?.path ?? "";
}

/**
 * Loads as much of the list as it takes to show an entry of that name.
 * @param {Entry} entry
 */
export async function loadUpTo({ namespace, path, name }) {
  const isListed = () =>
    state.place.namespace === namespace && state.place.folder === parentOf(path);
  while (isListed() && !state.files.error) {
    const { after, loading } = state.files;
    if (after === null || loading || compareNames(name, after) <= 0) return;
    await loadMore(MOST);
  }
}
