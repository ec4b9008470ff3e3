// Look at a file, and go on to the one before it or after it in the list.
import { useEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import { download, open } from "./actions.js";
import { exactSize, exactTime, kind as iconOf, number, size } from "./format.js";
import { html } from "./html.js";
import { nameOf } from "./places.js";
import { Button, Dialog, Icon, IconButton } from "./ui.js";
import { viewKind } from "./viewer-kinds.js";
import { Text } from "./viewer-text.js";

const SWIPE_PX = 50; // a finger that moves less means something else

/** Kinds that are shown as what they mean, or as they are written. */
const WRITTEN = ["page", "markdown", "table"];

/** @param {Entry} entry */
const isPicture = (entry) => entry.content_type.startsWith("image/");

/**
 * @param {{
 *   viewing: Viewing, siblings: Entry[], here: string,
 *   onClose: () => void, onGo: (file: Entry) => void,
 * }} props
 */
export function Viewer({ viewing, siblings, here, onClose, onGo }) {
  const { path, file, url, error } = viewing;
  if (file) {
    return html`<${Shown} file=${file} url=${url} siblings=${siblings} here=${here}
      onClose=${onClose} onGo=${onGo} />`;
  }
  return html`<${Dialog} title=${nameOf(path)} onClose=${onClose}>
    <p role="alert">${error}</p>
    <div class="buttons"><${Button} look="primary" onClick=${onClose}>Close<//></div>
  <//>`;
}

/**
 * `siblings`: the list that is shown, in its order. `here`: the path of the file that is to be shown,
 * which is another one until that is known. `url` opens the file without a token.
 * @param {{
 *   file: Entry, url: string, siblings: Entry[], here: string,
 *   onClose: () => void, onGo: (file: Entry) => void,
 * }} props
 */
function Shown({ file, url, siblings, here, onClose, onGo }) {
  const kind = viewKind(file.name, file.content_type);
  const [source, setSource] = useState(false);
  const picture = isPicture(file);
  const others = useMemo(
    () => siblings.filter((entry) => entry.type === "file" && isPicture(entry) === picture),
    [siblings, picture],
  );
  const at = others.findIndex(({ path }) => path === here);
  const many = at >= 0 && others.length > 1;
  /** @param {number} step */
  const go = (step) => many && onGo(others[(at + step + others.length) % others.length]);

  return html`<${Dialog} title=${file.name} onClose=${onClose} wide=${kind !== "none"}>
    ${picture && html`<${Arrows} go=${go} />`}
    <${Contents} key=${url} file=${file} url=${url} kind=${kind} source=${source} go=${go} />
    <div class="buttons">
      ${
        many &&
        html`<${IconButton} icon="previous" label="Previous" onClick=${() => go(-1)} />
          <span class="soft" role="status">${number(at + 1)} of ${number(others.length)}</span>
          <${IconButton} icon="next" label="Next" onClick=${() => go(1)} />`
      }
      ${
        WRITTEN.includes(kind) &&
        html`<${Button} aria-pressed=${String(source)} onClick=${() => setSource(!source)}>
          Source
        <//>`
      }
      <p class="soft push" title=${exactSize(file.size)}>
        ${size(file.size)} · ${file.content_type.split(";")[0]} · ${exactTime(file.modified_at)}
      </p>
      <a class="button" href=${url} target="_blank" rel="noopener noreferrer">
        <${Icon} name="out" size="18" />New tab
      </a>
      <${Button} onClick=${() => open("share", { file })}>
        <${Icon} name="link" size="18" />Copy link…
      <//>
      <${Button} look="primary" onClick=${() => download([file])}>
        <${Icon} name="download" size="18" />Download
      <//>
    </div>
  <//>`;
}

/**
 * The arrow keys, of pictures alone: text scrolls by them, and films are wound.
 * @param {{ go: (step: number) => unknown }} props
 */
function Arrows({ go }) {
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const onKey = (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (document.querySelectorAll("dialog").length > 1) return; // one over this has the keys
      if (event.key === "ArrowLeft") go(-1);
      if (event.key === "ArrowRight") go(1);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });
  return null;
}

/**
 * Pictures, films and sounds have elements of their own, which run nothing. An uploaded page has a
 * frame that is sandboxed without exception: it can run no script, open nothing and know nothing,
 * whatever the file says.
 *
 * @param {{
 *   file: Entry, url: string, kind: ViewKind, source: boolean, go: (step: number) => unknown,
 * }} props
 */
function Contents({ file, url, kind, source, go }) {
  const { name } = file;
  const [failed, setFailed] = useState(false);
  const onError = () => setFailed(true);
  if (failed) return html`<${Nothing} file=${file} text="This browser cannot show it." />`;
  if (kind === "image") return html`<${Picture} url=${url} name=${name} go=${go} onError=${onError} />`;
  if (kind === "video") {
    return html`<video class="viewer" src=${url} title=${name} controls onError=${onError} />`;
  }
  if (kind === "audio") {
    return html`<audio class="player" src=${url} title=${name} controls onError=${onError} />`;
  }
  if (kind === "pdf") return html`<${Pdf} file=${file} url=${url} />`;
  if (kind === "page" && !source) {
    return html`<iframe class="viewer" src=${url} title=${name} sandbox=""></iframe>`;
  }
  const otherwise = html`<${Nothing} file=${file} text="A file of this kind is not shown here." />`;
  if (kind === "none") return otherwise;
  return html`<${Text} file=${file} url=${url} kind=${kind} source=${source}
    otherwise=${otherwise} />`;
}

/**
 * A finger that moves to the side goes on to the next picture, unless the page is enlarged: then it
 * looks around.
 * @param {{ url: string, name: string, go: (step: number) => unknown, onError: () => void }} props
 */
function Picture({ url, name, go, onError }) {
  const start = useRef(/** @type {Touch | null} */ (null));
  /** @param {TouchEvent} event */
  const onTouchStart = ({ touches }) => (start.current = touches.length === 1 ? touches[0] : null);
  /** @param {TouchEvent} event */
  const onTouchEnd = ({ changedTouches: [end] }) => {
    const from = start.current;
    if (!from || (visualViewport?.scale ?? 1) > 1) return;
    const [x, y] = [end.clientX - from.clientX, end.clientY - from.clientY];
    if (Math.abs(x) > Math.max(SWIPE_PX, 2 * Math.abs(y))) go(x < 0 ? 1 : -1);
  };
  return html`<img class="viewer" src=${url} alt=${name} onError=${onError}
    onTouchStart=${onTouchStart} onTouchEnd=${onTouchEnd} />`;
}

/**
 * The browser's own viewer of PDF does not work in a sandboxed frame, so this frame is not. Nothing
 * that it may come to show can run script on this origin all the same, also if the file is replaced
 * or made a folder meanwhile: the service gives a type by the name, which ends with ".pdf", and forbids
 * the browser to guess another one (nosniff); its own pages under /storage/, such as an error or the
 * index of a folder, allow no script by their policy. What a PDF itself has of script stays in
 * the browser's viewer.
 * @param {{ file: Entry, url: string }} props
 */
const Pdf = ({ file, url }) =>
  navigator.pdfViewerEnabled
    ? html`<iframe class="viewer" src=${url} title=${file.name}></iframe>`
    : html`<${Nothing} file=${file} text="This browser does not show PDF files." />`;

/** @param {{ file: Entry, text: string }} props */
const Nothing = ({ file, text }) => html`<div class="no-viewer" role="status">
  <${Icon} name=${iconOf(file.content_type)} size="48" />
  <p>${text} Download it to open it.</p>
</div>`;
