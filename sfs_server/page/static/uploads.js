// The queue of uploads.
//
// An upload is an object with a state: queued → checking → running → done, or clash (a file of that
// name exists, and the person is asked), away (the service is: it begins again by itself), failed,
// cancelled. Three run at a time. `sent` is what has left the browser, `stored` what the service
// has stored: by its event stream, or null where there is none.
//
// That a name is taken is asked before the first byte is sent, because a browser may not see an
// answer that comes while it is still sending. The POST refuses to replace all the same, for the
// case that somebody was faster.
import { authorization, findFile, isAlive, parseDetail, viewPath } from "./api.js";
import { arrived, notify, say } from "./actions.js";
import { count } from "./format.js";
import { unreachable } from "./online.js";
import { set, state } from "./store.js";
import { watch } from "./watch.js";

const AT_ONCE = 3;
const MOST_TRIES = 5; // by itself, after the service was away
const REDRAW_MS = 100;
const SPEED_SECONDS = 4;

let last = 0;

export const ACTIVE = new Set(["queued", "checking", "clash", "running", "away"]);
export const isActive = (upload) => ACTIVE.has(upload.state);
const running = (upload) => upload.state === "running" || upload.state === "checking";
export const progress = (upload) => upload.stored ?? upload.sent;

let drawing = 0;
const redraw = () => {
  drawing ||= setTimeout(() => {
    drawing = 0;
    set({ uploads: [...state.uploads] });
    announce();
  }, REDRAW_MS);
};

export function change(upload, patch) {
  Object.assign(upload, patch);
  redraw();
}

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

async function start(upload) {
  change(upload, { state: "checking", sent: 0, stored: null, samples: [] });
  try {
    const taken = !upload.replace && (await findFile(upload.namespace, upload.name));
    if (upload.state !== "checking") return; // cancelled meanwhile
    if (taken) change(upload, { state: "clash" });
    else await send(upload);
  } catch (error) {
    if (upload.state === "cancelled") return;
    if (error.status === 0) away(upload);
    else change(upload, { state: "failed", error: error.message });
  } finally {
    pump();
  }
}

function send(upload) {
  // crypto.randomUUID is not there on an address without TLS.
  const random = crypto.getRandomValues(new Uint32Array(4));
  const transfer = `up-${[...random].map((n) => n.toString(36)).join("")}`;
  const request = new XMLHttpRequest();
  const path = `${viewPath(upload.namespace, upload.name)}?id=${transfer}`;
  request.open(upload.replace ? "PUT" : "POST", path);
  const headers = { ...authorization(), "Content-Type": "application/octet-stream" };
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);

  return new Promise((settle) => {
    const unwatch = watch(transfer, {
      stored: (bytes) => sample(upload, { stored: Math.max(bytes, upload.stored ?? 0) }),
      lost: () => change(upload, { stored: null }),
    });
    request.upload.onprogress = ({ loaded }) =>
      sample(upload, { sent: Math.min(loaded, upload.size) });
    request.onload = () => answered(upload, request);
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

function answered(upload, request) {
  if (request.status === 200 || request.status === 201) {
    change(upload, { state: "done", sent: upload.size, stored: upload.size });
    arrived(upload.namespace, upload.name);
  } else if (request.status === 409 && !upload.replace) {
    change(upload, { state: "clash" });
  } else {
    const fallback = `The service answered ${request.status}.`;
    change(upload, { state: "failed", error: parseDetail(request.responseText, fallback) });
  }
}

// The connection broke. A service that is away gets the file again when it is back; one that is
// there has cut the connection for a reason, and the person decides.
async function cut(upload) {
  change(upload, { state: "checking" });
  const alive = await isAlive();
  if (upload.state !== "checking") return;
  if (alive) {
    change(upload, {
      state: "failed",
      error: "The connection was cut before the service answered.",
    });
  } else {
    unreachable();
    away(upload);
  }
  pump();
}

function away(upload) {
  if (upload.tries >= MOST_TRIES) {
    change(upload, { state: "failed", error: "The service cannot be reached." });
  } else {
    change(upload, { state: "away", tries: upload.tries + 1 });
  }
}

// The service is back.
export function resume() {
  for (const upload of state.uploads) if (upload.state === "away") upload.state = "queued";
  pump();
}

export function cancel(upload) {
  const { stop } = upload;
  change(upload, { state: "cancelled", stop: () => {} });
  stop();
  pump();
}

export function retry(upload) {
  change(upload, { ...fresh(), replace: upload.replace });
  pump();
}

export const clear = () => set({ uploads: state.uploads.filter(isActive) });

// Speed, over the last seconds, and what it leads one to expect.

function sample(upload, patch) {
  if (upload.state !== "running") return;
  Object.assign(upload, patch);
  const now = performance.now() / 1000;
  const samples = upload.samples.filter(([at]) => now - at < SPEED_SECONDS);
  upload.samples = [...samples, [now, progress(upload)]];
  redraw();
}

export function speed({ samples }) {
  const [first, latest] = [samples[0], samples.at(-1)];
  if (!first || latest[0] - first[0] < 0.3) return 0;
  return Math.max(0, (latest[1] - first[1]) / (latest[0] - first[0]));
}

// The browser has sent far more than the service has stored, or all of it.
export const isWaiting = ({ state: now, sent, stored, size }) =>
  now === "running" &&
  (sent >= size || (stored !== null && sent - stored > Math.max(16e6, size / 10)));

// Told to screen readers at every tenth part.

let told = "";

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
  if (text !== told) say((told = text));
}

// What may be dropped or picked: files, not folders.
export function take(namespace, transfer) {
  const items = [...(transfer.items ?? [])].filter((item) => item.kind === "file");
  const folders = items.filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folders.length) notify("Folders are left out: open one, and drop the files that are in it.");
  const files = folders.length
    ? items.filter((item) => !folders.includes(item)).map((item) => item.getAsFile())
    : [...transfer.files];
  if (files.length) add(namespace, files);
}
