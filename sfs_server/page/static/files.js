// The folder that is shown: where it is, what can be done with it, what is in it.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import {
  download,
  find,
  follow,
  go,
  loadNamespaces,
  open,
  openMenu,
  selectedEntries,
  selectNone,
  setHidden,
} from "./actions.js";
import { count, counted, number, size } from "./format.js";
import { html } from "./html.js";
import { List } from "./list.js";
import { load } from "./listing.js";
import { addressOf, nameOf, parentOf, placeIn } from "./places.js";
import { mayDeleteNamespace, mayManage, mayWrite } from "./rights.js";
import { state as store } from "./store.js";
import { Button, FilePicker, Icon, IconButton, picksFolders } from "./ui.js";
import { add } from "./uploads.js";

const TYPING_MS = 200;
const FIRST = '.row[tabindex="0"]'; // where the arrow keys move from

/** @param {{ state: State, here?: Namespace }} props */
export function Files({ state, here }) {
  const { files, session, place } = state;
  const writable = mayWrite(session, here);
  const bare = files.entries.length === 0 && !files.loading && !place.find;
  return html`
    <${Heading} state=${state} here=${here} writable=${writable} />
    ${
      state.selected.size > 0
        ? html`<${Selection} writable=${writable} />`
        : !bare && html`<${Toolbar} state=${state} />`
    }
    ${shown(state, here, writable)}
  `;
}

/** @param {State} state @param {Namespace | undefined} here @param {boolean} writable */
function shown(state, here, writable) {
  const { files, place } = state;
  if (!place.namespace) return html`<${NoPlace} />`;
  const key = `${place.namespace}/${place.folder}?${place.find}`; // each list is a table of its own
  if (files.entries.length) return html`<${List} key=${key} state=${state} writable=${writable} />`;
  if (files.error) return html`<${Trouble} error=${files.error} state=${state} />`;
  if (files.loading) return html`<${Bones} />`;
  return html`<${Empty} state=${state} here=${here} writable=${writable} />`;
}

