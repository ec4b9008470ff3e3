// Make a folder, move entries to another one, and what is asked where a name is taken there.
import { useEffect, useLayoutEffect, useRef, useState } from "./vendor/hooks.js";
import { findEntry, listFolder, makeFolder } from "./api.js";
import { go } from "./actions.js";
import { changed } from "./changing.js";
import { counted, size, time } from "./format.js";
import { html } from "./html.js";
import { moveEntries } from "./moving.js";
import { commonFolder, mistake, movable, topmost } from "./names.js";
import { joined, nameOf, parentOf, placeName } from "./places.js";
import { mayWrite } from "./rights.js";
import { state as store } from "./store.js";
import { Button, Dialog, Icon } from "./ui.js";

const MOST_LISTED = 500; // folders at once

/**
 * @param {Where} where @param {string} name @returns {Promise<Entry>}
 */
async function create({ namespace, folder }, name) {
  const wrong = mistake(name);
  if (wrong) throw new Error(wrong);
  const path = joined(folder, name);
  try {
    await makeFolder(namespace, path);
  } catch (error) {
    if (error.status !== 405) throw error;
    const there = await findEntry(namespace, path);
    const text = `There is a ${there?.type ?? "folder"} “${name}” here already.`;
    throw new Error(text, { cause: error });
  }
  const modified_at = Math.floor(Date.now() / 1000);
  return { type: "folder", namespace, path, name, size: 0, modified_at, content_type: "" };
}

/** @param {{ where: Where, onMade: (made: Entry) => void, onCancel: () => void }} props */
function FolderForm({ where, onMade, onCancel }) {
  const input = useRef(/** @type {any} */ (null));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  useLayoutEffect(() => input.current.focus(), []); // in a dialog that is open already
  /** @param {SubmitEvent} event */
  const onSubmit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      onMade(await create(where, input.current.value.trim()));
    } catch (failure) {
      setError(failure.message);
      setBusy(false);
      input.current?.focus();
    }
  };
  return html`<form class="folder-form" onSubmit=${onSubmit}>
    <label class="input">
      <span>Name of the new folder</span>
      <input ref=${input} required autofocus dir="auto" autocomplete="off" autocapitalize="off"
        spellcheck="false" aria-invalid=${error ? "true" : undefined}
        aria-describedby=${error ? "misnamed" : undefined} onInput=${() => setError("")} />
    </label>
    ${error && html`<p class="wrong" id="misnamed" role="alert">${error}</p>`}
    <div class="buttons">
      <${Button} onClick=${onCancel}>Cancel<//>
      <button type="submit" class="button primary" disabled=${busy}>Create</button>
    </div>
  </form>`;
}

/** @param {{ where: Where, onClose: () => void }} props */
export function NewFolder({ where, onClose }) {
  /** @param {Entry} made */
  const onMade = async (made) => {
    onClose();
    if (store.place.find) await go({ ...store.place, find: "", at: "" });
    changed([], [made], made.path);
  };
  return html`<${Dialog} title="New folder" onClose=${onClose}>
    <p>In <span class="break" dir="auto">${placeName(where)}</span></p>
    <${FolderForm} where=${where} onMade=${onMade} onCancel=${onClose} />
  <//>`;
}

/** @type {{ folders: Entry[], after: string | null, loading: boolean, error: string }} */
const LOADING = { folders: [], after: null, loading: true, error: "" };

/**
 * The folders in a folder, and what lists more of them.
 * @param {Where} where
 */
function useFolders({ namespace, folder }) {
  const [list, setList] = useState(LOADING);
  const control = useRef(new AbortController());
  /** @param {Entry[]} known @param {string | null} after */
  const load = async (known, after) => {
    const { signal } = (control.current = new AbortController());
    setList({ ...LOADING, folders: known });
    try {
      const how = { type: /** @type {const} */ ("folder"), after, limit: MOST_LISTED };
      const page = await listFolder(namespace, folder, how, signal);
      setList({ ...LOADING, ...page, folders: known.concat(page.entries), loading: false });
    } catch (failure) {
      if (!signal.aborted) setList({ ...LOADING, loading: false, error: failure.message });
    }
  };
  useEffect(() => {
    if (namespace) load([], null);
    else setList({ ...LOADING, loading: false });
    return () => control.current.abort();
  }, [namespace, folder]);
  return { ...list, more: () => load(list.folders, list.after) };
}

/**
 * One walks through the folders, from one to the next, and moves everything to the one that is open.
 * @param {{ entries: Entry[], session: Session | null, onClose: () => void }} props
 */
