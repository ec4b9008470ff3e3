// Which dialog is open: the one of the state, or the question about an upload whose name is taken.
import { close } from "./actions.js";
import { html } from "./html.js";
import { Lazy } from "./lazy.js";

/** @param {{ state: State }} props */
export function Dialogs({ state }) {
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
