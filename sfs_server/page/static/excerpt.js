// The beginning of a file as text: its bytes, what they mean, and where they may be cut.
import { ApiError, broken, call } from "./api.js";

/** Bytes that are fetched at once. */
export const PART = 256 * 1024;
/** So many parts of one file are shown at most: 2 MiB. */
export const MOST_PARTS = 8;

/**
 * The encoding of a text, seen from its first bytes; null where they are no text. Where the name
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

/**
 * At most `most` bytes of a file from byte `from` on, the size of the whole, and its version; with
 * an `etag`, of that version alone. The URL opens the file without a token. A proxy may send the whole
 * file though a range was asked for: no more is read than was wanted.
 * @param {string} url @param {number} from @param {number} most @param {string | null} etag
 * @param {AbortSignal} signal
 */
export async function readPart(url, from, most, etag, signal) {
  /** @type {Record<string, string>} */
  const fields = { Range: `bytes=${from}-${from + most - 1}` };
  if (etag) fields["If-Match"] = etag;
  const response = await call("GET", url, undefined, signal, { token: null, fields });
  const { headers, status } = response;
  if (status !== 206 && from > 0) throw new ApiError(status, "The rest cannot be had in parts.");
  const range = /\/(\d+)$/.exec(headers.get("Content-Range") ?? "");
  const bytes = await beginningOf(response, most).catch(broken);
  const total = Number(range ? range[1] : (headers.get("Content-Length") ?? bytes.length));
  return { bytes, total, etag: headers.get("ETag") };
}

/** @param {Response} response @param {number} most */
async function beginningOf(response, most) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const bytes = new Uint8Array(most);
  let length = 0;
  while (length < most) {
    const { done, value } = await reader.read();
    if (done) break;
    const taken = value.subarray(0, most - length);
    bytes.set(taken, length);
    length += taken.length;
  }
  await reader.cancel();
  return bytes.subarray(0, length);
}
