// What is found in a folder and below, as the service finds it: it looks through all paths, and sends
// each file whose path contains the text, at once. A text that is a part of a folder's name is a part
// of the path of every file below: then the folder is shown, once, and not what is in it.
import { fetchStream } from "./api.js";
import { joined, nameOf } from "./places.js";

/**
 * As the service compares: without regard to case, and to how accents are encoded.
 * @param {string} text
 */
const folded = (text) => text.normalize("NFC").toLowerCase().normalize("NFC");

/**
 * Takes a JSON array of objects apart while it comes. It is called with each piece of the text, and
 * returns the objects that are whole since.
 */
export function reader() {
  let text = ""; // of the object that is not whole yet
  let depth = 0;
  let quoted = false;
  let escaped = false;
  /** @param {string} piece @returns {any[]} */
  return (piece) => {
    const whole = [];
    let start = 0;
    for (let at = 0; at < piece.length; at += 1) {
      const mark = piece[at];
      if (escaped) escaped = false;
      else if (quoted) {
        escaped = mark === "\\";
        quoted = mark !== '"';
      } else if (mark === '"') quoted = true;
      else if (mark === "{") {
        if (depth === 0) start = at;
        depth += 1;
      } else if (mark === "}") {
        depth -= 1;
        if (depth > 0) continue;
        whole.push(JSON.parse(text + piece.slice(start, at + 1)));
        text = "";
        start = at + 1;
      }
    }
    if (depth > 0) text += piece.slice(start);
    return whole;
  };
}

/**
 * What to show of a file whose path contains the text: itself, the folders above it whose names
 * contain it, or nothing, where it is only in the path of the folder that is searched.
 * @param {Entry} file @param {string} folder @param {string} text @returns {Entry[]}
 */
export function shownOf(file, folder, text) {
  const wanted = folded(text);
  const names = file.path.slice(folder ? folder.length + 1 : 0).split("/");
  /** @type {Entry[]} */
  const folders = [];
  let path = folder;
  for (const name of names.slice(0, -1)) {
    path = joined(path, name);
    if (!folded(name).includes(wanted)) continue;
    folders.push({ ...file, type: "folder", path, name, size: 0, content_type: "" });
  }
  const itself = folded(file.name).includes(wanted);
  // Else the text goes over a slash, or the service folds a letter in another way.
  const unclear = !itself && folders.length === 0 && !folded(folder).includes(wanted);
  return itself || unclear ? [...folders, file] : folders;
}

/**
 * Batches of what is found, each entry once.
 * @param {string} namespace @param {string} folder @param {string} text @param {AbortSignal} signal
 * @returns {AsyncGenerator<Entry[]>}
 */
export async function* search(namespace, folder, text, signal) {
  const query = new URLSearchParams({ namespace, contains: text });
  if (folder) query.set("prefix", `${folder}/`);
  const read = reader();
  const seen = new Set();
  for await (const piece of fetchStream(`/storage/files?${query}`, signal)) {
    const batch = [];
    for (const { name: path, size, modified_at, content_type } of read(piece)) {
      const name = nameOf(path);
      /** @type {Entry} */
      const file = { type: "file", namespace, path, name, size, modified_at, content_type };
      for (const entry of shownOf(file, folder, text)) {
        if (seen.has(entry.path)) continue;
        seen.add(entry.path);
        batch.push(entry);
      }
    }
    if (batch.length) yield batch;
  }
}
