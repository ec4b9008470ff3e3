// Files that this page has uploaded take their places in the list that is shown. They come in bursts:
// the service is asked for the list, and for the numbers of files, once after each.
import { loadFiles, loadNamespaces } from "./actions.js";
import { PAGE } from "./api.js";
import { compareNames } from "./format.js";
import { set, state } from "./store.js";

const DRAW_MS = 500; // a longer list takes its time
const QUIET_MS = 1000; // after the last one
const LONGEST_MS = 8000; // after the first one

/** @type {StoredFile[]} */
let landed = [];
/** @type {ReturnType<typeof setTimeout> | undefined} */
let drawing;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let asking;
let latest = 0;

/** @param {Upload} upload */
export function arrived({ namespace, name, size, file }) {
  landed.push({
    namespace,
    name,
    size,
    modified_at: Math.floor(Date.now() / 1000),
    content_type: file.type || "application/octet-stream",
  });
  drawing ||= setTimeout(draw, DRAW_MS);
  const now = performance.now();
  if (!asking) latest = now + LONGEST_MS;
  clearTimeout(asking);
  asking = setTimeout(ask, Math.max(0, Math.min(QUIET_MS, latest - now)));
}

function draw() {
  drawing = undefined;
  const { entries, next } = state.files;
  const added = new Map(
    landed
      .filter((file) => file.namespace === state.current && file.name.startsWith(state.prefix))
      .map((file) => [file.name, file]),
  );
  landed = [];
  if (added.size === 0) return;
  const last = entries.at(-1);
  const shown = [...added.values()].filter(
    ({ name }) => next === null || (last && compareNames(name, last.name) < 0), // or it comes later
  );
  const merged = entries.filter(({ name }) => !added.has(name)).concat(shown);
  set({ files: { ...state.files, entries: merged.sort((a, b) => compareNames(a.name, b.name)) } });
}

function ask() {
  asking = undefined;
  loadNamespaces();
  if (state.files.entries.length <= PAGE) loadFiles();
}
