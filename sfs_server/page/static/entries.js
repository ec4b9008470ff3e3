// The uploads of the queue as they are shown: what changes in one is drawn soon, and announced.
import { say } from "./actions.js";
import { count } from "./format.js";
import { joined, parentOf } from "./places.js";
import { moved, tick } from "./speed.js";
import { set, state } from "./store.js";
import { isActive } from "./uploads.js";

const REDRAW_MS = 200;
const MANY = 50; // uploads of which one costs less than being drawn
const REDRAW_MANY_MS = 500;
const TICK_MS = 1000; // while something runs: a rate falls where nothing moves

/** Of an upload that has not begun. */
export const NOTHING = { sent: 0, stored: 0, reached: 0, from: 0 };

/** @param {Upload} upload */
export const isRunning = ({ state: now }) => now === "running" || now === "waiting";

/** @type {ReturnType<typeof setTimeout> | undefined} */
let drawing;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let ticking;

function redraw() {
  drawing ||= setTimeout(() => {
    drawing = undefined;
    clearTimeout(ticking);
    if (state.uploads.some(isRunning)) ticking = setTimeout(redraw, TICK_MS);
    tick();
    set({ uploads: [...state.uploads] });
    announce();
  }, state.uploads.length > MANY ? REDRAW_MANY_MS : REDRAW_MS);
}

/** @param {Upload} upload @param {Partial<Upload>} patch */
export function change(upload, patch) {
  if (patch.sent !== undefined) moved(patch.sent - upload.sent);
  Object.assign(upload, patch, { version: upload.version + 1 });
  redraw();
}

/** @type {{ of?: Upload[], sums?: Sums }} */
let latest = {};

/**
 * The numbers of all uploads together: how many there are, in how many folders, and the bytes of
 * what is done or under way.
 * @param {Upload[]} uploads
 * @returns {Sums}
 */
export function sums(uploads) {
  if (latest.sums && latest.of === uploads) return latest.sums;
  const [active, done, failed] = [0, 0, 0].map(() => ({ files: 0, folders: 0 }));
  const sum = { active, done, failed, size: 0, sent: 0, reached: 0, again: false };
  const folders = new Set();
  for (const upload of uploads) {
    const { state: now, file, namespace, path } = upload;
    const part = isActive(upload) ? active : { done, failed }[String(now)];
    if (part) part[file || part === failed ? "files" : "folders"] += 1;
    if (now === "failed") sum.again ||= upload.again;
    if (!part || part === failed) continue;
    folders.add(joined(namespace, file ? parentOf(path) : path));
    sum.size += upload.size;
    sum.sent += upload.sent;
    sum.reached += upload.reached;
  }
  const all = { ...sum, folders: folders.size };
  latest = { of: uploads, sums: all };
  return all;
}

/**
 * In words.
 * @param {{ files: number, folders: number }} some
 */
export const amount = ({ files, folders }) =>
  files ? count(files, "file") : count(folders, "folder");

/**
 * With the folders that they are in, where there are some.
 * @param {Sums} sum
 */
export const together = ({ active, done, folders }) => {
  const files = active.files + done.files;
  const text = amount({ files, folders });
  return files && folders > 1 ? `${text} in ${count(folders, "folder")}` : text;
};

// Announced by screen readers at every tenth part.

let announced = "";

function announce() {
  const sum = sums(state.uploads);
  const { active, done, size, reached } = sum;
  let text = "";
  if (active.files + active.folders) {
    const tenth = size ? Math.floor((reached / size) * 10) * 10 : 0;
    text = `Uploading ${amount(active)}, ${tenth} percent stored`;
  } else if (done.files + done.folders) {
    text = `${together(sum)} uploaded`;
  }
  if (text !== announced) say((announced = text));
}
