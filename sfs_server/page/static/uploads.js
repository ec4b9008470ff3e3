// The door to the uploads. What sends them (queue.js) comes with the first file; where it cannot be
// fetched, the files wait until the service is back.
import { notify } from "./actions.js";
import { unreachable } from "./online.js";
import { state } from "./store.js";

/** @typedef {typeof import("./queue.js")} Queue */

export const KEY = "sfs-uploads"; // where a browser keeps what it has begun: remembered.js

/** @type {Set<UploadState>} */
const ACTIVE = new Set(["queued", "checking", "clash", "running", "waiting"]);
/** @param {Upload} upload */
export const isActive = (upload) => ACTIVE.has(upload.state);

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
 * To the folder that a place names.
 * @param {Pick<Place, "namespace" | "folder">} place @param {Iterable<File>} files
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
 * What may be dropped or picked: files, not folders.
 * @param {Pick<Place, "namespace" | "folder">} place @param {DataTransfer} transfer
 */
export function take(place, transfer) {
  const items = [...(transfer.items ?? [])].filter((item) => item.kind === "file");
  const folders = items.filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folders.length) notify("Folders are left out: open one, and drop the files that are in it.");
  const files = folders.length
    ? items.filter((item) => !folders.includes(item)).map((item) => item.getAsFile())
    : [...transfer.files];
  if (files.length) add(place, /** @type {File[]} */ (files));
}
