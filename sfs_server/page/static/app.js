// The page as a whole.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { dismiss, notify } from "./actions.js";
import { Dialogs } from "./dialogs.js";
import { Files } from "./files.js";
import { html } from "./html.js";
import { Lazy } from "./lazy.js";
import { Rail } from "./rail.js";
import { placeName } from "./places.js";
import { mayWrite } from "./rights.js";
import { useStore } from "./store.js";
import { Icon, IconButton } from "./ui.js";
import { take } from "./uploads.js";

export function App() {
  const state = useStore();
  const here = state.namespaces?.find((ns) => ns.name === state.place.namespace);
  return html`<div class="frame">
    <a class="skip button" href="#main" onClick=${toFiles}>Skip to the files</a>
    <${Rail} state=${state} />
    <main id="main" tabindex="-1">
      ${
        (!state.reachable || state.late > 0) &&
        html`<p class="banner" role="alert">
        <span class="pulse"></span>${
          state.reachable
            ? "The service takes long to respond. Waiting…"
            : "The service cannot be reached. Trying again…"
        }
      </p>`
      }
      ${state.ready && html`<${Files} state=${state} here=${here} />`}
      ${state.menu && html`<${Lazy} kind="menu" menu=${state.menu} />`}
    </main>
    ${
      (state.uploads.length + state.unfinished.length > 0 || state.reading !== null) &&
      html`<${Lazy} kind="tray" reachable=${state.reachable} uploads=${state.uploads}
        unfinished=${state.unfinished} reading=${state.reading} user=${state.session?.user} />`
    }
    <${Notices} notices=${state.notices} />
    <p class="unseen" role="status">${state.said}</p>
    <${Dialogs} state=${state} />
    <${DropZone} here=${here} place=${state.place} session=${state.session} />
  </div>`;
}

/**
 * To the row that has the place in the list, where there are any.
 * @param {Event} event
 */
function toFiles(event) {
  event.preventDefault(); // the address stays that of the folder
  const main = /** @type {HTMLElement} */ (document.getElementById("main"));
  /** @type {HTMLElement} */ (main.querySelector('.row[tabindex="0"]') ?? main).focus();
}

/** @param {{ notices: Notice[] }} props */
const Notices = ({ notices }) => html`<div class="notices" role="status">
  ${notices.map(
    ({ id, text, error }) => html`<div key=${id} class=${error ? "notice error" : "notice"}>
      <span>${text}</span>
      <${IconButton} icon="close" label="Dismiss" onClick=${() => dismiss(id)} />
    </div>`,
  )}
</div>`;

/**
 * Files may be dropped anywhere. The events of children bubble: entering and leaving are counted.
 * @param {{ here?: Namespace, place: Place, session: Session | null }} props
 */
function DropZone({ here, place, session }) {
  const [over, setOver] = useState(false);
  const now = useRef({ here, place, session });
  now.current = { here, place, session };
  useEffect(() => {
    let depth = 0;
    /** @param {DragEvent} event */
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    /** @type {Record<string, (event: any) => unknown>} */
    const listen = {
      dragenter: (event) => hasFiles(event) && ((depth += 1), setOver(true)),
      dragleave: (event) => hasFiles(event) && (depth -= 1) <= 0 && setOver(false),
      dragover: (event) => hasFiles(event) && event.preventDefault(),
      drop: (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        depth = 0;
        setOver(false);
        const { here: ns, place: to, session: who } = now.current;
        if (ns && mayWrite(who, ns)) take(to, event.dataTransfer);
        else notify(who ? "You may not upload here." : "Sign in to upload.", { error: true });
      },
    };
    for (const [name, listener] of Object.entries(listen)) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listen)) removeEventListener(name, listener);
    };
  }, []);
  if (!over) return null;
  const may = here && mayWrite(session, here);
  return html`<div class="drop" aria-hidden="true">
    <div>
      <${Icon} name="upload" size="40" />
      <strong>${may ? `Drop to upload to ${placeName(place)}` : "You may not upload here"}</strong>
    </div>
  </div>`;
}
