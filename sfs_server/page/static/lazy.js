// Parts of the page that are not needed at first sight: their modules come at the first touch, key
// or drag, or when such a part is shown. Where they have come, a part is there at once, so that what
// is typed next goes to it.
import { useEffect, useState } from "./vendor/hooks.js";
import { close, notify } from "./actions.js";
import { html } from "./html.js";

const confirm = () => import("./dialogs-confirm.js");
const file = () => import("./dialogs-file.js");
const form = () => import("./dialogs-form.js");
const move = () => import("./dialogs-move.js");
const menu = () => import("./menu.js");
const tray = () => import("./tray.js"); // and with it queue.js, which sends
const viewer = () => import("./viewer.js");

/** @type {Map<() => Promise<any>, any>} */
const modules = new Map();

/** @param {() => Promise<any>} part */
async function fetched(part) {
  const module = await part();
  modules.set(part, module);
  return module;
}

for (const sign of ["pointerdown", "keydown", "dragenter"]) {
  const parts = [confirm, file, form, move, menu, tray, viewer];
  const prepare = () => Promise.allSettled(parts.map(fetched));
  addEventListener(sign, prepare, { once: true });
}

/** @type {Record<string, [() => Promise<any>, string]>} */
const KINDS = {
  "sign-in": [form, "SignIn"],
  switch: [form, "SwitchUser"],
  rename: [form, "RenameUpload"],
  "create-namespace": [form, "CreateNamespace"],
  "delete-namespace": [confirm, "DeleteNamespace"],
  "delete-entries": [confirm, "DeleteEntries"],
  clash: [confirm, "Clash"],
  "new-folder": [form, "NewFolder"],
  move: [move, "Move"],
  "move-clash": [confirm, "MoveClash"],
  "rename-entry": [move, "RenameEntry"],
  "sign-out": [confirm, "SignOut"],
  share: [file, "Share"],
  viewer: [viewer, "Viewer"],
  menu: [menu, "Menu"],
  tray: [tray, "Tray"],
};

/**
 * The component of that kind, with all other properties. A dialog or menu whose module cannot be
 * fetched is closed; the tray, which stays, waits until the service is reachable again.
 * @param {{ kind: string, reachable?: boolean }} props
 */
export function Lazy({ kind, reachable = true, ...details }) {
  const [load, name] = KINDS[kind];
  const [Kind, setKind] = useState(() => modules.get(load)?.[name]);
  useEffect(() => {
    if (!reachable || Kind) return;
    fetched(load).then(
      (module) => setKind(() => module[name]),
      () => {
        close();
        notify("The service cannot be reached.", { error: true });
      },
    );
  }, [reachable]);
  return Kind && html`<${Kind} ...${details} />`;
}
