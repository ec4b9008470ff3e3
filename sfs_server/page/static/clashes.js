// A name that is taken: the next one that is free.
import { findEntry } from "./api.js";

const MOST_COPIES = 99; // "name (2).txt" … "name (99).txt"

/**
 * @param {string} namespace @param {string} name
 * @param {Set<string>} queued names that will be taken
 */
export async function freeName(namespace, name, queued) {
  const dot = name.lastIndexOf(".");
  const [stem, extension] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  for (let n = 2; n <= MOST_COPIES; n += 1) {
    const candidate = `${stem} (${n})${extension}`;
    if (!queued.has(candidate) && !(await findEntry(namespace, candidate))) return candidate;
  }
  throw new Error("There are too many copies of this file already.");
}
