// Requests that bring bytes, and the protocol of uploads that can be resumed (tus 1.0.0) as far as
// the page needs it: POST begins a session, HEAD says how much of it is stored, PATCH brings more,
// DELETE ends it.
//
// Only an XMLHttpRequest says how much of a body has left the browser. A connection that is open and
// carries nothing is given up: after QUIET_MS without a byte while there are bytes to send, and after
// RESPONSE_MS (twice as much at each further try) once all are sent and the service is silent.
import { ApiError, authorization, credential, parseDetail, refused } from "./api.js";

const TUS = { "Tus-Resumable": "1.0.0" };
const QUIET_MS = 20_000;
const RESPONSE_MS = 60_000;
const LONGEST_RESPONSE_MS = 900_000;
const MOST_PAUSE = 300; // seconds that a service may ask for

/**
 * Sends a request; the response, if it is a good one. Raises ApiError, and what `signal` says when it
 * ends the request.
 * @param {string} method @param {string} path
 * @param {Exchange} how
 * @returns {Promise<XMLHttpRequest>}
 */
export function exchange(method, path, { headers = {}, body = null, sent, signal, tries = 0 }) {
  signal.throwIfAborted();
  const token = credential.get();
  const request = new XMLHttpRequest();
  request.open(method, path);
  const all = Object.entries({ ...authorization(token), ...headers });
  for (const [name, value] of all) request.setRequestHeader(name, value);

  return new Promise((resolve, reject) => {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let alarm;
    let quiet = false;
    /** @param {number} wait */
    const expect = (wait) => {
      clearTimeout(alarm);
      alarm = setTimeout(() => {
        quiet = true;
        request.abort();
      }, wait);
    };
    const stop = () => request.abort();
    const response = Math.min(RESPONSE_MS * 2 ** tries, LONGEST_RESPONSE_MS);
    signal.addEventListener("abort", stop);
    request.upload.onprogress = ({ loaded }) => {
      expect(QUIET_MS);
      sent?.(loaded);
    };
    request.upload.onload = () => expect(response);
    request.onload = () => {
      const { status } = request;
      if (status >= 200 && status < 300) return resolve(request);
      if (status === 401) refused(token);
      const pause = Math.min(Number(request.getResponseHeader("Retry-After")) || 0, MOST_PAUSE);
      const fallback = `The service responded with ${status}.`;
      reject(new ApiError(status, parseDetail(request.responseText, fallback), pause));
    };
    request.onerror = () => reject(new ApiError(0, "The connection was cut."));
    request.onabort = () =>
      reject(quiet ? new ApiError(0, "The service fell silent.") : signal.reason);
    request.onloadend = () => {
      clearTimeout(alarm);
      signal.removeEventListener("abort", stop);
    };
    expect(body?.size ? QUIET_MS : response);
    request.send(body);
  });
}

/**
 * Begins an upload of `size` bytes to the file at `path`; the path of its session, and when that
 * ends. Raises ApiError 409 where the name is taken.
 * @param {string} path @param {number} size @param {AbortSignal} signal
 */
export async function begin(path, size, signal) {
  const headers = { ...TUS, "Upload-Length": String(size) };
  const response = await exchange("POST", path, { headers, signal });
  const where = response.getResponseHeader("Location") ?? "";
  return { url: new URL(where, location.origin).pathname, expires: expiry(response) };
}

/**
 * How many bytes are stored. The service ends a request that still feeds the session.
 * @param {string} url @param {AbortSignal} signal
 */
export async function offset(url, signal) {
  const response = await exchange("HEAD", url, { headers: TUS, signal });
  return Number(response.getResponseHeader("Upload-Offset"));
}

/**
 * Adds `bytes` from `at` on; how many are stored then. The last ones, also where there are none,
 * publish the file.
 * @param {string} url @param {number} at @param {Blob} bytes
 * @param {Pick<Exchange, "sent" | "signal" | "tries">} how
 */
export async function append(url, at, bytes, how) {
  const headers = {
    ...TUS,
    "Upload-Offset": String(at),
    "Content-Type": "application/offset+octet-stream",
  };
  const response = await exchange("PATCH", url, { ...how, headers, body: bytes });
  const stored = Number(response.getResponseHeader("Upload-Offset"));
  return { stored, expires: expiry(response) };
}

/**
 * Ends a session; its bytes are dropped. What cannot be ended now expires.
 * @param {string} url
 */
export const end = (url) =>
  fetch(url, { method: "DELETE", headers: { ...authorization(), ...TUS }, keepalive: true }).catch(
    () => undefined,
  );

/**
 * Milliseconds since 1970; 0 where the service does not say.
 * @param {XMLHttpRequest} response
 */
const expiry = (response) => Date.parse(response.getResponseHeader("Upload-Expires") ?? "") || 0;
