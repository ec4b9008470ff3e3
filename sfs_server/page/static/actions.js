// What a person can do, as changes of the state.
import * as api from "./api.js";
import { visible } from "./format.js";
import { load } from "./listing.js";
import { unreachable } from "./online.js";
import { addressOf, nameOf, parentOf, placeIn, sameList } from "./places.js";
import { FIRST, NOTHING_LOADED, set, state } from "./store.js";

const NOTICE_SECONDS = 6;
const OFFER_SECONDS = 20;
const MOST_NOTICES = 4;

// Notices.

let lastNotice = 0;

/**
 * Returns the id of the notice. An error stays until it is dismissed, as does what is to `stay`.
 * @param {string} text @param {{ error?: boolean, stay?: boolean, offer?: Offer }} how
 */
export function notify(text, { error = false, stay = error, offer } = {}) {
  const id = (lastNotice += 1);
  set({ notices: [...state.notices, { id, text, error, offer }].slice(-MOST_NOTICES) });
  const seconds = offer ? OFFER_SECONDS : NOTICE_SECONDS;
  if (!stay) setTimeout(() => dismiss(id), seconds * 1000);
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
  go(placeIn("default")); // a visitor may not watch the place of before
  set({ session: null, selected: new Set() });
  await reload();
}

export function tokenRefused() {
  if (state.session === null) return;
  api.credential.clear();
  set({ session: null, selected: new Set(), dialog: { kind: "sign-in", expired: true } });
  loadNamespaces();
}

// Where.

/**
 * Shows a place, as a link to it does.
 * @param {Place} place
 */
export function go(place, { replace = false } = {}) {
  const came = replace ? history.state?.came : true;
  history[replace ? "replaceState" : "pushState"]({ came }, "", addressOf(place));
  return arrive(place);
}

/**
 * What a click on a link to a place does; with a key held down it is the browser's: a tab of its own.
 * @param {MouseEvent} event @param {Place} place
 */
export function follow(event, place) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(place);
}

/**
 * The address has changed to that of a place.
 * @param {Place} place
 */
export function arrive(place) {
  const { place: before, viewing } = state;
  const same = state.files !== NOTHING_LOADED && sameList(before, place);
  const name = nameOf(place.file || place.folder) || place.namespace;
  document.title = name === "default" ? "SFS" : `${visible(name)} · SFS`;
  const searched = before.namespace === place.namespace && before.folder === place.folder;
  const focusOn = same || searched ? "" : keptFocus();
  set({ place, menu: null, railOpen: false, renaming: "", focusOn });
  const list = same ? undefined : showList(searched ? state.files : NOTHING_LOADED);
  if (place.file) openFile(place.file);
  else if (viewing) set({ viewing: null });
  return list;
}

/** The focus is not to go with the list that it is in: it waits on the title until the next one. */
function keptFocus() {
  if (!document.activeElement?.closest("main")) return "";
  document.querySelector("h1")?.focus({ preventScroll: true });
  return FIRST;
}

/** @param {Loaded} files what is shown until there is something else */
function showList(files) {
  set({ selected: new Set(), files: { ...files, loading: true } });
  scrollTo(0, 0);
  return load();
}

/** Loads everything again: another person, who may see other things, may be signed in now. */
export const reload = () =>
  Promise.all([loadNamespaces(), load(), state.place.file && openFile(state.place.file)]);

/** Back closes what was opened; somebody who came by its address gets the list under it. */
export function closeFile() {
  if (history.state?.came) history.back();
  else go({ ...state.place, file: "" }, { replace: true });
}

/** @param {string} path */
async function openFile(path) {
  const { namespace } = state.place;
  const wanted = () => state.place.namespace === namespace && state.place.file === path;
  if (state.viewing?.path === path && state.viewing.file?.namespace === namespace) return;
  try {
    const known = state.files.entries.find((entry) => entry.path === path);
    const file = known ?? (await api.findEntry(namespace, path));
    if (!wanted()) return;
    if (file?.type === "folder") return go(placeIn(namespace, path), { replace: true });
    if (!file) throw new Error("There is no such file. It may have been moved or deleted.");
    const { url } = await api.linkTo(file);
    if (wanted()) set({ viewing: { path, file, url, error: "" } });
  } catch (error) {
    if (wanted()) set({ viewing: { path, file: null, url: "", error: error.message } });
  }
}

/**
 * Where an entry leads: a folder is opened, a file is shown over the list that it is in.
 * @param {Entry} entry @returns {Place}
 */
export function placeOfEntry({ type, namespace, path }) {
  const { place } = state;
  if (type === "folder") return { ...placeIn(namespace, path), sort: place.sort };
  const folder = parentOf(path);
  const listed = place.namespace === namespace && (place.find || place.folder === folder);
  return { ...(listed ? place : placeIn(namespace, folder)), file: path, at: "" };
}

/** @param {Entry} entry */
export const view = (entry) => go(placeOfEntry(entry));

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

// The list.

/** @param {SortKey} key */
export function sortBy(key) {
  const { sort } = state.place;
  const down = sort.key === key ? !sort.down : key !== "name";
  return go({ ...state.place, sort: { key, down }, at: "" }, { replace: true });
}

/**
 * Looks for a text in the names here and below. Back leaves the search, however often its text was
 * changed.
 * @param {string} text
 */
export function find(text) {
  const { place } = state;
  if (place.find !== text) go({ ...place, find: text, at: "" }, { replace: place.find !== "" });
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let counting;

export function countsChanged() {
  counting ||= setTimeout(() => {
    counting = undefined;
    loadNamespaces();
  }, 500);
}

/** @param {Entry[]} entries */
export const download = (entries) =>
  import("./downloading.js").then((module) => module.download(entries), unreachable);

/**
 * Its row becomes a field for another name.
 * @param {Entry} entry
 */
export const rename = ({ path }) => set({ renaming: path });

/** @param {Entry} entry */
export async function copyPath({ namespace, path }) {
  const { copy } = await import("./dialogs-file.js");
  const text = `${namespace}/${path}`;
  notify((await copy(text)) ? "The path has been copied." : `Copy the path from here: ${text}`);
}

// Selecting.

/** @param {string[]} paths */
export function select(paths, on = true) {
  const selected = new Set(state.selected);
  for (const path of paths) selected[on ? "add" : "delete"](path);
  set({ selected });
}

export const selectNone = () => set({ selected: new Set() });
export const selectedEntries = () =>
  state.files.entries.filter(({ path }) => state.selected.has(path));
