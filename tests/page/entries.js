// What a person drops, as a browser gives it to the page: at most 100 entries of a folder at a time.

const MOST = 100;

/**
 * @param {string} name
 * @param {{ readable?: boolean, file?: File }} how
 * @returns {any}
 */
export const file = (name, { readable = true, file: content } = {}) => ({
  isFile: true,
  isDirectory: false,
  name,
  file: (/** @type {(file: File) => void} */ done, /** @type {(error: Error) => void} */ failed) =>
    readable
      ? done(content ?? new File(["12345678"], name, { lastModified: 7 }))
      : failed(new DOMException("no", "NotReadableError")),
});

/**
 * A folder that cannot be read fails after the first `readable` entries.
 * @param {string} name @param {any[]} entries
 * @returns {any}
 */
export const folder = (name, entries, readable = Infinity) => ({
  isFile: false,
  isDirectory: true,
  name,
  createReader: () => {
    let at = 0;
    return {
      readEntries: (
        /** @type {(entries: unknown[]) => void} */ done,
        /** @type {(error: Error) => void} */ failed,
      ) => {
        if (at >= readable) return failed(new DOMException("no", "NotReadableError"));
        done(entries.slice(at, (at += Math.min(MOST, readable))));
      },
    };
  },
});

/**
 * What the event of a drop brings; it says nothing more once the event is over.
 * @param {any[]} entries
 * @returns {any}
 */
export function transfer(...entries) {
  let over = false;
  setImmediate(() => (over = true));
  return {
    items: entries.map((entry) => ({
      kind: "file",
      webkitGetAsEntry: () => (over ? null : entry instanceof File ? null : entry),
      getAsFile: () => (over ? null : entry),
    })),
  };
}
