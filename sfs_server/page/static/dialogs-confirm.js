// Questions before something is lost.
import { useEffect, useState } from "./vendor/hooks.js";
import { signOut } from "./actions.js";
import { MOST } from "./api.js";
import { blocked, isReplaceable } from "./clashes.js";
import { deleteEntries, measure } from "./deleting.js";
import { count, counted, exactSize, exactTime, number, size, time } from "./format.js";
import { html } from "./html.js";
import { topmost } from "./names.js";
import { deleteNamespace } from "./namespaces.js";
import { nameOf, parentOf, placeName, within } from "./places.js";
import { resolve, resolveAll } from "./queue.js";
import { Button, Dialog } from "./ui.js";
import { isActive } from "./uploads.js";

const MOST_NAMES = 5;

/** @param {{ entries: Entry[], onClose: () => void }} props */
export function DeleteEntries({ entries: chosen, onClose }) {
  const entries = topmost(chosen);
  const others = entries.length - MOST_NAMES;
  const [{ type }] = entries;
  const title = entries.length === 1 ? `Delete this ${type}?` : `Delete ${counted(entries)}?`;
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <ul class="names">
      ${entries.slice(0, MOST_NAMES).map(({ path, name }) => html`<li key=${path} dir="auto">${name}</li>`)}
      ${others > 0 && html`<li class="soft">and ${number(others)} more</li>`}
    </ul>
    <${HowMuch} entries=${entries} />
    <p>This cannot be undone.</p>
    <div class="buttons">
      <${Button} autofocus onClick=${onClose}>Cancel<//>
      <${Button} look="danger solid" onClick=${() => deleteEntries(entries)}>Delete<//>
    </div>
  <//>`;
}

/**
 * What is in the folders is counted while one reads the rest.
 * @param {{ entries: Entry[] }} props
 */
function HowMuch({ entries }) {
  const folders = entries.filter(({ type }) => type === "folder");
  const own = entries.reduce((sum, entry) => sum + entry.size, 0);
  const where = folders.length === 1 ? "in it" : "in them";
  const [inside, setInside] = useState(`Counting what is ${where}…`);
  useEffect(() => {
    if (folders.length === 0) return;
    const control = new AbortController();
    measure(folders, control.signal).then(
      (all) => setInside(described(all)),
      (error) => control.signal.aborted || setInside(`This cannot be counted: ${error.message}`),
    );
    return () => control.abort();
  }, []);
  /** @param {Awaited<ReturnType<typeof measure>>} all */
  const described = (all) => {
    if (all.more) return `There are more than ${number(MOST)} files ${where}.`;
    if (all.files === 0) return `There are no files ${where}.`;
    const spread = count(all.folders.size, "folder");
    const files = count(all.files, "file");
    return `${files} ${where}, in ${spread}, ${size(all.size)}.`;
  };
  if (folders.length === 0) return html`<p>${size(own)} in all.</p>`;
  return html`<p role="status">${inside}</p>`;
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
  const { namespace, path, file, there } = first;
  const folder = blocked(first);
  const others = uploads.filter((one) => one.batch === first.batch && isActive(one));
  const along = others.filter((one) => folder && within(one.path, folder)).length;
  const rest = others.length - (along || 1);
  const at = folder || path;
  const place = placeName({ namespace, folder: parentOf(at) });
  /** @param {Choice} how */
  const decide = (how) => (all ? resolveAll : resolve)(first, how);
  return html`<${Dialog} title="That name is taken" onClose=${() => decide("skip")}>
    <p>
      <strong class="break" dir="auto">${nameOf(at)}</strong> exists in ${" "}
      <span class="break" dir="auto">${place}</span> already${
        folder
          ? `, and is a file: nothing can be uploaded into it (${count(along, "item")}).`
          : there?.type === "folder"
            ? ", and is a folder. A file cannot replace it."
            : "."
      }
    </p>
    ${
      file &&
      isReplaceable(first) &&
      there &&
      html`<table class="versions">
        <tr><th scope="row">There</th>${version(there.size, there.modified_at)}</tr>
        <tr><th scope="row">Yours</th>${version(first.size, first.lastModified / 1000)}</tr>
      </table>`
    }
    ${
      rest > 0 &&
      html`<label class="check">
      <input type="checkbox" checked=${all}
        onChange=${(/** @type {InputEventOf} */ event) => setAll(event.target.checked)} />
      Do the same for ${count(rest, "other file")}, where its name is taken
    </label>`
    }
    <div class="buttons">
      <${Button} onClick=${() => decide("skip")}>Skip<//>
      ${
        isReplaceable(first) &&
        html`<${Button} look="danger" onClick=${() => decide("replace")}>Replace<//>`
      }
      <${Button} look="primary" autofocus onClick=${() => decide("keep")}>Keep both<//>
    </div>
  <//>`;
}

/** @param {number} bytes @param {number} seconds */
const version = (bytes, seconds) => html`<td title=${exactSize(bytes)}>${size(bytes)}</td>
  <td title=${exactTime(seconds)}>changed ${time(seconds)}</td>`;
