// What a person dropped or picked, read down to the last sub-folder: files with their paths, and
// the folders that have nothing in them. The others are made by the uploads of what is in them.
//
// A browser takes its time to say what is in a folder and how large a file is, and for some of it
// the page stands still. So it is done in slices, between which the page is drawn.
import { number } from "./format.js";
import { joined } from "./places.js";

export const MOST = 100_000; // files and empty folders that are taken together
const SLICE_MS = 12;
const AT_ONCE = 100; // files that are opened at a time

/**
 * Reads `source`, and tells `told` now and then how many files have been found. What the browser
 * may not read is named in `unread`. Raises Error where there is too much, and what `signal` says.
 * @param {(FileSystemEntry | File)[]} source
 * @param {(files: number) => void} told
 * @param {AbortSignal} signal
 * @returns {Promise<Found>}
 */
export async function read(source, told, signal) {
  /** @type {Found} */
  const found = { files: [], folders: [], unread: [] };
  let end = 0;
  const start = () => (end = performance.now() + SLICE_MS);

  async function pause(more = 0) {
    signal.throwIfAborted();
    if (found.files.length + found.folders.length + more > MOST) throw new Error(TOO_MANY);
    if (performance.now() < end) return;
    told(found.files.length);
    await turn();
    start();
  }

  /** @param {string} path @param {File} file */
  async function take(path, file) {
    const { size, lastModified } = file; // the browser looks at the disk now
    found.files.push({ path, file, size, lastModified });
    await pause();
  }

  /** @param {FileSystemFileEntry[]} entries @param {string} folder */
  async function open(entries, folder) {
    for (let at = 0; at < entries.length; at += AT_ONCE) {
      const some = entries.slice(at, at + AT_ONCE);
      const files = await Promise.allSettled(some.map(fileOf));
      for (const [n, { name }] of some.entries()) {
        const opened = files[n];
        const path = joined(folder, name);
        if (opened.status === "fulfilled") await take(path, opened.value);
        else found.unread.push(path);
      }
    }
  }

  /** @param {FileSystemDirectoryEntry} entry @param {string} path */
  async function walk(entry, path) {
    const inside = await entriesOf(entry, pause);
    if (inside === null) return found.unread.push(path);
    if (inside.length === 0) found.folders.push(path);
    await open(inside.filter(isFile), path);
    for (const one of inside.filter(isFolder)) await walk(one, joined(path, one.name));
  }

  start();
  for (const one of source) {
    if (one instanceof File) await take(one.webkitRelativePath || one.name, one);
    else if (isFile(one)) await open([one], "");
    else if (isFolder(one)) await walk(one, one.name);
  }
  return found;
}

const TOO_MANY = `These are more than ${number(MOST)} files: upload a part of them at a time.`;

// A timer would wait for a second in a tab that is not seen.
const turn = () =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(undefined);
    };
    port2.postMessage(null);
  });

/** @param {FileSystemEntry} entry @returns {entry is FileSystemFileEntry} */
const isFile = (entry) => entry.isFile;
/** @param {FileSystemEntry} entry @returns {entry is FileSystemDirectoryEntry} */
const isFolder = (entry) => entry.isDirectory;

/** @param {FileSystemFileEntry} entry @returns {Promise<File>} */
const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

/**
 * All that is in a folder, by name; null where the browser may not say. It gives some of it at a
 * time, and nothing at the end.
 * @param {FileSystemDirectoryEntry} folder @param {(more: number) => Promise<void>} pause
 */
async function entriesOf(folder, pause) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const all = [];
  for (;;) {
    /** @type {FileSystemEntry[] | null} */
    const some = await new Promise((resolve) =>
      reader.readEntries(resolve, () => resolve(null)),
    );
    if (some === null) return null;
    if (some.length === 0) return all.sort((a, b) => (a.name < b.name ? -1 : 1));
    all.push(...some);
    await pause(all.length);
  }
}
