// Which dialog is open: the one of the state, or the question about an upload whose name is taken.
// Dialogs are not needed to see the page: their modules come at the first touch or key.
import { useEffect, useState } from "./vendor/hooks.js";
import { close, notify } from "./actions.js";
import { html } from "./html.js";

const confirm = () => import("./dialogs-confirm.js");
const file = () => import("./dialogs-file.js");
const form = () => import("./dialogs-form.js");

for (const sign of ["pointerdown", "keydown"]) {
  const prepare = () => Promise.allSettled([confirm(), file(), form()]);
  addEventListener(sign, prepare, { once: true });
}

const KINDS = {
  "sign-in": [form, "SignIn"],
  switch: [form, "SwitchUser"],
  "create-namespace": [form, "CreateNamespace"],
  "delete-namespace": [confirm, "DeleteNamespace"],
  "delete-files": [confirm, "DeleteFiles"],
  clash: [confirm, "Clash"],
  share: [file, "Share"],
  viewer: [file, "Viewer"],
};

export function Dialogs({ state }) {
  const { dialog, uploads, session } = state;
  if (dialog) {
    return html`<${Lazy} key=${dialog.kind} ...${dialog} session=${session} onClose=${close} />`;
  }
  const clashes = uploads.filter((upload) => upload.state === "clash");
  if (clashes.length === 0) return null;
  return html`<${Lazy} key=${clashes[0].id} kind="clash" clashes=${clashes} />`;
}

function Lazy({ kind, ...details }) {
  const [Kind, setKind] = useState(null);
  useEffect(() => {
    const [load, name] = KINDS[kind];
    load().then(
      (module) => setKind(() => module[name]),
      () => {
        close();
        notify("The service cannot be reached.", { error: true });
      },
    );
  }, []);
  return Kind && html`<${Kind} ...${details} />`;
}
