// What this page has uploaded takes its place in the list that is shown: a file, or the folder that it
// is in. They come in bursts: the service is asked for the list, and for the numbers of files, once
// after each.
import { loadNamespaces } from "./actions.js";
import { PAGE } from "./api.js";
import { compareNames } from "./format.js";
import { again, foldersFirst } from "./listing.js";
import { joined, nameOf } from "./places.js";
import { set, state } from "./store.js";

const DRAW_MS = 500; // a longer list takes its time
const QUIET_MS = 1000; // after the last one
const LONGEST_MS = 8000; // after the first one

/** @type {Entry[]} */
let landed = [];
/** @type {ReturnType<typeof setTimeout> | undefined} */
let drawing;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let asking;
let latest = 0;

/** @param {Upload} upload */
export function arrived({ namespace, path, size, file }) {
  landed.push({
    type: file ? "file" : "folder",
    namespace,
    path,
    name: nameOf(path),
    size,
    modified_at: Math.floor(Date.now() / 1000),
    content_type: file ? file.type || "application/octet-stream" : "",
  });
  drawing ||= setTimeout(draw, DRAW_MS);
  const now = performance.now();
  if (!asking) latest = now + LONGEST_MS;
  clearTimeout(asking);
  asking = setTimeout(ask, Math.max(0, Math.min(QUIET_MS, latest - now)));
}

/**
 * What a file that has arrived is in the list of a folder.
 * @param {Entry} file @param {string} folder @returns {Entry}
 */
function seenFrom(file, folder) {
  const [name, ...below] = file.path.slice(folder ? folder.length + 1 : 0).split("/");
  if (below.length === 0) return file;
  return { ...file, type: "folder", path: joined(folder, name), name, size: 0, content_type: "" };
}

function draw() {
  drawing = undefined;
  const { entries, after } = state.files;
  const { namespace, folder, find } = state.place;
  const here = landed.filter(
    (file) => file.namespace === namespace && (!folder || file.path.startsWith(`${folder}/`)),
  );
  landed = [];
  if (find || here.length === 0) return;
  const added = new Map(
    here.map((file) => seenFrom(file, folder)).map((entry) => [entry.path, entry]),
  );
  const shown = [...added.values()].filter(
    ({ name }) => after === null || compareNames(name, after) <= 0, // or it comes later
  );
  const merged = entries.filter(({ path }) => !added.has(path)).concat(shown);
  set({ files: { ...state.files, entries: merged.sort(foldersFirst) } });
}

function ask() {
  asking = undefined;
  loadNamespaces();
  if (state.files.entries.length <= PAGE) again();
}
