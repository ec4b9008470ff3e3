// One file or folder in the table.
import {
  copyPath,
  download,
  follow,
  go,
  open,
  openMenu,
  placeOfEntry,
  rename,
  view,
} from "./actions.js";
import { exactSize, exactTime, isoTime, kind, size, splitName, time } from "./format.js";
import { html } from "./html.js";
import { Lazy } from "./lazy.js";
import { addressOf, parentOf, placeIn } from "./places.js";
import { state } from "./store.js";
import { Icon, IconButton } from "./ui.js";

/** @param {RowProps} props */
export function Row(props) {
  const { entry, at, top, writable, selected, current, fresh, renaming, onToggle, onFocus } = props;
  const tab = current ? 0 : -1;
  const { type, name, size: bytes, modified_at: seconds, content_type } = entry;
  const folder = type === "folder";
  const [head, tail] = folder ? [name, ""] : splitName(name);
  const icon = folder ? "folder" : kind(content_type);
  const place = placeOfEntry(entry);
  const within = found(entry);
  const items = actionsOn(entry, writable);
  const modified = html`<time datetime=${isoTime(seconds)} title=${exactTime(seconds)}>
    ${time(seconds)}
  </time>`;
  const length = !folder && html`<span title=${exactSize(bytes)}>${size(bytes)}</span>`;
  return html`<div class=${fresh ? "row fresh" : "row"} role="row" data-at=${at} aria-rowindex=${at + 2}
    aria-selected=${String(selected)} tabindex=${tab} onFocus=${onFocus}
    draggable=${writable && !renaming}
    style=${{ transform: `translateY(${top})` }}>
    <span role="gridcell" class="c-check">
      <label>
        <input type="checkbox" tabindex=${tab} aria-label=${`Select ${name}`} checked=${selected}
          onClick=${(/** @type {MouseEvent} */ event) => onToggle(at, event.shiftKey)} />
      </label>
    </span>
    <span role="gridcell" class="c-name">
      <span class=${`kind ${icon}`}><${Icon} name=${icon} size="22" /></span>
      <span class="name-and-more">
        ${
          renaming
            ? html`<${Lazy} kind="rename-entry" entry=${entry} />`
            : html`<a class="name" tabindex=${tab} dir="auto" title=${name} href=${addressOf(place)}
              onClick=${(/** @type {MouseEvent} */ event) => follow(event, place)}>
              <span class="name-head">${head}</span><span class="name-tail">${tail}</span>
            </a>`
        }
        ${within && html`<span class="within" dir="auto" title=${within}>${within}</span>`}
        <span class="meta">${length}${!folder && " · "}${modified}</span>
      </span>
    </span>
    <span role="gridcell" class="c-size">${length}</span>
    <span role="gridcell" class="c-modified_at">${modified}</span>
    <span role="gridcell" class="c-actions">
      <${IconButton} icon="download" label=${`Download ${name}`} tabindex=${tab}
        onClick=${() => download([entry])} />
      <${IconButton} icon="more" label=${`Actions on ${name}`} tabindex=${tab}
        aria-haspopup="menu"
        onClick=${(/** @type {ElementEvent} */ event) => openMenu(event, items)} />
    </span>
  </div>`;
}

/**
 * The folder that something was found in, seen from the one that is listed.
 * @param {Entry} entry
 */
function found({ path }) {
  const { folder, find } = state.place;
  return find && parentOf(path).slice(folder ? folder.length + 1 : 0);
}

/** @param {Entry} entry @param {boolean} writable */
function actionsOn(entry, writable) {
  const zip = entry.type === "folder" ? "Download as ZIP" : "Download";
  /** @type {MenuItem[]} */
  const items = [
    { icon: "shown", label: entry.type === "folder" ? "Open" : "View", act: () => view(entry) },
    { icon: "download", label: zip, act: () => download([entry]) },
    { icon: "link", label: "Copy link…", act: () => open("share", { file: entry }) },
    { icon: "copy", label: "Copy path", act: () => copyPath(entry) },
  ];
  if (found(entry)) {
    const act = () => go(placeIn(entry.namespace, parentOf(entry.path)));
    items.splice(1, 0, { icon: "folder", label: "Open its folder", act });
  }
  if (writable) {
    const entries = [entry];
    items.push(
      { icon: "rename", label: "Rename", act: () => rename(entry) },
      { icon: "move", label: "Move…", act: () => open("move", { entries }) },
      {
        icon: "trash",
        label: "Delete…",
        danger: true,
        act: () => open("delete-entries", { entries }),
      },
    );
  }
  return items;
}
