// The beginning of a file as text: what its bytes mean, and where they may be cut.

/** Bytes that are fetched at once. */
export const PART = 256 * 1024;
/** So many parts of one file are shown at most: 2 MiB. */
export const MOST_PARTS = 8;

/**
 * How the bytes that a file begins with are to be read; null where they are no text. Where the name
 * says that it is text, what is not UTF-8 is taken for the encoding of older Windows programs.
 * @param {Uint8Array} bytes @param {boolean} whole @param {boolean} named
 */
export function encodingOf(bytes, whole, named) {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "utf-16be";
  if (bytes.includes(0)) return null;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: !whole });
    return "utf-8";
  } catch {
    return named ? "windows-1252" : null; // not well-formed: that is what was asked
  }
}

/**
 * How many of the bytes to show, where more follow: whole lines, or whole characters where a line is
 * longer than half of them.
 * @param {Uint8Array} bytes @param {string} encoding
 */
export function cut(bytes, encoding) {
  const lines = lastBreak(bytes, encoding);
  if (lines > bytes.length / 2) return lines;
  if (encoding === "utf-8") return wholeCharacters(bytes);
  return encoding === "windows-1252" ? bytes.length : wholeUnits(bytes, encoding);
}

/** The end of the last line. @param {Uint8Array} bytes @param {string} encoding */
function lastBreak(bytes, encoding) {
  if (!encoding.startsWith("utf-16")) return bytes.lastIndexOf(10) + 1;
  let end = bytes.length - (bytes.length % 2);
  while (end > 0 && unit(bytes, end - 2, encoding) !== 10) end -= 2;
  return end;
}

/** @param {Uint8Array} bytes */
function wholeCharacters(bytes) {
  const end = bytes.length;
  let at = end - 1;
  while (at > end - 4 && (bytes[at] & 0xc0) === 0x80) at -= 1;
  const first = bytes[at];
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
  return at + length > end ? at : end;
}

/** @param {Uint8Array} bytes @param {string} encoding */
function wholeUnits(bytes, encoding) {
  const end = bytes.length - (bytes.length % 2);
  return (unit(bytes, end - 2, encoding) & 0xfc00) === 0xd800 ? end - 2 : end; // half a pair
}

/** @param {Uint8Array} bytes @param {number} at @param {string} encoding */
const unit = (bytes, at, encoding) =>
  encoding === "utf-16le" ? bytes[at] + bytes[at + 1] * 256 : bytes[at] * 256 + bytes[at + 1];
