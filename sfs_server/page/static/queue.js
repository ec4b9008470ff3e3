// The queue of uploads.
//
// The state of an upload goes queued → running → done. Other states are clash (a file of that name
// exists, and the person is asked), checking (a free name is looked for), waiting (the service is
// unreachable, or refuses for now: it goes on by itself), failed and cancelled. Two run at a time,
// each with one connection: a browser opens six to a server of HTTP/1.1, and other tabs need some.
//
// An upload belongs to the user who added it. While somebody else, or nobody, is signed in, it stays
// queued, and goes on from what is stored when its user is back.
import { freeName } from "./clashes.js";
import { change, isRunning, NOTHING } from "./entries.js";
import { joined } from "./places.js";
import { any, forget, recall, showUnfinished } from "./remembered.js";
import { LARGEST_PIECE, run, wake } from "./sending.js";
import { set, state, subscribe } from "./store.js";
import { end } from "./tus.js";
import { isActive } from "./uploads.js";

const AT_ONCE = 2;

let last = 0;
let batches = 0;

const who = () => state.session?.user ?? null;

// The uploads of a user who signs out, or whose token is refused, stop here, and go on with them.
let user = who();
subscribe(() => {
  if (user === who()) return;
  user = who();
  for (const upload of state.uploads) {
    if (isRunning(upload) && upload.user !== user) halt(upload, "queued");
  }
  showUnfinished();
  pump();
});

/**
 * @param {string | null} owner @param {string} namespace @param {File} file
 */
const key = (owner, namespace, { name, size, lastModified }) =>
  JSON.stringify([owner, namespace, name, size, lastModified]);

/**
 * A file that is in the queue already is left out; one that ended without success begins again.
 * @param {Pick<Place, "namespace" | "folder">} place @param {Iterable<File>} files
 */
export function add({ namespace, folder }, files) {
  const owner = who();
  const going = new Set(
    state.uploads.filter(isActive).map((one) => key(one.user, one.namespace, one.file)),
  );
  batches += 1;
  /** @type {Upload[]} */
  const added = [];
  for (const file of files) {
    const mine = key(owner, namespace, file);
    if (going.has(mine)) continue;
    going.add(mine);
    added.push(made(owner, namespace, folder, file));
  }
  const names = new Set(added.map(({ file }) => file.name));
  const kept = state.uploads.filter(
    (one) => !over(one) || one.namespace !== namespace || !names.has(one.file.name),
  );
  const urls = new Set(added.map(({ url }) => url));
  set({
    uploads: [...kept, ...added],
    unfinished: state.unfinished.filter(({ url }) => !urls.has(url)),
  });
  pump();
}

/** @param {Upload} upload */
const over = ({ state: now }) => now === "failed" || now === "cancelled";

/**
 * @param {string | null} owner @param {string} namespace @param {string} folder @param {File} file
 * @returns {Upload}
 */
function made(owner, namespace, folder, file) {
  const begun = any() ? recall(owner, namespace, file) : undefined;
  return {
    id: (last += 1),
    batch: batches,
    user: owner,
    namespace,
    file,
    name: begun?.name ?? joined(folder, file.name),
    size: file.size,
    state: "queued",
    replace: begun?.replace ?? false,
    choice: null,
    asked: 0,
    url: begun?.url ?? "",
    recalled: begun !== undefined,
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
  };
}

export function pump() {
  let busy = state.uploads.filter(isRunning).length;
  for (const upload of state.uploads) {
    if (busy >= AT_ONCE) return;
    if (upload.state !== "queued" || upload.user !== who()) continue;
    start(upload);
    busy += 1;
  }
}

/** @param {Upload} upload */
async function start(upload) {
  const control = new AbortController();
  change(upload, { state: "running", error: "", samples: [], control });
  await run(upload, control.signal);
  if (upload.state === "clash" && upload.choice) await resolve(upload, upload.choice);
  else pump();
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
  for (const upload of state.uploads.filter(isActive)) withdraw(upload);
}

/** @param {Upload} upload */
export function retry(upload) {
  change(upload, { state: "queued", error: "" });
  pump();
}

/**
 * The service does not take the name that the file has.
 * @param {Upload} upload @param {string} name
 */
export function rename(upload, name) {
  begone(upload);
  change(upload, { name, state: "queued", error: "", again: true, misnamed: false });
  pump();
}

export function retryAll() {
  for (const upload of state.uploads) {
    if (upload.state === "failed" && upload.again) change(upload, { state: "queued", error: "" });
  }
  pump();
}

export const clear = () =>
  set({ uploads: state.uploads.filter(isActive), unfinished: [] });

/**
 * What the person wants where the name of an upload is taken.
 * @param {Upload} upload @param {Choice} how
 */
export async function resolve(upload, how) {
  try {
    if (how === "skip") withdraw(upload);
    else if (how === "replace") change(upload, { state: "queued", replace: true });
    else await keep(upload);
  } catch (error) {
    change(upload, { state: "failed", error: error.message });
  }
  pump();
}

/**
 * Also what is not known to be taken yet, of the files that came together with this one.
 * @param {Upload} upload @param {Choice} how
 */
export function resolveAll(upload, how) {
  const others = state.uploads.filter((one) => one.batch === upload.batch && isActive(one));
  for (const other of others) other.choice = how;
  for (const other of others) {
    if (other.state === "clash") resolve(other, how);
    else if (other.state === "queued" && how === "replace" && !other.url) other.replace = true;
  }
}

/** @param {Upload} upload */
async function keep(upload) {
  change(upload, { state: "checking" });
  const queued = state.uploads.filter((one) => isActive(one) && one.namespace === upload.namespace);
  const names = new Set(queued.map(({ name }) => name));
  const name = await freeName(upload.namespace, upload.name, names);
  if (upload.state !== "checking") return;
  begone(upload);
  change(upload, { name, state: "queued" });
}
