// The namespace that is shown: its name, what can be done with it, its files.
import {
  download,
  filter,
  loadFiles,
  loadNamespaces,
  open,
  openMenu,
  selectedFiles,
  selectNone,
  setHidden,
  show,
} from "./actions.js";
import { count, number, size } from "./format.js";
import { html } from "./html.js";
import { List } from "./list.js";
import { mayDeleteNamespace, mayManage, mayWrite } from "./rights.js";
import { state as store } from "./store.js";
import { Button, FilePicker, Icon, IconButton } from "./ui.js";
import { add } from "./uploads.js";

/** @param {{ state: State, here?: Namespace }} props */
export function Files({ state, here }) {
  const { files, session } = state;
  const writable = mayWrite(session, here);
  const bare = files.entries.length === 0 && !files.loading && !state.prefix;
  return html`
    <${Heading} state=${state} here=${here} writable=${writable} />
    ${
      state.selected.size > 0
        ? html`<${Selection} writable=${writable} />`
        : !bare && html`<${Toolbar} state=${state} />`
    }
    ${
      files.error && files.entries.length === 0
        ? html`<${Trouble} error=${files.error} state=${state} />`
        : files.loading && files.entries.length === 0
          ? html`<${Bones} />`
          : files.entries.length === 0
            ? html`<${Empty} state=${state} here=${here} writable=${writable} />`
            : html`<${List} state=${state} writable=${writable} />`
    }
  `;
}

/** @param {{ state: State, here?: Namespace, writable: boolean }} props */
function Heading({ state, here, writable }) {
  const { session } = state;
  const items = here ? actionsOn(here, session) : [];
  return html`<div class="heading">
    <div class="heading-text">
      <h1 title=${state.current}>${state.current}</h1>
      <p>${here ? describe(here, session) : "\u00a0"}</p>
    </div>
    <div class="heading-actions">
      ${
        here &&
        writable &&
        html`<${FilePicker} onFiles=${(/** @type {FileList} */ files) => add(here.name, files)}>
        <${Icon} name="upload" size="18" />Upload
      <//>`
      }
      ${
        items.length > 0 &&
        html`<${IconButton} icon="more" label="Actions on this namespace" aria-haspopup="menu"
          onClick=${(/** @type {ElementEvent} */ event) => openMenu(event, items)} />`
      }
    </div>
  </div>`;
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

/** @param {{ state: State }} props */
function Toolbar({ state }) {
  const { files, prefix } = state;
  const found = files.loading
    ? ""
    : `${number(files.entries.length)}${files.next ? "+" : ""} found`;
  return html`<div class="toolbar" role="search">
    <label class="field">
      <${Icon} name="search" size="18" />
      <span class="unseen">Filter by the beginning of the name</span>
      <input
        type="search"
        placeholder="Names that begin with…"
        autocomplete="off"
        spellcheck="false"
        value=${prefix}
        onInput=${(/** @type {InputEventOf} */ event) => filter(event.target.value)}
      />
    </label>
    ${prefix && html`<span class="soft" role="status">${found}</span>`}
  </div>`;
}

/** @param {{ writable: boolean }} props */
function Selection({ writable }) {
  const files = selectedFiles();
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  return html`<div class="toolbar selection" role="region" aria-label="Selection">
    <p><strong>${count(files.length, "file")}</strong> <span class="soft">${size(bytes)}</span></p>
    <span class="push"></span>
    <${Button} onClick=${() => download(files)}>
      <${Icon} name="download" size="18" /><span class="label">Download</span>
    <//>
    ${
      writable &&
      html`<${Button} look="danger" onClick=${() => open("delete-files", { files })}>
      <${Icon} name="trash" size="18" /><span class="label">Delete</span>
    <//>`
    }
    <${IconButton} icon="close" label="Select none" onClick=${selectNone} />
  </div>`;
}

/** @param {{ state: State, here?: Namespace, writable: boolean }} props */
function Empty({ state, here, writable }) {
  if (state.prefix) {
    return html`<div class="empty">
      <${Icon} name="search" size="40" />
      <h2>No name begins with “${state.prefix}”</h2>
      <p>Capital and small letters are different here.</p>
      <${Button} onClick=${() => filter("")}>Show all files<//>
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
  const onFiles = (/** @type {FileList} */ files) => add(here.name, files);
  return html`<${FilePicker} look="empty pick" onFiles=${onFiles}>
    <${Icon} name="tray" size="40" />
    <span class="h2">Drop files here</span>
    <span>or choose them; of any size, as many as you like.</span>
  <//>`;
}

/** @param {{ error: ApiError, state: State }} props */
function Trouble({ error, state }) {
  const guest = state.session === null;
  const [title, text] =
    error.status === 404
      ? ["There is no such namespace", "It may have been deleted, or be hidden from you."]
      : error.status === 401
        ? ["Sign in to see these files", "Visitors may not look into this namespace."]
        : ["The files cannot be listed", error.message];
  return html`<div class="empty" role="alert">
    <${Icon} name="trouble" size="40" />
    <h2>${title}</h2>
    <p>${text}</p>
    ${guest && (error.status === 401 || error.status === 404) && html`<${SignInButton} />`}
    ${
      error.status === 404
        ? html`<${Button} onClick=${() => show("default")}>Go to default<//>`
        : error.status !== 401 && html`<${Button} onClick=${loadFiles}>Try again<//>`
    }
  </div>`;
}

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
