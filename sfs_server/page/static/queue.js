// The queue of uploads.
//
// The state of an upload goes queued → running → done. Other states are clash (something is at its
// path, or in the way to it, and the person is asked), checking (a free name is looked for),
// waiting (the service is unreachable, or refuses for now: it goes on by itself), failed and
// cancelled. Two run at a time, each with one connection: a browser opens six to a server of
// HTTP/1.1, and other tabs need some.
//
// What is dropped or picked together is one batch: files with their paths below the folder that was
// shown, and the folders that have nothing in them, which are uploads without a file.
//
// An upload belongs to the user who added it. While somebody else, or nobody, is signed in, it stays
// queued, and goes on from what is stored when its user is back.
import { notify } from "./actions.js";
import { ask, blocked, freeFolder, freePath, isReplaceable, taken } from "./clashes.js";
import { read } from "./dropped.js";
import { change, isRunning, NOTHING } from "./entries.js";
import { joined, nameOf, parentOf, within } from "./places.js";
import { forget, identity, recollect, showUnfinished } from "./remembered.js";
import { LARGEST_PIECE, run, wake } from "./sending.js";
import { set, state, subscribe } from "./store.js";
import { end } from "./tus.js";
import { isActive } from "./uploads.js";

const AT_ONCE = 2;
const FEW = 3; // uploads to one folder: for more, what is in it is listed where one is taken

const UNREADABLE = "This computer does not let the browser read it.";

let last = 0;
let batches = 0;

// No upload before this one is queued, and of these none has ended.
let next = 0;
/** @type {Set<Upload>} */
const running = new Set();

/** Where uploads go, in all namespaces. */
let targets = new Set();

const who = () => state.session?.user ?? null;

// The uploads of a user who signs out, or whose token is refused, stop here, and go on with them.
let user = who();
subscribe(() => {
  if (user === who()) return;
  user = who();
  for (const upload of state.uploads) {
    if (isRunning(upload) && upload.user !== user) halt(upload, "queued");
  }
  next = 0;
  showUnfinished();
  pump();
});

/** @type {Set<AbortController>} what is being read */
const readings = new Set();

/**
 * Reads what was dropped or picked, and uploads it into a folder.
 * @param {Where} place @param {Source[]} source
 */
export async function add(place, source) {
  const owner = who();
  const control = new AbortController();
  readings.add(control);
  try {
    const found = await read(source, (reading) => set({ reading }), control.signal);
    enqueue(owner, place, found);
  } catch (error) {
    if (!control.signal.aborted) notify(error.message, { error: true });
  }
  readings.delete(control);
  if (readings.size === 0 && state.reading !== null) set({ reading: null });
}

/**
 * A file that is in the queue already is left out; one that ended without success begins again.
 * @param {string | null} owner @param {Where} place @param {Found} found
 */
function enqueue(owner, { namespace, folder }, { files, folders, unread }) {
  const going = new Set(state.uploads.filter(isActive).map(identity));
  const recall = recollect();
  batches += 1;
  /** @type {Upload[]} */
  const added = [];
  /** @param {Picked} one @param {Partial<Upload>} how */
  const put = (one, how = {}) => {
    const picked = joined(folder, one.path);
    const upload = { ...made(owner, namespace, picked), ...one, path: picked, ...how };
    const mine = identity(upload);
    if (going.has(mine)) return;
    going.add(mine);
    Object.assign(upload, recall(mine));
    targets.add(joined(namespace, upload.path));
    added.push(upload);
  };
  const nothing = { file: null, size: 0, lastModified: 0 };
  for (const one of files) put(one);
  for (const path of folders) put({ path, ...nothing });
  for (const path of unread) {
    put({ path, ...nothing }, { state: "failed", error: UNREADABLE, again: false });
  }
  const paths = new Set(added.map(({ picked }) => picked));
  const kept = state.uploads.filter(
    (one) => !over(one) || one.namespace !== namespace || !paths.has(one.picked),
  );
  const urls = new Set(added.map(({ url }) => url));
  set({
    uploads: [...kept, ...added],
    unfinished: state.unfinished.filter(({ url }) => !urls.has(url)),
  });
  next = 0;
  pump();
}

/** @param {Upload} upload */
const over = ({ state: now }) => now === "failed" || now === "cancelled";

/**
 * @param {string | null} owner @param {string} namespace @param {string} picked
 * @returns {Upload}
 */
const made = (owner, namespace, picked) => ({
  id: (last += 1),
  batch: batches,
  user: owner,
  namespace,
  picked,
  path: picked,
  base: "",
  file: null,
  size: 0,
  lastModified: 0,
  state: "queued",
  replace: false,
  there: null,
  choice: null,
  asked: 0,
  url: "",
  recalled: false,
  ...NOTHING,
  lag: Infinity,
  piece: 0,
  most: LARGEST_PIECE,
  samples: [],
  error: "",
  again: true,
  misnamed: false,
  unsure: false,
  version: 0,
  control: null,
});

export function pump() {
  for (const one of running) if (!isRunning(one)) running.delete(one);
  for (; running.size < AT_ONCE && next < state.uploads.length; next += 1) {
    const upload = state.uploads[next];
    if (upload.state === "queued" && upload.user === user) start(upload);
  }
}

/** @param {Upload} upload */
async function start(upload) {
  running.add(upload);
  const control = new AbortController();
  change(upload, { state: "running", error: "", samples: [], control });
  await run(upload, control.signal);
  if (upload.state === "clash") await clashed(upload);
  else pump();
}

