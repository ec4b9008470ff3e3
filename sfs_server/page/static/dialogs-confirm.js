// Questions before something is lost.
import { useState } from "./vendor/hooks.js";
import { signOut } from "./actions.js";
import { deleteEntries } from "./deleting.js";
import { count, counted, number } from "./format.js";
import { html } from "./html.js";
import { deleteNamespace } from "./namespaces.js";
import { resolve, resolveAll } from "./queue.js";
import { Button, Dialog } from "./ui.js";
import { isActive } from "./uploads.js";

const MOST_NAMES = 5;

/** @param {{ entries: Entry[], onClose: () => void }} props */
export function DeleteEntries({ entries, onClose }) {
  const others = entries.length - MOST_NAMES;
  const [{ type }] = entries;
  const title = entries.length === 1 ? `Delete this ${type}?` : `Delete ${counted(entries)}?`;
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <ul class="names">
      ${entries.slice(0, MOST_NAMES).map(({ path, name }) => html`<li key=${path} dir="auto">${name}</li>`)}
      ${others > 0 && html`<li class="soft">and ${number(others)} more</li>`}
    </ul>
    <p>This cannot be undone.</p>
    <div class="buttons">
      <${Button} autofocus onClick=${onClose}>Cancel<//>
      <${Button} look="danger solid" onClick=${() => deleteEntries(entries)}>Delete<//>
    </div>
  <//>`;
}

/** @param {{ ns: Namespace, onClose: () => void }} props */
export function DeleteNamespace({ ns, onClose }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const act = async () => {
    setBusy(true);
    try {
      await deleteNamespace(ns);
    } catch (failure) {
      setError(failure.message);
      setBusy(false);
    }
  };
  const loss = ns.count
    ? `Its ${count(ns.count, "file")} will be deleted with it.`
    : ns.count === 0 && "There are no files in it.";
  return html`<${Dialog} title=${`Delete ${ns.name}?`} onClose=${onClose}>
    <p><strong>${loss}</strong> This cannot be undone.</p>
    ${error && html`<p class="wrong" role="alert">${error}</p>`}
    <div class="buttons">
      <${Button} autofocus onClick=${onClose}>Cancel<//>
      <${Button} look="danger solid" disabled=${busy} onClick=${act}>
        ${ns.count ? `Delete namespace and ${count(ns.count, "file")}` : "Delete namespace"}
      <//>
    </div>
  <//>`;
}

/** @param {{ onClose: () => void }} props */
export const SignOut = ({ onClose }) => html`<${Dialog} title="Sign out now?" onClose=${onClose}>
  <p>Your uploads stop, and go on in this tab when you sign in again.</p>
  <div class="buttons">
    <${Button} autofocus onClick=${onClose}>Cancel<//>
    <${Button} look="primary" onClick=${() => (onClose(), signOut())}>Sign out<//>
  </div>
<//>`;

/**
 * A name is taken. Closing the dialog skips: nothing is lost by it.
 * @param {{ clashes: Upload[], uploads: Upload[] }} props
 */
export function Clash({ clashes, uploads }) {
  const [all, setAll] = useState(false);
  const [first] = clashes;
  const others = uploads.filter((one) => one.batch === first.batch && isActive(one)).length - 1;
  /** @param {Choice} how */
  const decide = (how) => (all ? resolveAll : resolve)(first, how);
  return html`<${Dialog} title="That name is taken" onClose=${() => decide("skip")}>
    <p>
      <strong class="break" dir="auto">${first.name}</strong> exists in ${first.namespace} already.
    </p>
    ${
      others > 0 &&
      html`<label class="check">
      <input type="checkbox" checked=${all}
        onChange=${(/** @type {InputEventOf} */ event) => setAll(event.target.checked)} />
      Do the same for ${count(others, "other file")}, where its name is taken
    </label>`
    }
    <div class="buttons">
      <${Button} onClick=${() => decide("skip")}>Skip<//>
      <${Button} look="danger" onClick=${() => decide("replace")}>Replace<//>
      <${Button} look="primary" autofocus onClick=${() => decide("keep")}>Keep both<//>
    </div>
  <//>`;
}
