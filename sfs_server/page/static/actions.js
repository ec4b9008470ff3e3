// What a person can do, as changes of the state.
import * as api from "./api.js";
import { visible } from "./format.js";
import { NO_FILES, set, state } from "./store.js";

const NOTICE_SECONDS = 6;
const MOST_NOTICES = 4;
const LINK_SECONDS = 3600;
const FRAME_SECONDS = 60;

// Notices.

let lastNotice = 0;

/**
 * Returns the id of the notice. An error stays until it is dismissed, as does what is to `stay`.
 * @param {string} text @param {{ error?: boolean, stay?: boolean }} how
 */
export function notify(text, { error = false, stay = error } = {}) {
  const id = (lastNotice += 1);
  set({ notices: [...state.notices, { id, text, error }].slice(-MOST_NOTICES) });
  if (!stay) setTimeout(() => dismiss(id), NOTICE_SECONDS * 1000);
  return id;
}

/** @param {number} id @param {string} text */
export const amend = (id, text) =>
  set({ notices: state.notices.map((n) => (n.id === id ? { ...n, text } : n)) });

/** @param {number} id */
export const dismiss = (id) => set({ notices: state.notices.filter((n) => n.id !== id) });
/** @param {Error} error */
const complain = (error) => notify(error.message, { error: true });
/** @param {string} said */
export const say = (said) => set({ said });
/** @param {string} kind @param {object} details */
export const open = (kind, details = {}) => set({ dialog: { kind, ...details }, menu: null });
export const close = () => set({ dialog: null, menu: null });

/**
 * Opens a menu next to the button that was clicked.
 * @param {ElementEvent} event @param {MenuItem[]} items
 */
export function openMenu(event, items) {
  const from = event.currentTarget;
  set({ menu: { items, from, box: from.getBoundingClientRect() } });
}

// Who.

/** @param {string} token @param {Session} session */
export function become(token, session) {
  api.credential.set(token);
  set({ session, selected: new Set(), dialog: null });
  return state.ready && reload();
}

export async function signOut() {
  api.credential.clear();
  set({ session: null, selected: new Set() });
  show("default");
  await loadNamespaces();
}

export function tokenRefused() {
  if (state.session === null) return;
  api.credential.clear();
  set({ session: null, selected: new Set(), dialog: { kind: "sign-in", expired: true } });
  loadNamespaces();
}

// Where. The address names the namespace: /ns/photos; the default one is at /.

export function place() {
  const found = /^\/ns\/([^/]+)\/?$/.exec(location.pathname);
  try {
    return found ? decodeURIComponent(found[1]) : "default";
  } catch {
    return "default";
  }
}

/** @param {string} name */
const addressOf = (name) => (name === "default" ? "/" : `/ns/${encodeURIComponent(name)}`);

/** @param {string} name */
export function show(name, { record = true } = {}) {
  if (record && name !== place()) history.pushState(null, "", addressOf(name));
  document.title = name === "default" ? "SFS" : `${visible(name)} · SFS`;
  set({ current: name, prefix: "", selected: new Set(), files: NO_FILES, railOpen: false });
  set({ sort: { key: "name", down: false }, menu: null });
  scrollTo(0, 0);
  return loadFiles();
}

export const reload = () => Promise.all([loadNamespaces(), loadFiles()]);

// Somebody comes back to the page: what others have changed meanwhile shows, unless they have gone
// far into a long list.
export function refresh() {
  loadNamespaces();
  if (state.files.entries.length <= api.PAGE) loadFiles();
}

// Namespaces.

export async function loadNamespaces() {
  try {
    set({ namespaces: await api.listNamespaces() });
  } catch (error) {
    if (error.status !== 0 && error.status !== 401) complain(error);
    if (state.namespaces === null) set({ namespaces: [] });
  }
}

/** @param {Namespace} ns @param {boolean} hidden */
export async function setHidden(ns, hidden) {
  try {
    await api.updateNamespace(ns.name, hidden);
    notify(hidden ? `${ns.name} is hidden now.` : `${ns.name} can be seen by all who sign in.`);
  } catch (error) {
    complain(error);
  }
  await loadNamespaces();
}

// Files. Only the newest request may change what is shown; an older one is given up.

let request = new AbortController();

export async function loadFiles() {
  request.abort();
  const mine = (request = new AbortController());
  set({ files: { ...state.files, loading: true, error: null } });
  await receive(mine, () => api.listFiles(state.current, state.prefix, mine.signal), []);
}

export async function loadMore() {
  const { entries, next, loading } = state.files;
  if (next === null || loading) return;
  const mine = request;
  set({ files: { ...state.files, loading: true, error: null } });
  await receive(mine, () => api.page(next, mine.signal), entries);
}

/**
 * @param {AbortController} mine @param {() => Promise<Page<StoredFile>>} ask
 * @param {StoredFile[]} before
 */
async function receive(mine, ask, before) {
  try {
    const { entries, next } = await ask();
    if (mine !== request) return;
    set({ files: { entries: before.concat(entries), next, loading: false, error: null } });
  } catch (error) {
    if (mine === request) set({ files: { ...state.files, loading: false, error } });
  }
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let waiting;

/** @param {string} prefix */
export function filter(prefix) {
  set({ prefix, selected: new Set() });
  clearTimeout(waiting);
  waiting = setTimeout(loadFiles, 200);
}

/** @param {SortKey} key */
export function sortBy(key) {
  const { sort } = state;
  set({ sort: { key, down: sort.key === key ? !sort.down : key !== "name" } });
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let counting;

export function countsChanged() {
  counting ||= setTimeout(() => {
    counting = undefined;
    loadNamespaces();
  }, 500);
}

/**
 * The browser saves what a frame is sent to, and the page stays. A refusal in a frame would not be
 * seen, so the link is asked for first.
 * @param {StoredFile[]} files
 */
export async function download(files) {
  for (const file of files) {
    try {
      const { download: url } = await api.linkTo(file, LINK_SECONDS);
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.style.display = "none";
      frame.title = "download";
      frame.src = url;
      document.body.append(frame);
      setTimeout(() => frame.remove(), FRAME_SECONDS * 1000);
    } catch (error) {
      notify(`${file.name} cannot be downloaded: ${error.message}`, { error: true });
    }
  }
}

/** @param {StoredFile} file */
export async function view(file) {
  try {
    const { url } = await api.linkTo(file, LINK_SECONDS);
    open("viewer", { file, url });
  } catch (error) {
    notify(`${file.name} cannot be shown: ${error.message}`, { error: true });
  }
}

// Selecting.

/** @param {string[]} names */
export function select(names, on = true) {
  const selected = new Set(state.selected);
  for (const name of names) selected[on ? "add" : "delete"](name);
  set({ selected });
}

export const selectNone = () => set({ selected: new Set() });
export const selectedFiles = () => state.files.entries.filter((f) => state.selected.has(f.name));
