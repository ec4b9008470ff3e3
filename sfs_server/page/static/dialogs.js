// Which dialogs are open: the file that is shown, and over it the one of the state, or else the
// question about an upload whose name is taken.
import { close, closeFile, go, placeOfEntry } from "./actions.js";
import { html } from "./html.js";
import { Lazy } from "./lazy.js";
import { inOrder } from "./list.js";

/** @param {Entry} entry */
const goOn = (entry) => go(placeOfEntry(entry), { replace: true });

/** @param {{ state: State }} props */
export function Dialogs({ state }) {
  const { viewing, files, place } = state;
  return html`
    ${
      viewing &&
      html`<${Lazy} kind="viewer" viewing=${viewing} siblings=${inOrder(files, place.sort)}
        here=${place.file} onGo=${goOn} onClose=${closeFile} />`
    }
    <${OverAll} state=${state} />
  `;
}

/** @param {{ state: State }} props */
function OverAll({ state }) {
  const { dialog, uploads, session } = state;
  if (dialog) {
    return html`<${Lazy} key=${dialog.kind} ...${dialog} session=${session} onClose=${close} />`;
  }
  const clashes = uploads
    .filter((upload) => upload.state === "clash")
    .sort((a, b) => a.asked - b.asked);
  if (clashes.length === 0) return null;
  return html`<${Lazy} key=${clashes[0].id} kind="clash" clashes=${clashes}
    uploads=${uploads} />`;
}
