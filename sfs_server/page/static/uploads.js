// The door to the uploads. What sends them (queue.js) comes with the first file; where it cannot be
// fetched, the files wait until the service is back.
import { unreachable } from "./online.js";
import { state } from "./store.js";

/** @typedef {typeof import("./queue.js")} Queue */

export const KEY = "sfs-uploads"; // where a browser keeps what it has begun: remembered.js

/** @type {Set<UploadState>} */
const ACTIVE = new Set(["queued", "checking", "clash", "running", "waiting"]);
/** @param {Upload} upload */
export const isActive = (upload) => ACTIVE.has(upload.state);
/** Whether something would be lost with the page. */
export const isBusy = () => state.reading !== null || state.uploads.some(isActive);

/** @type {((queue: Queue) => void)[]} */
const acts = [];

/** @param {((queue: Queue) => void)[]} more */
async function withQueue(...more) {
  acts.push(...more);
  try {
    const queue = await import("./queue.js");
    for (const act of acts.splice(0)) act(queue);
  } catch {
    unreachable();
  }
}

/**
 * Uploads files, of which a picked folder gives the paths, into a folder.
 * @param {Where} place @param {Iterable<File>} files
 */
export function add(place, files) {
  const all = [...files];
  withQueue((queue) => queue.add(place, all));
}

/** Somebody is there, or the service is back: what waits goes on. */
export function resume() {
  const begun = localStorage.getItem(KEY) !== null;
  if (begun || acts.length || state.uploads.length) withQueue((queue) => queue.resume());
}

/**
 * Uploads what was dropped, files and folders, into a folder. A browser says what it is during the
 * event only.
 * @param {Where} place @param {DataTransfer} transfer
 */
export function take(place, transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const all = items.map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  withQueue((queue) => queue.add(place, all.filter((one) => one !== null)));
}
