// The queue of uploads.
//
// The state of an upload goes queued → checking → running → done. Other states are clash (a file of
// that name exists, and the person is asked), unreachable (the service is; the upload starts again
// by itself), failed and cancelled. Three run at a time.
//
// Whether a name is taken is asked before the first byte is sent, because a browser may not see a
// response that comes while it is still sending. The POST refuses to replace all the same, in case
// somebody was faster.
import { authorization, findFile, isAlive, parseDetail, viewPath } from "./api.js";
import { arrived, notify, say } from "./actions.js";
import { count } from "./format.js";
import { unreachable } from "./online.js";
import { set, state } from "./store.js";
import { watch } from "./watch.js";

const AT_ONCE = 3;
const MOST_TRIES = 5; // by itself, after the service was unreachable
const REDRAW_MS = 100;
const SPEED_SECONDS = 4;

let last = 0;

/** @type {Set<UploadState>} */
export const ACTIVE = new Set(["queued", "checking", "clash", "running", "unreachable"]);
/** @param {Upload} upload */
export const isActive = (upload) => ACTIVE.has(upload.state);
/** @param {Upload} upload */
const running = (upload) => upload.state === "running" || upload.state === "checking";
/** @param {Upload} upload */
export const progress = (upload) => upload.stored ?? upload.sent;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let drawing;
const redraw = () => {
  drawing ||= setTimeout(() => {
    drawing = undefined;
    set({ uploads: [...state.uploads] });
    announce();
  }, REDRAW_MS);
};

/** @param {Upload} upload @param {Partial<Upload>} patch */
export function change(upload, patch) {
  Object.assign(upload, patch);
  redraw();
}

/** @param {string} namespace @param {Iterable<File>} files */
export function add(namespace, files) {
  const added = [...files].map((file) => ({
    id: (last += 1),
    namespace,
    file,
    name: file.name,
    size: file.size,
    ...fresh(),
  }));
  set({ uploads: [...state.uploads, ...added] });
  pump();
}

/** @type {() => Omit<Upload, "id" | "namespace" | "file" | "name" | "size">} */
const fresh = () => ({
  state: "queued",
  replace: false,
  sent: 0,
  stored: null,
  samples: [],
  error: "",
  tries: 0,
  stop: () => {},
});

export function pump() {
  let busy = state.uploads.filter(running).length;
  for (const upload of state.uploads) {
    if (busy >= AT_ONCE) return;
    if (upload.state !== "queued") continue;
    start(upload);
    busy += 1;
  }
}

/** @param {Upload} upload */
async function start(upload) {
  change(upload, { state: "checking", sent: 0, stored: null, samples: [] });
  try {
    const taken = !upload.replace && (await findFile(upload.namespace, upload.name));
    if (upload.state !== "checking") return; // cancelled meanwhile
    if (taken) change(upload, { state: "clash" });
    else await send(upload);
  } catch (error) {
    if (upload.state === "cancelled") return;
    if (error.status === 0) wait(upload);
    else change(upload, { state: "failed", error: error.message });
  } finally {
    pump();
  }
}

/** @param {Upload} upload */
function send(upload) {
  // crypto.randomUUID is not there on an address without TLS.
  const random = crypto.getRandomValues(new Uint32Array(4));
  const transfer = `up-${[...random].map((n) => n.toString(36)).join("")}`;
  const request = new XMLHttpRequest();
  const path = `${viewPath(upload.namespace, upload.name)}?id=${transfer}`;
  request.open(upload.replace ? "PUT" : "POST", path);
  const headers = { ...authorization(), "Content-Type": "application/octet-stream" };
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);

  return new Promise((/** @type {(none?: void) => void} */ settle) => {
    const unwatch = watch(transfer, {
      stored: (bytes) => sample(upload, { stored: Math.max(bytes, upload.stored ?? 0) }),
      lost: () => change(upload, { stored: null }),
    });
    request.upload.onprogress = ({ loaded }) =>
      sample(upload, { sent: Math.min(loaded, upload.size) });
    request.onload = () => finish(upload, request);
    request.onerror = () => cut(upload);
    request.onabort = () => change(upload, { state: "cancelled" });
    request.onloadend = () => {
      unwatch?.();
      settle();
    };
    change(upload, { state: "running", stored: unwatch && 0, stop: () => request.abort() });
    request.send(upload.file);
  });
}

