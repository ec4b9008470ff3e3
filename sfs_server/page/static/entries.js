// The uploads of the queue as they are shown: what changes in one is drawn soon, and announced.
import { say } from "./actions.js";
import { count } from "./format.js";
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

/**
 * Bytes of what is done or under way: all, those that have left the browser, those shown as stored.
 * @param {Upload[]} uploads
 */
export function sums(uploads) {
  const sum = { size: 0, sent: 0, reached: 0 };
  for (const upload of uploads) {
    if (upload.state !== "done" && !isActive(upload)) continue;
    sum.size += upload.size;
    sum.sent += upload.sent;
    sum.reached += upload.reached;
  }
  return sum;
}

// Announced by screen readers at every tenth part.

let announced = "";

function announce() {
  const active = state.uploads.filter(isActive).length;
  const done = state.uploads.filter((upload) => upload.state === "done").length;
  let text = "";
  if (active) {
    const { size, reached } = sums(state.uploads);
    const tenth = size ? Math.floor((reached / size) * 10) * 10 : 0;
    text = `Uploading ${count(active, "file")}, ${tenth} percent stored`;
  } else if (done) {
    text = `${count(done, "file")} uploaded`;
  }
  if (text !== announced) say((announced = text));
}
