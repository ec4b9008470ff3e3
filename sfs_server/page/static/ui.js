// The small parts that everything is made of.
import { useId, useLayoutEffect, useRef } from "./vendor/hooks.js";
import { html } from "./html.js";

const SPRITE = new URL("./icons.svg", import.meta.url).href;

/** @param {{ name: string, size?: number }} props */
export const Icon = ({ name, size = 20 }) =>
  html`<svg class="icon" width=${size} height=${size} aria-hidden="true">
    <use href="${SPRITE}#${name}"></use>
  </svg>`;

/** @param {{ look?: string, children?: unknown }} props */
export const Button = ({ look = "", children, ...rest }) =>
  html`<button type="button" class=${`button ${look}`} ...${rest}>${children}</button>`;

/** @param {{ icon: string, label: string }} props */
export const IconButton = ({ icon, label, ...rest }) =>
  html`<button type="button" class="icon-button" aria-label=${label} title=${label} ...${rest}>
    <${Icon} name=${icon} />
  </button>`;

/**
 * A dialog of the browser's own: it keeps the focus, closes on Escape and gives the focus back, in
 * the moment when it goes: a key that comes right after it is for what had the focus before.
 * @param {{ title: string, onClose: () => void, children?: unknown, wide?: boolean }} props
 */
export function Dialog({ title, onClose, children, wide = false }) {
  const dialog = useRef(/** @type {any} */ (null));
  const id = useId(); // there may be one over another
  useLayoutEffect(() => {
    const element = dialog.current;
    const from = /** @type {HTMLElement} */ (document.activeElement);
    element.showModal();
    return () => {
      element.close(); // until then nothing outside can have the focus
      if (from.isConnected) from.focus({ preventScroll: true });
    };
  }, []);
  /** @param {Event} event */
  const onCancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog
    ref=${dialog}
    class=${wide ? "wide" : ""}
    aria-labelledby=${id}
    onCancel=${onCancel}
    onMouseDown=${(/** @type {Event} */ event) => event.target === dialog.current && onClose()}
  >
    <div class="panel">
      <div class="panel-head">
        <h2 id=${id} dir="auto">${title}</h2>
        <${IconButton} icon="close" label="Close" onClick=${onClose} />
      </div>
      ${children}
    </div>
  </dialog>`;
}

/** Browsers of phones know the word, but choose files only. */
export const picksFolders =
  "webkitdirectory" in HTMLInputElement.prototype && matchMedia("(any-pointer: fine)").matches;

/**
 * A file input that looks like a button: reachable by keyboard and screen reader. One of folders
 * gives all files that are in them.
 * @param {object} props
 * @param {(files: FileList) => void} props.onFiles
 * @param {unknown} [props.children]
 * @param {string} [props.look]
 * @param {boolean} [props.folders]
 */
export const FilePicker = ({
  onFiles,
  children,
  look = "button primary",
  folders = false,
}) => html`<label class=${look}>
  <input
    type="file"
    multiple
    webkitdirectory=${folders}
    onChange=${(/** @type {InputEventOf} */ event) => {
      onFiles(event.target.files);
      event.target.value = "";
    }}
  />
  ${children}
</label>`;