/** @param {Upload} upload @param {Partial<Upload>} [patch] */
function requeue(upload, patch) {
  change(upload, { state: "queued", error: "", ...patch });
  next = 0;
}

/** @param {Upload} upload @param {UploadState} then */
function halt(upload, then) {
  const { control } = upload;
  change(upload, { state: then, control: null });
  control?.abort();
}

/** The service is back. */
export function resume() {
  wake();
  showUnfinished();
  pump();
}

/**
 * What is stored of it already is dropped.
 * @param {Upload} upload
 */
function withdraw(upload) {
  halt(upload, "cancelled");
  begone(upload);
}

/** @param {Upload} upload */
function begone(upload) {
  drop(upload.url);
  change(upload, { url: "", ...NOTHING });
}

/**
 * Ends a session.
 * @param {string} url
 */
export function drop(url) {
  if (!url) return;
  forget(url);
  end(url);
}

/** @param {Upload} upload */
export function cancel(upload) {
  withdraw(upload);
  pump();
}

export function cancelAll() {
  for (const control of readings) control.abort();
  for (const upload of state.uploads.filter(isActive)) withdraw(upload);
}

/** @param {Upload} upload */
export function retry(upload) {
  requeue(upload);
  pump();
}

/**
 * The service does not take the path of an upload. A folder that gets another name by this gets it
 * for all of the batch that goes into it.
 * @param {Upload} upload @param {string} path
 */
export function rename(upload, path) {
  let [from, to] = [parentOf(upload.path), parentOf(path)];
  while (from !== to && nameOf(from) === nameOf(to)) [from, to] = [parentOf(from), parentOf(to)];
  for (const one of batchOf(upload)) {
    const waits = one.misnamed || (one.state === "queued" && !one.url);
    if (waits && from && within(one.path, from)) {
      move(one, joined(to, one.path.slice(from.length + 1)));
    }
  }
  move(upload, path);
  pump();
}

/** @param {Upload} upload @param {string} path */
function move(upload, path, base = "") {
  begone(upload);
  targets.add(joined(upload.namespace, path));
  requeue(upload, { path, base, there: null, again: true, misnamed: false });
}

export function retryAll() {
  for (const upload of state.uploads) {
    if (upload.state === "failed" && upload.again) requeue(upload);
  }
  pump();
}

export function clear() {
  const uploads = state.uploads.filter(isActive);
  set({ uploads, unfinished: [] });
  targets = new Set(uploads.map(({ namespace, path }) => joined(namespace, path)));
  next = 0;
}

/** @param {Upload} upload */
const batchOf = ({ batch }) => state.uploads.filter((one) => one.batch === batch);

/**
 * Something is at the path of an upload, or in the way to it. Those of its batch for which that is
 * true as well are asked about without a request of their own.
 * @param {Upload} upload
 */
async function clashed(upload) {
  const { namespace, path } = upload;
  const queued = batchOf(upload).filter((one) => one.state === "queued" && !one.url);
  const folder = blocked(upload);
  if (folder) {
    for (const one of queued) if (within(one.path, folder)) ask(one, upload.there);
  } else if (!upload.base) {
    const others = queued.filter(
      (one) => parentOf(one.path) === parentOf(path) && !one.replace && !one.base,
    );
    const found = others.length < FEW ? new Map() : await taken(namespace, others);
    for (const one of others) {
      const there = found.get(one.path);
      if (there && one.state === "queued") ask(one, there);
    }
  }
  for (const one of [upload, ...queued]) {
    const how = one.base ? "keep" : one.choice;
    if (one.state === "clash" && how && may(one, how)) resolve(one, how);
  }
  pump();
}

/** @param {Upload} upload @param {Choice} how */
const may = (upload, how) => how !== "replace" || isReplaceable(upload);

/**
 * What the person wants where something is at the path of an upload, or in the way to it: then it
 * is for all that goes the same way.
 * @param {Upload} upload @param {Choice} how
 */
export async function resolve(upload, how) {
  const folder = blocked(upload);
  const all = folder
    ? batchOf(upload).filter((one) => one.state === "clash" && within(one.path, folder))
    : [upload];
  try {
    if (how === "skip") all.forEach(withdraw);
    else if (how === "replace") requeue(upload, { replace: true });
    else if (folder) await keepFolder(folder, all);
    else keep(upload);
  } catch (error) {
    for (const one of all) change(one, { state: "failed", error: error.message });
  }
  pump();
}

/** @param {Upload} upload */
function keep(upload) {
  const base = upload.base || upload.path;
  const isTaken = (/** @type {string} */ path) => targets.has(joined(upload.namespace, path));
  move(upload, freePath(base, isTaken), base);
}

/** @param {string} folder @param {Upload[]} all */
async function keepFolder(folder, all) {
  for (const one of all) change(one, { state: "checking" });
  const free = await freeFolder(all[0].namespace, folder);
  for (const one of all) {
    if (one.state === "checking") move(one, free + one.path.slice(folder.length));
  }
}

/**
 * Also what is not known to be taken yet, of the files that came together with this one.
 * @param {Upload} upload @param {Choice} how
 */
export function resolveAll(upload, how) {
  const others = batchOf(upload).filter(isActive);
  for (const other of others) {
    other.choice = how;
    if (how === "replace" && other.state === "queued" && !other.url) other.replace = true;
  }
  for (const other of others) {
    if (other.state === "clash" && may(other, how)) resolve(other, how);
  }
}
