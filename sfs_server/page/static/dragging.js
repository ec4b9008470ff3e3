// Rows are dragged onto a folder: its row, its place among the folders above, or a namespace of the
// rail. With touch, where dragging scrolls, there is the dialog.
//
// What may be dropped on are links of the page: their addresses say which folder is meant.
import { selectedEntries } from "./actions.js";
import { counted } from "./format.js";
import { movable } from "./names.js";
import { unreachable } from "./online.js";
import { placeOf } from "./places.js";
import { mayWrite } from "./rights.js";
import { state } from "./store.js";

const TYPE = "application/x-sfs-entries";
const TARGETS = ".row, .crumbs li, .rail li";

/** @type {Entry[]} */
let dragged = [];
/** @type {HTMLElement | null} what is under the pointer, if it takes what is dragged */
let over = null;

/**
 * The folder that is meant at an element; null where there is none.
 * @param {HTMLElement | null} element @returns {Place | null}
 */
function folderAt(element) {
  const link = element?.querySelector("a");
  const place = link ? placeOf(link) : null;
  return place?.namespace && !place.file ? place : null;
}

/** @param {DragEvent} event @returns {HTMLElement | null} */
const targetOf = ({ target }) => /** @type {Element} */ (target).closest?.(TARGETS);

/** @param {Place} place */
function takes(place) {
  const ns = state.namespaces?.find(({ name }) => name === place.namespace);
  return mayWrite(state.session, ns) && movable(dragged, place).length > 0;
}

/** @param {HTMLElement | null} element */
function highlight(element) {
  over?.classList.remove("drop-target");
  over = element;
  over?.classList.add("drop-target");
}

/** @param {DragEvent & { dataTransfer: DataTransfer }} event */
function start(event) {
  const row = /** @type {Element} */ (event.target).closest?.(".row[draggable=true]");
  if (!row) return;
  if (touched) return event.preventDefault();
  const place = placeOf(/** @type {HTMLAnchorElement} */ (row.querySelector("a.name")));
  const path = place.file || place.folder;
  const chosen = selectedEntries();
  const own = state.files.entries.filter((entry) => entry.path === path);
  dragged = chosen.includes(own[0]) ? chosen : own;
  event.dataTransfer.setData(TYPE, "");
  event.dataTransfer.effectAllowed = "move";
  if (dragged.length < 2) return;
  const shown = document.createElement("span");
  shown.className = "dragged";
  shown.textContent = counted(dragged);
  document.body.append(shown);
  event.dataTransfer.setDragImage(shown, 0, 0);
  setTimeout(() => shown.remove());
}

/** @param {DragEvent & { dataTransfer: DataTransfer }} event */
function move(event) {
  if (dragged.length === 0) return;
  const element = targetOf(event);
  const place = folderAt(element);
  const taken = place !== null && takes(place);
  highlight(taken ? element : null);
  if (!taken) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "move";
}

/** @param {DragEvent} event */
function drop(event) {
  const place = folderAt(over);
  if (dragged.length === 0 || !place) return;
  event.preventDefault();
  const entries = dragged;
  import("./moving.js").then((module) => module.moveEntries(entries, place), unreachable);
}

function end() {
  dragged = [];
  highlight(null);
}

let touched = false; // it is a finger that drags

export function watchDrags() {
  addEventListener("pointerdown", (event) => (touched = event.pointerType === "touch"));
  /** @type {Record<string, (event: any) => unknown>} */
  const listen = { dragstart: start, dragover: move, drop, dragend: end };
  for (const [name, listener] of Object.entries(listen)) addEventListener(name, listener);
}
