// Where a name is typed into its row, and a folder to move to is looked for.
import { useEffect, useLayoutEffect, useRef, useState } from "./vendor/hooks.js";
import { listFolder } from "./api.js";
import { open } from "./actions.js";
import { counted, number, visible } from "./format.js";
import { html } from "./html.js";
import { moveEntries, rename } from "./moving.js";
import { commonFolder, movable, stemLength, topmost, typedName } from "./names.js";
import { addressOf, nameOf, parentOf, placeIn, placeName } from "./places.js";
import { mayWrite } from "./rights.js";
import { set, state } from "./store.js";
import { Button, Dialog, Icon } from "./ui.js";

const MOST = 1000; // folders that are shown at once

/**
 * Enter renames, Escape does not; leaving it does where something was typed that is taken for a name.
 * @param {{ entry: Entry }} props
 */
export function RenameEntry({ entry }) {
  const { path, name: before, type } = entry;
  const input = useRef(/** @type {any} */ (null));
  const tried = useRef(before);
  const [wrong, setWrong] = useState("");
  useLayoutEffect(() => {
    input.current.focus();
    input.current.setSelectionRange(0, stemLength(input.current.value, type));
  }, []);
  /** @param {boolean} focus the row gets it */
  const stop = (focus) => set({ renaming: "", focusOn: focus ? path : "" });
  /** @param {boolean} left the focus is elsewhere */
  const save = (left) => {
    const name = typedName(input.current.value, before);
    if (!name || name === before || (left && name === tried.current)) return stop(!left);
    tried.current = name;
    rename(entry, name, !left).catch((error) => setWrong(error.message));
  };
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    event.stopPropagation(); // they are no keys of the list
    if (event.key === "Enter") save(false);
    else if (event.key === "Escape") stop(true);
  };
  const onBlur = () =>
    input.current && // the row may be gone
    document.activeElement !== input.current &&
    state.renaming === path &&
    save(true);

  return html`<span class="rename">
    <input ref=${input} aria-label=${`New name of ${before}`} dir="auto" autocomplete="off"
      autocapitalize="off" spellcheck="false" defaultValue=${visible(before)}
      aria-invalid=${wrong ? "true" : undefined} aria-describedby=${wrong ? "wrong" : undefined}
      onInput=${() => setWrong("")} onKeyDown=${onKeyDown} onBlur=${onBlur} />
    ${wrong && html`<span class="wrong" id="wrong" role="alert">${wrong}</span>`}
  </span>`;
}

/**
 * The folders in one; where none is open, the namespaces that one may write to.
 * @param {Where} at @param {Session | null} session @param {AbortSignal} signal
 */
async function foldersIn({ namespace, folder }, session, signal) {
  if (!namespace) {
    const mine = (state.namespaces ?? []).filter((ns) => mayWrite(session, ns));
    return { places: mine.map(({ name }) => placeIn(name)), said: "" };
  }
  const how = { type: /** @type {const} */ ("folder"), limit: MOST };
  const { entries, after } = await listFolder(namespace, folder, how, signal);
  const said = after === null ? "" : `Only the first ${number(MOST)} folders are shown.`;
  return { places: entries.map(({ path }) => placeIn(namespace, path)), said };
}

/**
 * One walks through the folders, from one to the next, and moves everything to the one that is open.
 * @param {object} props
 * @param {Entry[]} props.entries
 * @param {Where} [props.from] where to begin
 * @param {Session | null} props.session
 * @param {() => void} props.onClose
 */
export function Move({ entries, from, session, onClose }) {
  const moving = topmost(entries);
  const [{ namespace, name }] = moving;
  const begin = { namespace, folder: commonFolder(moving) ?? state.place.folder };
  const [at, setAt] = useState(from ?? begin);
  const [found, setFound] = useState({ places: [placeIn("")].slice(1), said: "Loading…" });
  const list = useRef(/** @type {any} */ (null));
  const here = nameOf(at.folder) || at.namespace;
  const above = at.folder ? placeIn(at.namespace, parentOf(at.folder)) : placeIn("");
  /** @param {Where} to a folder is not moved into itself */
  const isOpen = (to) =>
    !moving.some((entry) => entry.path === to.folder && entry.namespace === to.namespace);

  useEffect(() => {
    const control = new AbortController();
    foldersIn(at, session, control.signal).then(setFound, (error) => {
      if (!control.signal.aborted) setFound({ places: [], said: error.message });
    });
    return () => control.abort();
  }, [at]);
  useLayoutEffect(() => {
    const [up, first] = list.current.querySelectorAll("button");
    (first ?? up)?.focus();
  }, [found]);

  /** @param {KeyboardEvent & ElementEvent} event */
  const onKeyDown = (event) => {
    /** @type {HTMLElement[]} */
    const stops = [...list.current.querySelectorAll("button")];
    const on = stops.indexOf(event.target);
    if (event.key === "ArrowDown") stops[on + 1]?.focus();
    else if (event.key === "ArrowUp") stops[on - 1]?.focus();
    else if (event.key === "ArrowRight") event.target.click();
    else if (event.key === "ArrowLeft" && at.namespace) setAt(above);
    else return;
    event.preventDefault();
  };
  /** @param {Where} to @param {string} icon @param {string} label */
  const step = (to, icon, label) => html`<li key=${addressOf(placeIn(to.namespace, to.folder))}>
    <button type="button" onClick=${() => setAt(to)}>
      <${Icon} name=${icon} size="18" /><span class="break" dir="auto">${label}</span>
    </button>
  </li>`;
  /** @param {Where} [to] */
  const again = (to = at) => open("move", { entries, from: to });

  return html`<${Dialog} onClose=${onClose}
    title=${`Move ${moving.length === 1 ? name : counted(moving)} to`}>
    <p class="soft break" dir="auto">${placeName(at) || "Namespaces"}</p>
    <ul class="folders" aria-label=${`Folders in ${here || "all namespaces"}`} ref=${list}
      onKeyDown=${onKeyDown}>
      ${at.namespace && step(above, "up", at.folder ? `Up to ${nameOf(above.folder) || at.namespace}` : "All namespaces")}
      ${found.places
        .filter(isOpen)
        .map((to) => step(to, to.folder ? "folder" : "tray", nameOf(to.folder) || to.namespace))}
    </ul>
    <p class="soft small" role="status">${found.said}</p>
    <div class="buttons">
      ${
        at.namespace &&
        html`<${Button} onClick=${() => open("new-folder", { where: at, then: again })}>
          New folder…
        <//>`
      }
      <span class="push"></span>
      <${Button} onClick=${onClose}>Cancel<//>
      <${Button} look="primary" disabled=${!at.namespace || movable(moving, at).length === 0}
        onClick=${() => moveEntries(moving, at)}>${`Move to ${here || "…"}`}<//>
    </div>
  <//>`;
}