export function Move({ entries, session, onClose }) {
  const moving = topmost(entries);
  const [{ namespace, name }] = moving;
  const folder = commonFolder(moving) ?? store.place.folder;
  const [at, setAt] = useState({ namespace, folder });
  const [making, setMaking] = useState(false);
  const list = useFolders(at);
  const element = useRef(/** @type {any} */ (null));
  const title = `Move ${moving.length === 1 ? name : counted(moving)}`;
  const mine = (store.namespaces ?? []).filter((ns) => mayWrite(session, ns));
  const here = nameOf(at.folder) || at.namespace;
  const possible = at.namespace && movable(moving, at).length > 0;
  const folders = list.folders.filter((one) => !moving.some((other) => isSame(one, other)));

  useLayoutEffect(() => {
    if (list.loading || making) return;
    const [up, first] = element.current.querySelectorAll("button");
    (at.namespace && first ? first : up)?.focus();
  }, [at, list.loading, making]);

  /** @param {Where} where */
  const walk = (where) => setAt(where);
  const above = at.folder ? { ...at, folder: parentOf(at.folder) } : { namespace: "", folder: "" };
  /** @param {KeyboardEvent & ElementEvent} event */
  const onKeyDown = (event) => {
    /** @type {HTMLElement[]} */
    const stops = [...element.current.querySelectorAll("button")];
    const on = stops.indexOf(event.target);
    if (event.key === "ArrowDown") stops[on + 1]?.focus();
    else if (event.key === "ArrowUp") stops[on - 1]?.focus();
    else if (event.key === "ArrowRight") event.target.click();
    else if (event.key === "ArrowLeft" && at.namespace) walk(above);
    else return;
    event.preventDefault();
  };
  /** @param {string} key @param {string} label @param {Where} where @param {string} icon */
  const step = (key, label, where, icon) => html`<li key=${key}>
    <button type="button" onClick=${() => walk(where)}>
      <${Icon} name=${icon} size="18" /><span class="break" dir="auto">${label}</span>
    </button>
  </li>`;
  const up = at.folder ? `Up to ${nameOf(above.folder) || at.namespace}` : "All namespaces";

  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p class="soft">${at.namespace ? placeName(at) : "Namespaces"}</p>
    <ul class="folders" ref=${element} aria-label=${`Folders in ${here || "all namespaces"}`}
      aria-busy=${String(list.loading)} onKeyDown=${onKeyDown}>
      ${
        at.namespace
          ? [
              step("up", up, above, "up"),
              ...folders.map((one) => step(one.path, one.name, whereOf(one), "folder")),
            ]
          : mine.map((ns) => step(ns.name, ns.name, { namespace: ns.name, folder: "" }, "tray"))
      }
      ${
        list.after !== null &&
        html`<li key="more"><button type="button" onClick=${list.more}>More folders</button></li>`
      }
    </ul>
    <p class=${list.error ? "wrong" : "soft small"} role="status">${
      list.error ||
      (list.loading
        ? "Loading…"
        : at.namespace && folders.length === 0 && "There is no other folder in here.")
    }</p>
    ${
      making
        ? html`<${FolderForm} where=${at} onCancel=${() => setMaking(false)}
          onMade=${(/** @type {Entry} */ made) => (setMaking(false), walk(whereOf(made)), changed([], [made]))} />`
        : html`<div class="buttons">
          ${at.namespace && html`<${Button} onClick=${() => setMaking(true)}>New folder<//>`}
          <span class="push"></span>
          <${Button} onClick=${onClose}>Cancel<//>
          <${Button} look="primary" disabled=${!possible}
            onClick=${() => moveEntries(moving, at)}>Move ${here ? "to " : "here"}<span
              class="break" dir="auto">${here}</span><//>
        </div>`
    }
  <//>`;
}

/** @param {Entry} a @param {Entry} b */
const isSame = (a, b) => a.namespace === b.namespace && a.path === b.path;
/** @param {Entry} folder @returns {Where} */
const whereOf = ({ namespace, path }) => ({ namespace, folder: path });

/**
 * Closing the dialog skips: nothing is lost by it.
 * @param {object} props
 * @param {Entry} props.entry
 * @param {Entry | undefined} props.there
 * @param {string} props.place
 * @param {boolean} props.replaceable
 * @param {(choice: Choice, all: boolean) => void} props.decide
 * @param {() => void} props.onClose
 */
export function MoveClash({ entry, there, place, replaceable, decide, onClose }) {
  const [all, setAll] = useState(false);
  useEffect(() => () => decide("skip", false), []);
  /** @param {Choice} choice */
  const choose = (choice) => {
    decide(choice, all);
    onClose();
  };
  return html`<${Dialog} title="That name is taken" onClose=${onClose}>
    <p>
      There is a ${there?.type ?? entry.type} ${" "}
      <strong class="break" dir="auto">${entry.name}</strong> in ${" "}
      <span class="break" dir="auto">${place}</span> already.
    </p>
    ${
      replaceable &&
      there &&
      html`<p class="soft small">
        There: ${size(there.size)}, changed ${time(there.modified_at)}. Moved: ${size(entry.size)},
        changed ${time(entry.modified_at)}.
      </p>`
    }
    <label class="check">
      <input type="checkbox" checked=${all}
        onChange=${(/** @type {InputEventOf} */ event) => setAll(event.target.checked)} />
      Do the same for the others, where a name is taken
    </label>
    <div class="buttons">
      <${Button} onClick=${() => choose("skip")}>Skip<//>
      ${replaceable && html`<${Button} look="danger" onClick=${() => choose("replace")}>Replace<//>`}
      <${Button} look="primary" autofocus onClick=${() => choose("keep")}>Keep both<//>
    </div>
  <//>`;
}
