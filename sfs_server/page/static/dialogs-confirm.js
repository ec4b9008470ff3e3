// Questions before something is lost.
import { useEffect, useState } from "./vendor/hooks.js";
import { signOut } from "./actions.js";
import { filesBelow, MOST } from "./api.js";
import { blocked, isReplaceable } from "./clashes.js";
import { count, counted, exactSize, exactTime, number, size, time } from "./format.js";
import { html } from "./html.js";
import { deleteEntries } from "./moving.js";
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
  const where = folders.length === 1 ? "in it" : "in them";
  const [text, setText] = useState(`Counting what is ${where}…`);
  useEffect(() => {
    const control = new AbortController();
    measure(folders, where, control.signal).then(
      setText,
      (error) => control.signal.aborted || setText(`What is ${where} is unknown: ${error.message}`),
    );
    return () => control.abort();
  }, []);
  if (folders.length) return html`<p role="status">${text}</p>`;
  return html`<p>${size(entries.reduce((sum, entry) => sum + entry.size, 0))} in all.</p>`;
}

/**
 * @param {Entry[]} folders @param {string} where @param {AbortSignal} signal
 */
async function measure(folders, where, signal) {
  /** @type {Entry[]} */
  let files = [];
  for (const { namespace, path } of folders) {
    files = files.concat(await filesBelow(namespace, path, MOST - files.length, signal));
    if (files.length === MOST) return `There are ${number(MOST)} files or more ${where}.`;
  }
  if (files.length === 0) return `There are no files ${where}.`;
  const spread = count(new Set(files.map(({ path }) => parentOf(path))).size, "folder");
  const bytes = size(files.reduce((sum, file) => sum + file.size, 0));
  return `${count(files.length, "file")} ${where}, in ${spread}, ${bytes}.`;
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
 * @param {object} props
 * @param {string} props.name
 * @param {string} props.place
 * @param {string} props.more what else there is to say about it
 * @param {[string, number, number][] | false} props.versions whose, bytes and seconds, where what is
 *   there may be replaced
 * @param {string} props.others for which the same can be said; "" where there are none
 * @param {(choice: Choice, all: boolean) => void} props.decide
 */
function Taken({ name, place, more, versions, others, decide }) {
  const [all, setAll] = useState(false);
  return html`<${Dialog} title="That name is taken" onClose=${() => decide("skip", all)}>
    <p>
      <strong class="break" dir="auto">${name}</strong> exists in ${" "}
      <span class="break" dir="auto">${place}</span> already${more}
    </p>
    ${
      versions &&
      html`<table class="versions">${versions.map(
        ([whose, bytes, seconds]) => html`<tr><th scope="row">${whose}</th>
          <td title=${exactSize(bytes)}>${size(bytes)}</td>
          <td title=${exactTime(seconds)}>changed ${time(seconds)}</td></tr>`,
      )}</table>`
    }
    ${
      others &&
      html`<label class="check">
      <input type="checkbox" checked=${all}
        onChange=${(/** @type {InputEventOf} */ event) => setAll(event.target.checked)} />
      Do the same for ${others}
    </label>`
    }
    <div class="buttons">
      <${Button} onClick=${() => decide("skip", all)}>Skip<//>
      ${versions && html`<${Button} look="danger" onClick=${() => decide("replace", all)}>Replace<//>`}
      <${Button} look="primary" autofocus onClick=${() => decide("keep", all)}>Keep both<//>
    </div>
  <//>`;
}

/** @param {{ clashes: Upload[], uploads: Upload[] }} props */
export function Clash({ clashes, uploads }) {
  const [first] = clashes;
  const { namespace, path, file, there } = first;
  const folder = blocked(first);
  const others = uploads.filter((one) => one.batch === first.batch && isActive(one));
  const along = others.filter((one) => folder && within(one.path, folder)).length;
  const rest = others.length - (along || 1);
  const at = folder || path;
  return html`<${Taken} name=${nameOf(at)} place=${placeName({ namespace, folder: parentOf(at) })}
    more=${
      folder
        ? `, and is a file: nothing can be uploaded into it (${count(along, "item")}).`
        : there?.type === "folder"
          ? ", and is a folder. A file cannot replace it."
          : "."
    }
    versions=${
      file &&
      isReplaceable(first) &&
      there && [
        ["There", there.size, there.modified_at],
        ["Yours", first.size, first.lastModified / 1000],
      ]
    }
    others=${rest > 0 && `${count(rest, "other file")}, where its name is taken`}
    decide=${(/** @type {Choice} */ how, /** @type {boolean} */ all) =>
      (all ? resolveAll : resolve)(first, how)} />`;
}

/**
 * Of something that is to be moved. Whatever closes it skips.
 * @param {object} props
 * @param {Entry} props.entry
 * @param {Entry | undefined} props.there
 * @param {string} props.place
 * @param {boolean} props.many
 * @param {boolean} props.replaceable
 * @param {(choice: Choice, all?: boolean) => void} props.decide
 * @param {() => void} props.onClose
 */
export function MoveClash({ entry, there, place, many, replaceable, decide, onClose }) {
  useEffect(() => () => decide("skip"), []);
  return html`<${Taken} name=${entry.name} place=${place} more="."
    versions=${
      replaceable &&
      there && [
        ["There", there.size, there.modified_at],
        ["Moved", entry.size, entry.modified_at],
      ]
    }
    others=${many && "the others, where a name is taken"}
    decide=${(/** @type {Choice} */ how, /** @type {boolean} */ all) => (decide(how, all), onClose())} />`;
}