/** @param {{ state: State, here?: Namespace, writable: boolean }} props */
function Heading({ state, here, writable }) {
  const { session, place } = state;
  const { namespace, folder } = place;
  const items = here && !folder ? actionsOn(here, session) : [];
  const title = nameOf(folder) || namespace || "Not found";
  const onFiles = (/** @type {FileList} */ files) => add(place, files);
  return html`<div class="heading">
    <div class="heading-text">
      ${folder && html`<${Crumbs} place=${place} />`}
      <h1 title=${title} dir="auto" tabindex="-1">${title}</h1>
      <p>${(folder ? inFolder(state) : here && describe(here, session)) || "\u00a0"}</p>
    </div>
    <div class="heading-actions">
      ${
        here &&
        writable &&
        html`<${Button} look="with-label" onClick=${() => open("new-folder", { where: place })}>
          <${Icon} name="new-folder" size="18" /><span class="label">New folder</span>
        <//>
        ${
          picksFolders &&
          html`<${FilePicker} look="button" folders onFiles=${onFiles}>
            <${Icon} name="folder" size="18" />Upload folder
          <//>`
        }
        <${FilePicker} onFiles=${onFiles}><${Icon} name="upload" size="18" />Upload<//>`
      }
      ${
        items.length > 0 &&
        html`<${IconButton} icon="more" label="Actions on this namespace" aria-haspopup="menu"
          onClick=${(/** @type {ElementEvent} */ event) => openMenu(event, items)} />`
      }
    </div>
  </div>`;
}

/** @param {State} state */
const inFolder = ({ files, place }) =>
  files.loading || files.after !== null || place.find ? "" : counted(files.entries);

/**
 * The folders above this one.
 * @param {{ place: Place }} props
 */
function Crumbs({ place: { namespace, folder } }) {
  const above = [placeIn(namespace)];
  for (let end = folder.indexOf("/"); end >= 0; end = folder.indexOf("/", end + 1)) {
    above.push(placeIn(namespace, folder.slice(0, end)));
  }
  return html`<nav class="crumbs" aria-label="Folders above">
    <ol>
      ${above.map(
        (place) => html`<li key=${place.folder}>
          <a dir="auto" href=${addressOf(place)}
            onClick=${(/** @type {MouseEvent} */ event) => follow(event, place)}
            >${nameOf(place.folder) || namespace}</a>
        </li>`,
      )}
    </ol>
  </nav>`;
}

/** @param {Namespace} ns @param {Session | null} session */
function describe(ns, session) {
  const owner =
    ns.owner === null
      ? "shared by all"
      : session && ns.owner === session.user
        ? "yours"
        : `owned by ${ns.owner}`;
  const files = ns.count === null ? "files cannot be counted" : count(ns.count, "file");
  return [files, owner, ns.hidden && "hidden"].filter(Boolean).join(" · ");
}

/** @param {Namespace} ns @param {Session | null} session @returns {MenuItem[]} */
function actionsOn(ns, session) {
  /** @type {MenuItem[]} */
  const items = [];
  if (mayManage(session, ns)) {
    items.push(
      ns.hidden
        ? { icon: "shown", label: "Show to others", act: () => setHidden(ns, false) }
        : { icon: "hidden", label: "Hide from others", act: () => setHidden(ns, true) },
    );
  }
  if (mayDeleteNamespace(session, ns)) {
    items.push({
      icon: "trash",
      label: "Delete namespace…",
      danger: true,
      act: () => askToDelete(ns.name),
    });
  }
  return items;
}

/**
 * With the number of files that there are now.
 * @param {string} name
 */
async function askToDelete(name) {
  await loadNamespaces();
  const ns = store.namespaces?.find((other) => other.name === name);
  if (ns) open("delete-namespace", { ns });
}

/**
 * What is typed is looked for once nothing more is typed. What is looked for can also come from the
 * address; then it stands in the box as well.
 * @param {{ state: State }} props
 */
function Toolbar({ state }) {
  const { files, place } = state;
  const [text, setText] = useState(place.find);
  /** @type {{ for: string, timer?: ReturnType<typeof setTimeout> }} */
  const first = { for: place.find };
  const looked = useRef(first);
  useEffect(() => {
    if (place.find !== looked.current.for) setText((looked.current.for = place.find));
  }, [place]);
  useEffect(() => () => clearTimeout(looked.current.timer), [place.namespace, place.folder]);
  /** @param {string} typed */
  const look = (typed) => {
    setText(typed);
    clearTimeout(looked.current.timer);
    looked.current.timer = setTimeout(() => find((looked.current.for = typed)), TYPING_MS);
  };
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.key === "Escape" && text) look("");
    else if (event.key === "ArrowDown")
      /** @type {HTMLElement | null} */ (document.querySelector(FIRST))?.focus();
    else return;
    event.preventDefault();
  };
  return html`<div class="toolbar" role="search">
    <label class="field">
      <${Icon} name="search" size="18" />
      <span class="unseen">Find by a part of the name, here and below</span>
      <input type="search" placeholder="Find here and below…" autocomplete="off"
        autocapitalize="off" spellcheck="false" dir="auto" value=${text} onKeyDown=${onKeyDown}
        onInput=${(/** @type {InputEventOf} */ event) => look(event.target.value)} />
    </label>
    ${place.find && html`<span class="soft" role="status">${found(files)}</span>`}
  </div>`;
}

/** @param {Loaded} files */
function found({ entries, loading, cut }) {
  const many = `${number(entries.length)}${cut ? " and more" : ""} found`;
  return loading ? `Looking… ${many}` : many;
}

/** @param {{ writable: boolean }} props */
function Selection({ writable }) {
  const entries = selectedEntries();
  const bytes = entries.reduce((sum, entry) => sum + entry.size, 0);
  return html`<div class="toolbar selection" role="region" aria-label="Selection">
    <p><strong>${counted(entries)}</strong> <span class="soft">${size(bytes)}</span></p>
    <span class="push"></span>
    <${Button} onClick=${() => download(entries)}>
      <${Icon} name="download" size="18" /><span class="label">Download</span>
    <//>
    ${
      writable &&
      html`<${Button} onClick=${() => open("move", { entries })}>
        <${Icon} name="move" size="18" /><span class="label">Move…</span>
      <//>
      <${Button} look="danger" onClick=${() => open("delete-entries", { entries })}>
      <${Icon} name="trash" size="18" /><span class="label">Delete</span>
    <//>`
    }
    <${IconButton} icon="close" label="Select none" onClick=${selectNone} />
  </div>`;
}

/** @param {{ state: State, here?: Namespace, writable: boolean }} props */
function Empty({ state, here, writable }) {
  const { place } = state;
  if (place.find) {
    return html`<div class="empty">
      <${Icon} name="search" size="40" />
      <h2>No name here or below contains “${place.find}”</h2>
      <${Button} onClick=${() => find("")}>Show all files<//>
    </div>`;
  }
  if (!here || !writable) {
    const guest = state.session === null;
    return html`<div class="empty">
      <${Icon} name="tray" size="40" />
      <h2>Nothing here yet</h2>
      <p>${guest ? "Sign in to upload files." : "Files appear when their owner uploads them."}</p>
      ${guest && html`<${SignInButton} />`}
    </div>`;
  }
  const onFiles = (/** @type {FileList} */ files) => add(place, files);
  return html`<${FilePicker} look="empty pick" onFiles=${onFiles}>
    <${Icon} name="tray" size="40" />
    <span class="h2">Drop files here</span>
    <span>or folders; or choose files: of any size, as many as you like.</span>
  <//>`;
}

