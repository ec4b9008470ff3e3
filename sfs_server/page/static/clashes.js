// What is where an upload is to go: a file or a folder of that name, or a file in the place of a
// folder that the path goes through. And names that are free.
import { findEntry, listFolder } from "./api.js";
import { change } from "./entries.js";
import { copies, tooManyCopies } from "./names.js";
import { parentOf } from "./places.js";

const MOST_LISTED = 1000; // entries in a page of a list

let asked = 0;

/**
 * The person is to be asked about an upload.
 * @param {Upload} upload @param {Entry | null} there
 */
export const ask = (upload, there) =>
  change(upload, { state: "clash", there, asked: (asked += 1), control: null });

/**
 * What an upload meets; undefined where its path is free by now.
 * @param {Upload} upload
 */
export async function inTheWay({ namespace, path }) {
  for (let at = path; at; at = parentOf(at)) {
    const entry = await findEntry(namespace, at);
    if (entry) return at === path || entry.type === "file" ? entry : undefined;
  }
  return undefined;
}

/**
 * The folder in whose place there is a file; "" where that is not what is in the way.
 * @param {Upload} upload
 */
export const blocked = ({ there, path, file }) =>
  there?.type === "file" && (there.path !== path || !file) ? there.path : "";

/** @param {Upload} upload */
export const isReplaceable = (upload) => upload.there?.type === "file" && !blocked(upload);

/**
 * Which paths of uploads to one folder are taken, and by what: listed, as long as that needs fewer
 * requests than asking for each.
 * @param {string} namespace @param {Upload[]} uploads
 */
export async function taken(namespace, uploads) {
  const folder = parentOf(uploads[0].path);
  const paths = new Set(uploads.map(({ path }) => path));
  /** @type {Map<string, Entry>} */
  const found = new Map();
  let after = "";
  for (let pages = 0; pages < uploads.length; pages += 1) {
    const page = await listFolder(namespace, folder, { after, limit: MOST_LISTED });
    for (const entry of page.entries) if (paths.has(entry.path)) found.set(entry.path, entry);
    if (page.after === null) break;
    after = page.after;
  }
  return found;
}

/**
 * The first path for a copy of a file to which no upload of the queue goes.
 * @param {string} path @param {(path: string) => boolean} isTaken
 */
export function freePath(path, isTaken) {
  for (const copy of copies(path, "file")) if (!isTaken(copy)) return copy;
  throw tooManyCopies(path);
}

/**
 * The next path for a folder, at which there is nothing.
 * @param {string} namespace @param {string} path
 */
export async function freeFolder(namespace, path) {
  for (const copy of copies(path, "folder")) if (!(await findEntry(namespace, copy))) return copy;
  throw tooManyCopies(path);
}
