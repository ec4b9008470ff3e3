// What a person dropped or picked, read down to the last sub-folder: files with their paths, and
// the folders that have nothing in them. The others are made by the uploads of what is in them.
//
// While a browser looks at the disk, the page stands still: so this pauses now and then.
import { number } from "./format.js";
import { joined } from "./places.js";

export const MOST = 100_000; // files and folders that are taken together
const SLICE_MS = 12; // between two pauses
const AT_ONCE = 100; // entries that are opened at a time

/**
 * Reads `source`, and calls `onProgress` now and then with how many files it has found. What the browser
 * may not read is named in `unread`. Raises Error where there is too much, and what `signal` says.
 * @param {Source[]} source @param {(files: number) => void} onProgress @param {AbortSignal} signal
 */
export async function read(source, onProgress, signal) {
  /** @type {Found} */
  const found = { files: [], folders: [], unread: [] };
  let seen = 0;
  let end = 0;

  async function pause() {
    signal.throwIfAborted();
    if (performance.now() < end) return;
    onProgress(found.files.length);
    await turn();
    go();
  }
  const go = () => (end = performance.now() + SLICE_MS);

  /**
   * What is in a folder, by name: a browser gives some of it at a time, and nothing at the end.
   * @param {FileSystemDirectoryReader} reader
   */
  async function all(reader) {
    /** @type {Source[]} */
    const entries = [];
    for (;;) {
      /** @type {Source[] | null} */
      const some = await asked((done, failed) => reader.readEntries(done, failed));
      if (!some?.length) return some && entries.sort((a, b) => (a.name < b.name ? -1 : 1));
      seen += some.length;
      if (seen > MOST) throw new Error(TOO_MANY);
      entries.push(...some);
      await pause();
    }
  }

  /** @param {any} one @returns {Promise<File | Source[] | null>} */
  const opened = async (one) => {
    if (one instanceof File) return one;
    return one.isFile ? asked((done, failed) => one.file(done, failed)) : all(one.createReader());
  };

  /** @param {Source[]} entries @param {string} folder */
  async function visit(entries, folder) {
    for (let at = 0; at < entries.length; at += AT_ONCE) {
      const some = entries.slice(at, at + AT_ONCE);
      for (const [n, it] of (await Promise.all(some.map(opened))).entries()) {
        const path = joined(folder, pathOf(some[n]));
        if (it === null) found.unread.push(path);
        else if (it instanceof File) {
          const { size, lastModified } = it; // the browser looks at the disk now
          found.files.push({ path, file: it, size, lastModified });
        } else if (it.length) await visit(it, path);
        else found.folders.push(path);
        await pause();
      }
    }
  }

  if (source.length > MOST) throw new Error(TOO_MANY);
  go();
  await visit(source, "");
  return found;
}

const TOO_MANY = `This is more than ${number(MOST)} files: upload a part of it at a time.`;

/** @param {Source} one */
const pathOf = (one) => (one instanceof File && one.webkitRelativePath) || one.name;

/**
 * null where the browser does not give it.
 * @param {(done: (it: any) => void, failed: () => void) => void} ask
 * @returns {Promise<any>}
 */
const asked = (ask) => new Promise((resolve) => ask(resolve, () => resolve(null)));

// A timer would wait for a second in a tab that is not seen.
const turn = () =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => resolve(port1.close());
    port2.postMessage(null);
  });