/** @param {Upload} upload @param {XMLHttpRequest} request */
function finish(upload, request) {
  if (request.status === 200 || request.status === 201) {
    change(upload, { state: "done", sent: upload.size, stored: upload.size });
    arrived(upload.namespace, upload.name);
  } else if (request.status === 409 && !upload.replace) {
    change(upload, { state: "clash" });
  } else {
    const fallback = `The service responded with ${request.status}.`;
    change(upload, { state: "failed", error: parseDetail(request.responseText, fallback) });
  }
}

/**
 * The connection broke. A service that is unreachable gets the file again when it is back; one that
 * is reachable has cut the connection for a reason, and the person decides.
 * @param {Upload} upload
 */
async function cut(upload) {
  change(upload, { state: "checking" });
  const alive = await isAlive();
  if (upload.state !== "checking") return;
  if (alive) {
    change(upload, {
      state: "failed",
      error: "The connection was cut before the service responded.",
    });
  } else {
    unreachable();
    wait(upload);
  }
  pump();
}

/** @param {Upload} upload */
function wait(upload) {
  if (upload.tries >= MOST_TRIES) {
    change(upload, { state: "failed", error: "The service cannot be reached." });
  } else {
    change(upload, { state: "unreachable", tries: upload.tries + 1 });
  }
}

// The service is back.
export function resume() {
  for (const upload of state.uploads) if (upload.state === "unreachable") upload.state = "queued";
  pump();
}

/** @param {Upload} upload */
export function cancel(upload) {
  const { stop } = upload;
  change(upload, { state: "cancelled", stop: () => {} });
  stop();
  pump();
}

/** @param {Upload} upload */
export function retry(upload) {
  change(upload, { ...fresh(), replace: upload.replace });
  pump();
}

export const clear = () => set({ uploads: state.uploads.filter(isActive) });

/**
 * Notes how far an upload is, for its speed over the last seconds.
 * @param {Upload} upload @param {Partial<Upload>} patch
 */
function sample(upload, patch) {
  if (upload.state !== "running") return;
  Object.assign(upload, patch);
  const now = performance.now() / 1000;
  const samples = upload.samples.filter(([at]) => now - at < SPEED_SECONDS);
  upload.samples = [...samples, [now, progress(upload)]];
  redraw();
}

// Announced by screen readers at every tenth part.

let announced = "";

function announce() {
  const active = state.uploads.filter(isActive);
  const done = state.uploads.filter((upload) => upload.state === "done").length;
  let text = "";
  if (active.length) {
    const all = state.uploads.filter((upload) => upload.state === "done" || isActive(upload));
    const size = all.reduce((sum, upload) => sum + upload.size, 0);
    const stored = all.reduce((sum, upload) => sum + progress(upload), 0);
    const tenth = size ? Math.floor((stored / size) * 10) * 10 : 0;
    text = `Uploading ${count(active.length, "file")}, ${tenth} percent stored`;
  } else if (done) {
    text = `${count(done, "file")} uploaded`;
  }
  if (text !== announced) say((announced = text));
}

/**
 * What may be dropped or picked: files, not folders.
 * @param {string} namespace @param {DataTransfer} transfer
 */
export function take(namespace, transfer) {
  const items = [...(transfer.items ?? [])].filter((item) => item.kind === "file");
  const folders = items.filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folders.length) notify("Folders are left out: open one, and drop the files that are in it.");
  const files = folders.length
    ? items.filter((item) => !folders.includes(item)).map((item) => item.getAsFile())
    : [...transfer.files];
  if (files.length) add(namespace, /** @type {File[]} */ (files));
}
