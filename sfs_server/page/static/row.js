// One file in the table.
import { download, open, openMenu, view } from "./actions.js";
import { exactSize, exactTime, isoTime, kind, showable, size, splitName, time } from "./format.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./ui.js";

/** @param {RowProps} props */
export function Row({ file, at, writable, selected, current, onToggle, onFocus }) {
  const tab = current ? 0 : -1;
  const [head, tail] = splitName(file.name);
  const items = actionsOn(file, writable);
  const { name, size: bytes, modified_at: seconds, content_type: type } = file;
  const modified = html`<time datetime=${isoTime(seconds)} title=${exactTime(seconds)}>
    ${time(seconds)}
  </time>`;
  const length = html`<span title=${exactSize(bytes)}>${size(bytes)}</span>`;
  return html`<div class="row" role="row" data-at=${at} aria-rowindex=${at + 2}
    aria-selected=${String(selected)} tabindex=${tab} onFocus=${onFocus}
    style=${{ transform: `translateY(calc(var(--row) * ${at}))` }}>
    <span role="gridcell" class="c-check">
      <input type="checkbox" tabindex=${tab} aria-label=${`Select ${name}`} checked=${selected}
        onClick=${(/** @type {MouseEvent} */ event) => onToggle(at, event.shiftKey)} />
    </span>
    <span role="gridcell" class="c-name">
      <span class=${`kind ${kind(type)}`}><${Icon} name=${kind(type)} size="22" /></span>
      <span class="name-and-more">
        <button type="button" class="name" tabindex=${tab} dir="auto" title=${name}
          onClick=${() => view(file)}>
          <span class="name-head">${head}</span><span class="name-tail">${tail}</span>
        </button>
        <span class="meta">${length} · ${modified}</span>
      </span>
    </span>
    <span role="gridcell" class="c-size">${length}</span>
    <span role="gridcell" class="c-modified_at">${modified}</span>
    <span role="gridcell" class="c-actions">
      <${IconButton} icon="download" label=${`Download ${name}`} tabindex=${tab}
        onClick=${() => download([file])} />
      <${IconButton} icon="more" label=${`Actions on ${name}`} tabindex=${tab}
        aria-haspopup="menu"
        onClick=${(/** @type {ElementEvent} */ event) => openMenu(event, items)} />
    </span>
  </div>`;
}

/** @param {StoredFile} file @param {boolean} writable */
function actionsOn(file, writable) {
  /** @type {MenuItem[]} */
  const items = [
    {
      icon: "shown",
      label: showable(file.content_type) ? "View" : "Details",
      act: () => view(file),
    },
    { icon: "download", label: "Download", act: () => download([file]) },
    { icon: "link", label: "Copy link…", act: () => open("share", { file }) },
  ];
  if (writable) {
    items.push({
      icon: "trash",
      label: "Delete…",
      danger: true,
      act: () => open("delete-files", { files: [file] }),
    });
  }
  return items;
}
