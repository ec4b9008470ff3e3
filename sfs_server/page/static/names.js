// Names and paths of what is renamed, moved or copied.
import { visible } from "./format.js";
import { joined, nameOf, parentOf, within } from "./places.js";

const MOST_COPIES = 99;

const MARK = /\[U\+([0-9A-F]{4})\]/g;

/**
 * How much of a name comes before its extension; all of a folder's name.
 * @param {string} name @param {Entry["type"]} type
 */
export const stemLength = (name, type) =>
  (type === "file" && /(?<=.)(\.tar)?\.[^.\s]*$/s.exec(name)?.index) || name.length;

/**
 * The paths of copies: "letters/name (2).txt" and so on.
 * @param {string} path @param {Entry["type"]} type
 */
export function* copies(path, type) {
  const name = nameOf(path);
  const stem = stemLength(name, type);
  for (let n = 2; n <= MOST_COPIES; n += 1) {
    yield joined(parentOf(path), `${name.slice(0, stem)} (${n})${name.slice(stem)}`);
  }
}

/** @param {string} path */
export const tooManyCopies = (path) =>
  new Error(`There are too many copies of ${nameOf(path)} already.`);

/**
 * The name that somebody typed who saw the one of before with its direction marks as [U+202E]. Where
 * it had none, such a text is meant as it is.
 * @param {string} text @param {string} before
 */
export function typedName(text, before) {
  const name = text.trim();
  if (visible(before) === before) return name;
  return name.replace(MARK, (shown, code) => {
    const mark = String.fromCharCode(parseInt(code, 16));
    return visible(mark) === shown ? mark : shown;
  });
}

/**
 * Without what is in a folder that is among them too.
 * @param {Entry[]} entries
 */
export function topmost(entries) {
  const paths = new Set(entries.map(({ path }) => path));
  return entries.filter(({ path }) => {
    for (let up = parentOf(path); up; up = parentOf(up)) if (paths.has(up)) return false;
    return true;
  });
}

/**
 * The one folder that all of them are right in; undefined where there is none.
 * @param {Entry[]} entries
 */
export function commonFolder(entries) {
  const folder = parentOf(entries[0].path);
  return entries.every(({ path }) => parentOf(path) === folder) ? folder : undefined;
}

/**
 * Those that are not there yet; none at all where one would be moved into itself.
 * @param {Entry[]} entries @param {Where} to
 */
export function movable(entries, { namespace, folder }) {
  /** @param {Entry} entry */
  const isOwn = (entry) => entry.namespace === namespace;
  if (folder && entries.some((entry) => isOwn(entry) && within(folder, entry.path))) return [];
  return entries.filter((entry) => !isOwn(entry) || parentOf(entry.path) !== folder);
}
