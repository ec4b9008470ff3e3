// The namespace that is shown: its name, what can be done with it, its files.
import {
  download,
  filter,
  loadFiles,
  loadNamespaces,
  open,
  selectedFiles,
  selectNone,
  setHidden,
  show,
} from "./actions.js";
import { count, number, size } from "./format.js";
import { html } from "./html.js";
import { List } from "./list.js";
import { openMenu } from "./menu.js";
import { mayDeleteNamespace, mayManage, mayWrite } from "./rights.js";
import { state as store } from "./store.js";
import { Button, FilePicker, Icon, IconButton } from "./ui.js";
import { add, take } from "./uploads.js";

export function Files({ state, here }) {
  const { files, session } = state;
  const writable = mayWrite(session, here);
  const bare = files.entries.length === 0 && !files.loading && !state.prefix;
  return html`
    <${Heading} state=${state} here=${here} writable=${writable} />
    ${
      state.selected.size > 0
        ? html`<${Selection} state=${state} writable=${writable} />`
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
        writable &&
        html`<${FilePicker} onFiles=${(input) => add(here.name, input.files)}>
        <${Icon} name="upload" size="18" />Upload
      <//>`
      }
      ${
        items.length > 0 &&
        html`<${IconButton} icon="more" label="Actions on this namespace" aria-haspopup="menu"
          onClick=${(event) => openMenu(event, items)} />`
      }
    </div>
  </div>`;
}

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

function actionsOn(ns, session) {
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

// With the number of files that there are now.
async function askToDelete(name) {
  await loadNamespaces();
  const ns = store.namespaces.find((other) => other.name === name);
  if (ns) open("delete-namespace", { ns });
}

function Toolbar({ state }) {
  const { files, prefix } = state;
  const known = files.loading
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
        onInput=${(event) => filter(event.target.value)}
      />
    </label>
    ${prefix && html`<span class="soft" role="status">${known}</span>`}
  </div>`;
}

function Selection({ state, writable }) {
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

function Empty({ state, here, writable }) {
  if (state.prefix) {
    return html`<div class="empty">
      <${Icon} name="search" size="40" />
      <h2>No name begins with “${state.prefix}”</h2>
      <p>Capital and small letters are different here.</p>
      <${Button} onClick=${() => filter("")}>Show all files<//>
    </div>`;
  }
  if (!writable) {
    const guest = state.session === null;
    return html`<div class="empty">
      <${Icon} name="tray" size="40" />
      <h2>Nothing here yet</h2>
      <p>${guest ? "Sign in to upload files." : "Files appear when their owner uploads them."}</p>
      ${guest && html`<${SignInButton} />`}
    </div>`;
  }
  return html`<${FilePicker} look="empty pick" onFiles=${(input) => take(here.name, input)}>
    <${Icon} name="tray" size="40" />
    <span class="h2">Drop files here</span>
    <span>or choose them; of any size, as many as you like.</span>
  <//>`;
}

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
