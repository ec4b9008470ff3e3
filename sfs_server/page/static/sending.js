// One upload on its way, whatever happens on it.
//
// A small file is one request, which the service refuses (409) where the name is taken. A larger one
// has a session (tus.js), and goes in pieces that take about PIECE_SECONDS: each response says how
// much is stored for good. Between two of them, what is shown as stored is what was sent `lag` seconds
// ago, the time that the piece before took from its last byte to the response: bytes that a socket or
// a proxy on the way has taken are not stored. Where a proxy limits the size of a request (413), pieces
// become smaller.
//
// What fails by itself may succeed by itself: a connection that is cut or silent, a service that is
// replaced (502, 503, 504), that is busy (429) or that gave up waiting (408). Each try begins with
// what is stored. Pauses grow, with a random part, so that pages do not all come back at once; where
// the service is unreachable, the pause ends when it is back.
import { arrived } from "./arrivals.js";
import { ApiError, findEntry, isAlive, isStored, viewPath } from "./api.js";
import { ask, inTheWay, isReplaceable } from "./clashes.js";
import { change, NOTHING } from "./entries.js";
import { unreachable } from "./online.js";
import { claim, forget, remember } from "./remembered.js";
import { before, sampled } from "./speed.js";
import { append, begin, exchange, offset } from "./tus.js";

const MIB = 1 << 20;
const SMALL = 4 * MIB; // at most this much is sent in one request, and once more after a cut
const SMALLEST_PIECE = 4 * MIB; // the first one, and those on a slow line
export const LARGEST_PIECE = 1024 * MIB;
const PIECE_SECONDS = 5;

const FIRST_PAUSE = 1; // seconds
const LONGEST_PAUSE = 30;
const MOST_GONE = 3; // times that what was in the way is gone when it is looked for
const MOST_CUTS = 10; // one after another without a byte stored, by a service that responds
const PASSING = new Set([408, 423, 425, 429, 502, 503, 504]);
const GONE = new Set([404, 410]);

/** @type {Set<() => void>} */
const sleepers = new Set();

/** The service is back: what waits goes on now. */
export function wake() {
  for (const sleeper of sleepers) sleeper();
}

/**
 * @param {number} seconds @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function sleep(seconds, signal) {
  return new Promise((resolve) => {
    const awake = () => {
      clearTimeout(timer);
      sleepers.delete(awake);
      signal.removeEventListener("abort", awake);
      resolve();
    };
    const timer = setTimeout(awake, seconds * 1000);
    sleepers.add(awake);
    signal.addEventListener("abort", awake);
  });
}

/** @param {number} tries */
const pause = (tries) => Math.min(FIRST_PAUSE * 2 ** (tries - 1), LONGEST_PAUSE) * random();
const random = () => 0.5 + Math.random();

/**
 * Sends an upload until it is done, has failed, or a person has to say something.
 * @param {Upload} upload @param {AbortSignal} signal
 */
export async function run(upload, signal) {
  for (let tries = 0; ; ) {
    const { stored } = upload;
    try {
      if (!upload.file) await makeFolder(upload, signal);
      else if (upload.url || upload.size > SMALL) await inPieces(upload, signal, tries);
      else await atOnce(upload, signal, tries);
      return finish(upload);
    } catch (error) {
      if (signal.aborted) return;
      tries = upload.stored > stored ? 1 : tries + 1;
      change(upload, { error: "" });
      const seconds = await judge(upload, error, tries);
      if (signal.aborted || seconds === null) return;
      change(upload, { state: "waiting", ...known(upload) });
      await sleep(seconds, signal);
      if (signal.aborted) return;
      change(upload, { state: "running", samples: [] });
    }
  }
}

/** @param {Upload} upload */
function finish(upload) {
  forget(upload.url);
  const { size } = upload;
  const all = { sent: size, stored: size, reached: size };
  change(upload, { state: "done", url: "", control: null, ...all });
  arrived(upload);
}

/**
 * What a failure means: the seconds until the next try, or null where there is none.
 * @param {Upload} upload @param {ApiError} error @param {number} tries
 */
async function judge(upload, error, tries) {
  const { status, message } = error;
  /** @param {string} text */
  const fail = (text, again = true) => {
    const misnamed = status === 400;
    const how = { error: text, again: again && !misnamed, misnamed };
    change(upload, { state: "failed", control: null, ...how, ...known(upload) });
    return null;
  };
  if (status === 0) {
    if (!(await isReadable(upload.file))) return fail(CHANGED, false);
    if (!(await isAlive())) {
      unreachable();
      return LONGEST_PAUSE;
    }
    change(upload, { error: message });
    return tries > MOST_CUTS ? fail(`${message} This has happened ${tries} times.`) : pause(tries);
  }
  if (PASSING.has(status)) {
    change(upload, { error: message });
    return Math.max(error.pause, pause(tries));
  }
  if (GONE.has(status) && upload.url && tries <= MOST_CUTS) {
    forget(upload.url);
    change(upload, { url: "", ...NOTHING });
    return 0;
  }
  if (status === 413 && upload.url && upload.most > SMALLEST_PIECE) {
    change(upload, { most: Math.max(SMALLEST_PIECE, Math.ceil(upload.piece / 2)) });
    return 0;
  }
  // At the end of a session: the name has been taken meanwhile. Before it, what was sent does not
  // follow what is stored, and the next try asks.
  if (status === 409 && upload.url && upload.stored < upload.size && tries <= MOST_CUTS) {
    return tries === 1 ? 0 : pause(tries);
  }
  if (status !== 409) return fail(message);
  change(upload, known(upload));
  try {
    const sure = upload.base !== "" || upload.choice === "skip";
    const there = sure ? null : await inTheWay(upload);
    if (there === undefined && tries <= MOST_GONE) return 0;
    const replaced = upload.replace && isReplaceable({ ...upload, there: there ?? null });
    if (there === undefined || replaced) return fail(message);
    if (upload.state === "running") ask(upload, there);
    return null;
  } catch (trouble) {
    return judge(upload, trouble, tries);
  }
}

