// Files and folders of the desk may be dropped anywhere on the page: on a folder, on one of those
// above or on a namespace, which get them; anywhere else they go into the folder that is shown.
// Rows of the list are dragged to the same places, and moved. With a finger, which scrolls, there is
// a dialog for that.
import { useEffect, useState } from "./vendor/hooks.js";
import { notify, selectedEntries } from "./actions.js";
import { html } from "./html.js";
import { rowsShown } from "./list.js";
import { movable } from "./names.js";
import { placeName, placeOf } from "./places.js";
import { mayWrite } from "./rights.js";
import { state } from "./store.js";
import { Icon } from "./ui.js";
import { take } from "./uploads.js";

/**
 * The folder that an element stands for, if it does, and what shows it: a row, or a link.
 * @param {Element} element
 */
export function folderAt(element) {
  const spot = element.closest(".row, nav a");
  const link = spot?.querySelector("a.name") ?? spot;
  const place = link instanceof HTMLAnchorElement && placeOf(link);
  return place && place.namespace && !place.file ? { spot, place } : null;
}

/** @param {Where} place */
const mayUpload = ({ namespace }) =>
  mayWrite(state.session, state.namespaces?.find(({ name }) => name === namespace));

/** @type {Element | null} */
let marked = null;

/** @param {Element | null} spot */
function mark(spot) {
  marked?.removeAttribute("data-over");
  spot?.setAttribute("data-over", "");
  marked = spot;
}

/** @type {Entry[]} rows that are dragged */
let dragged = [];
let touched = false; // it is a finger that drags

/** @type {Record<string, (event: any) => unknown>} */
const ROWS = {
  pointerdown: ({ pointerType }) => (touched = pointerType === "touch"),
  dragstart: (event) => {
    const row = event.target.closest?.("[draggable=true]");
    if (!row) return;
    if (touched) return event.preventDefault();
    const own = rowsShown()[row.dataset.at];
    const chosen = selectedEntries();
    dragged = chosen.includes(own) ? chosen : [own];
    event.dataTransfer.setData("application/x-sfs", "");
    event.dataTransfer.effectAllowed = "move";
  },
  dragover: (event) => {
    if (dragged.length === 0) return;
    const at = event.target instanceof Element && folderAt(event.target);
    const spot = at && mayUpload(at.place) && movable(dragged, at.place).length ? at.spot : null;
    mark(spot);
    if (spot) event.preventDefault();
  },
  drop: async (event) => {
    const at = marked && folderAt(marked);
    const entries = dragged;
    if (!at || entries.length === 0) return;
    event.preventDefault();
    const { moveEntries } = await import("./moving.js");
    moveEntries(entries, at.place);
  },
  dragend: () => {
    dragged = [];
    mark(null);
  },
};
for (const [name, listener] of Object.entries(ROWS)) addEventListener(name, listener);

/** The events of children bubble: entering and leaving are counted. */
export function DropZone() {
  const [place, setPlace] = useState(/** @type {Where | null} */ (null));
  useEffect(() => {
    let depth = 0;
    /** @param {DragEvent} event */
    const aim = ({ target }) => {
      const at = target instanceof Element ? folderAt(target) : null;
      mark(at && mayUpload(at.place) ? at.spot : null);
      return at?.place ?? state.place;
    };
    const leave = () => {
      depth = 0;
      mark(null);
      setPlace(null);
    };
    /** @type {Record<string, (event: any) => unknown>} */
    const listen = {
      dragenter: () => (depth += 1),
      dragleave: () => (depth -= 1) <= 0 && leave(),
      dragover: (event) => {
        event.preventDefault();
        const to = aim(event);
        event.dataTransfer.dropEffect = mayUpload(to) ? "copy" : "none";
        setPlace(to);
      },
      drop: (event) => {
        event.preventDefault();
        const to = aim(event);
        leave();
        if (mayUpload(to)) take(to, event.dataTransfer);
        else notify(state.session ? NOT_HERE : "Sign in to upload.", { error: true });
      },
    };
    /** @type {(event: any) => unknown} */
    const onDrag = (event) =>
      event.dataTransfer?.types.includes("Files") && listen[event.type](event);
    for (const name of Object.keys(listen)) addEventListener(name, onDrag);
    return () => {
      for (const name of Object.keys(listen)) removeEventListener(name, onDrag);
    };
  }, []);
  if (!place) return null;
  return html`<div class="drop" aria-hidden="true">
    <strong>
      <${Icon} name="upload" />
      ${mayUpload(place) ? `Drop to upload to ${placeName(place)}` : NOT_HERE}
    </strong>
  </div>`;
}

const NOT_HERE = "You may not upload here.";
