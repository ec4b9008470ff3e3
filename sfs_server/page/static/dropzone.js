// Files and folders of the desk may be dropped anywhere on the page: on a folder, on one of those
// above or on a namespace, which get them; anywhere else they go into the folder that is shown.
import { useEffect, useState } from "./vendor/hooks.js";
import { notify } from "./actions.js";
import { html } from "./html.js";
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