/** @param {{ error: ApiError, state: State }} props */
function Trouble({ error, state }) {
  const guest = state.session === null;
  const { namespace, folder } = state.place;
  const missing = error.status === 404;
  const known = state.namespaces?.some(({ name }) => name === namespace);
  const [title, text] = trouble(error, known ? "folder" : "namespace");
  const up = missing && known ? placeIn(namespace, parentOf(folder)) : placeIn("default");
  return html`<div class="empty" role="alert">
    <${Icon} name="trouble" size="40" />
    <h2>${title}</h2>
    <p>${text}</p>
    ${guest && (error.status === 401 || missing) && html`<${SignInButton} />`}
    ${
      missing
        ? html`<${Button} onClick=${() => go(up)}>Go to ${nameOf(up.folder) || up.namespace}<//>`
        : error.status !== 401 && html`<${Button} onClick=${load}>Try again<//>`
    }
  </div>`;
}

/** @param {ApiError} error @param {string} what */
function trouble({ status, message }, what) {
  if (status === 404) {
    const how = what === "folder" ? "moved or deleted" : "deleted, or be hidden from you";
    return [`There is no such ${what}`, `It may have been ${how}.`];
  }
  if (status === 401) {
    return ["Sign in to see these files", "Visitors may not look into this namespace."];
  }
  return ["The files cannot be listed", message];
}

/** The address is none of the page's. */
const NoPlace = () => html`<div class="empty" role="alert">
  <${Icon} name="trouble" size="40" />
  <h2>There is nothing at this address</h2>
  <p>It may be incomplete, or mistyped.</p>
  <${Button} onClick=${() => go(placeIn("default"))}>Go to default<//>
</div>`;

const SignInButton = () => html`<${Button} look="primary" onClick=${() => open("sign-in")}>
  Sign in
<//>`;

const Bones = () => html`<div class="bones" aria-hidden="true">
  ${[18, 12, 22, 15, 10, 17].map(
    (width) => html`<div class="bone-row">
      <span class="bone dot"></span>
      <span class="bone" style=${{ width: `${width}rem` }}></span>
    </div>`,
  )}
</div>`;
