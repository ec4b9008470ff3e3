// A row whose entry gets another name.
import { useLayoutEffect, useRef, useState } from "./vendor/hooks.js";
import { visible } from "./format.js";
import { html } from "./html.js";
import { rename } from "./moving.js";
import { mistake, stemLength, typedName } from "./names.js";
import { set, state } from "./store.js";

/** @param {string} path @param {boolean} focus */
function stop(path, focus) {
  if (state.renaming === path) set({ renaming: "", focusOn: focus ? path : "" });
}

/**
 * Enter renames, Escape does not; leaving it does where something was typed that can be a name.
 * @param {{ entry: Entry }} props
 */
export function RenameEntry({ entry }) {
  const { path, name: before, type } = entry;
  const input = useRef(/** @type {any} */ (null));
  const now = useRef({ busy: false, refused: before });
  const [wrong, setWrong] = useState("");
  useLayoutEffect(() => {
    input.current.focus();
    input.current.setSelectionRange(0, stemLength(input.current.value, type));
  }, []);

  /** @param {Error} failure */
  const failed = (failure) => {
    now.current.busy = false;
    setWrong(failure.message);
  };
  /** @param {boolean} left the focus is elsewhere */
  const save = async (left) => {
    const name = typedName(input.current.value, before);
    if (now.current.busy) return;
    if (name === before || (left && name === now.current.refused)) return stop(path, !left);
    const error = mistake(name);
    if (error && left) return stop(path, false);
    now.current = { busy: true, refused: name };
    if (error) failed(new Error(error));
    else await rename(entry, name, !left).catch(failed);
  };
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    event.stopPropagation(); // they are no keys of the list
    if (event.key === "Enter") save(false);
    else if (event.key === "Escape") stop(path, true);
    else return;
    event.preventDefault();
  };
  const onBlur = () => {
    const there = input.current; // not where the row is gone
    if (there && document.activeElement !== there && state.renaming === path) save(true);
  };

  return html`<span class="rename">
    <input ref=${input} aria-label=${`New name of ${before}`} dir="auto" autocomplete="off"
      autocapitalize="off" spellcheck="false" enterkeyhint="done" defaultValue=${visible(before)}
      aria-invalid=${wrong ? "true" : undefined} aria-describedby=${wrong ? "misnamed" : undefined}
      onInput=${() => setWrong("")} onKeyDown=${onKeyDown} onBlur=${onBlur} />
    ${wrong && html`<span class="wrong" id="misnamed" role="alert">${wrong}</span>`}
  </span>`;
}