// A browser reads no file that has changed on the disk since it was picked.
const CHANGED =
  "This file has been changed, moved or removed on your computer since you picked it. Pick it again.";

/** @param {File | null} file */
const isReadable = async (file) =>
  file === null ||
  file
    .slice(0, 1)
    .arrayBuffer()
    .then(
      () => true,
      () => false,
    );

/** @param {Upload} upload */
const replacing = ({ replace }) => (replace ? "?overwrite=true" : "");

/** @param {Upload} upload */
const target = (upload) => viewPath(upload.namespace, upload.path) + replacing(upload);

/** @param {Upload} upload @param {number} sent */
function progress(upload, sent) {
  const samples = sampled(upload.samples, sent);
  const reached = Math.max(upload.reached, before(samples, upload.lag));
  change(upload, { sent, samples, reached });
}

/**
 * No request runs: what is stored is what there is.
 * @param {Upload} upload
 */
const known = ({ stored }) => ({ sent: stored, reached: stored });

/**
 * A folder with nothing in it. It may be there.
 * @param {Upload} upload @param {AbortSignal} signal
 */
async function makeFolder({ namespace, path }, signal) {
  try {
    await exchange("MKCOL", `${viewPath(namespace, path)}/`, { signal });
  } catch (error) {
    if (error.status !== 405) throw error;
    const there = await findEntry(namespace, path);
    if (there?.type !== "folder") throw new ApiError(409, error.message);
  }
}

/**
 * Where the response to an earlier try was lost, the file may be there already.
 * @param {Upload} upload @param {AbortSignal} signal @param {number} tries
 */
async function atOnce(upload, signal, tries) {
  const { namespace, path, size } = upload;
  const file = /** @type {File} */ (upload.file);
  if (upload.unsure && !upload.replace && (await isStored(namespace, path, file))) return;
  const headers = { "Content-Type": "application/octet-stream" };
  /** @param {number} loaded */
  const sent = (loaded) => progress(upload, Math.min(loaded, size));
  try {
    await exchange("POST", target(upload), { headers, body: file, sent, signal, tries });
  } catch (error) {
    change(upload, { unsure: error.status === 0 || PASSING.has(error.status) });
    throw error;
  }
}

/**
 * Every start asks how much is stored.
 * @param {Upload} upload @param {AbortSignal} signal @param {number} tries
 */
async function inPieces(upload, signal, tries) {
  const { size } = upload;
  const file = /** @type {File} */ (upload.file);
  if (upload.url) await goOn(upload, signal);
  else {
    const { url, expires } = await begin(target(upload), size, signal);
    change(upload, { url, ...NOTHING });
    remember(upload, expires);
  }
  let length = SMALLEST_PIECE;
  do {
    const start = upload.stored;
    const stop = Math.min(start + length, size);
    change(upload, { piece: stop - start });
    const began = performance.now();
    let latest = began;
    /** @param {number} loaded */
    const sent = (loaded) => {
      latest = performance.now();
      progress(upload, Math.min(start + loaded, stop));
    };
    const how = { sent, signal, tries };
    const to = upload.url + replacing(upload);
    const { stored, expires } = await append(to, start, file.slice(start, stop), how);
    if (stored <= start && stop > start) throw new ApiError(0, "The service has stored nothing.");
    const now = performance.now();
    change(upload, { stored, lag: (now - latest) / 1000 });
    progress(upload, stored);
    change(upload, { reached: stored });
    if (stored < size) remember(upload, expires);
    const rate = (stored - start) / Math.max(1, now - began);
    const wanted = Math.ceil(rate * 1000 * PIECE_SECONDS);
    length = Math.max(SMALLEST_PIECE, Math.min(wanted, upload.most));
  } while (upload.stored < size);
}

/** @param {Upload} upload @param {AbortSignal} signal */
async function goOn(upload, signal) {
  if (!(await claim(upload.url))) throw new Error("Another tab uploads this file.");
  const stored = await offset(upload.url, signal);
  change(upload, { stored, sent: stored, reached: stored });
  if (upload.recalled) change(upload, { from: stored, recalled: false });
}
