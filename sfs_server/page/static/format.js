// Values in the words of people.

const UNITS = ["bytes", "kB", "MB", "GB", "TB", "PB"];
const whole = new Intl.NumberFormat("en");
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
const dayAndYear = new Intl.DateTimeFormat("en", {
  day: "numeric",
  month: "short",
  year: "numeric",
});
const exact = new Intl.DateTimeFormat("en", { dateStyle: "full", timeStyle: "long" });

/** @param {number} n */
export const number = (n) => whole.format(n);
/** @param {number} n @param {string} one */
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/**
 * "2 folders and 31 files"
 * @param {Entry[]} entries
 */
export function counted(entries) {
  const folders = entries.filter(({ type }) => type === "folder").length;
  const files = entries.length - folders;
  const parts = [folders && count(folders, "folder"), (files || !folders) && count(files, "file")];
  return parts.filter(Boolean).join(" and ");
}

/** @param {number} bytes */
export function size(bytes) {
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  if (unit === 0) return count(bytes, "byte");
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** @param {number} bytes */
export const exactSize = (bytes) => count(bytes, "byte");

/** @param {number} seconds, since 1970 */
export function time(seconds, now = Date.now() / 1000) {
  const ago = now - seconds;
  if (ago < 45) return "just now";
  if (ago < 45 * 60) return relative.format(-Math.round(ago / 60), "minute");
  if (ago < 22 * 3600) return relative.format(-Math.round(ago / 3600), "hour");
  if (ago < 6.5 * 86400) return relative.format(-Math.round(ago / 86400), "day");
  const date = new Date(seconds * 1000);
  const thisYear = date.getFullYear() === new Date(now * 1000).getFullYear();
  return (thisYear ? day : dayAndYear).format(date);
}

/** @param {number} seconds */
export const exactTime = (seconds) => exact.format(seconds * 1000);
/** @param {number} seconds */
export const isoTime = (seconds) => new Date(seconds * 1000).toISOString();

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return "a moment";
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `${Math.ceil(seconds / 60)} min`;
  const minutes = Math.ceil(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// Marks that turn the direction of text around, or cannot be seen, are shown by their numbers: with
// U+202E in it, a name that ends with "gpj.exe" seems to end with "exe.jpg".
const UNSEEN = /[\p{Bidi_C}\u200b\u2028\u2029\u2060\ufeff]/gu;
/** @param {string} mark */
const number16 = (mark) => mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");

/** @param {string} text */
export const visible = (text) => text.replace(UNSEEN, (mark) => `[U+${number16(mark)}]`);

/**
 * The two parts of a name: the first may be cut on a narrow screen, the second, with the
 * extension, always shows.
 * @param {string} name
 */
export function splitName(name) {
  const letters = [...name];
  if (letters.length <= 20) return [name, ""];
  return [letters.slice(0, -10).join(""), letters.slice(-10).join("")];
}

/**
 * As the service sorts: by code point, which for names is the order of their UTF-8.
 * @param {string} a @param {string} b
 */
export function compareNames(a, b) {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    if (a.charCodeAt(i) !== b.charCodeAt(i)) {
      const [left, right] = [a.codePointAt(i), b.codePointAt(i)];
      return Number(left) - Number(right) || a.charCodeAt(i) - b.charCodeAt(i);
    }
  }
  return a.length - b.length;
}

/** @type {[string, RegExp][]} */
const KINDS = [
  ["image", /^image\//],
  ["video", /^video\//],
  ["audio", /^audio\//],
  ["sheet", /csv|spreadsheet|excel/],
  ["document", /pdf|word|opendocument|presentation|rtf|epub/],
  ["archive", /zip|tar|compress|7z|rar|bzip|gzip|xz|zstd|java-archive|debian|rpm|disk|iso/],
  ["code", /html|xml|json|javascript|css|x-sh|python|sql|yaml|toml|x-c|typescript/],
  ["text", /^text\//],
];

/**
 * The name of a file's icon.
 * @param {string} type
 */
export const kind = (type) => KINDS.find(([, pattern]) => pattern.test(type))?.[0] ?? "file";
