// The page as a whole.
import { dismiss } from "./actions.js";
import { Dialogs } from "./dialogs.js";
import { DropZone } from "./dropzone.js";
import { Files } from "./files.js";
import { html } from "./html.js";
import { Lazy } from "./lazy.js";
import { Rail } from "./rail.js";
import { useStore } from "./store.js";
import { IconButton } from "./ui.js";

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
    <${DropZone} />
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

/**
 * The focus is not to go with the notice.
 * @param {number} id
 */
function leave(id) {
  document.querySelector("h1")?.focus();
  dismiss(id);
}

/** @param {{ notices: Notice[] }} props */
const Notices = ({ notices }) => html`<div class="notices" role="status">
  ${notices.map(
    ({ id, text, error, offer }) => html`<div key=${id} class=${error ? "notice error" : "notice"}>
      <span>${text}</span>
      ${
        offer &&
        html`<button type="button" class="quiet" onClick=${() => (leave(id), offer.act())}>
          ${offer.label}
        </button>`
      }
      <${IconButton} icon="close" label="Dismiss" onClick=${() => leave(id)} />
    </div>`,
  )}
</div>`;
