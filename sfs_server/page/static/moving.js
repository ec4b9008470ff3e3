// What is done to entries: they are moved, which is also what renaming is, moved back, and deleted.
// It shows in the list at once, and the focus is never lost by it.
import { deleteEntry, findEntry, makeFolder, MOST, moveEntry } from "./api.js";
import { amend, close, countsChanged, dismiss, go, notify, open } from "./actions.js";
import { compareNames, counted, number } from "./format.js";
import { rowsShown } from "./list.js";
import { foldersFirst, loadMore } from "./listing.js";
import { copies, movable, tooManyCopies, topmost } from "./names.js";
import { joined, nameOf, parentOf, placeName, within } from "./places.js";
import { set, state } from "./store.js";

const AT_ONCE = 4;
const LONG_MS = 1000; // then a notice shows how far it is
const TAKEN = 412;

/** @typedef {{ from: Entry, to: Entry }} Moved */

/**
 * `act` returns whether it was done to an item; what it throws is said in the end. What takes long can
 * be stopped, in its notice or with Escape. Returns those to which it was done.
 * @template Item
 * @param {Item[]} items @param {string} verb such as "moved"
 * @param {(item: Item) => Promise<unknown>} act
 */
async function eachOf(items, verb, act) {
  const left = items.toReversed();
  /** @type {Item[]} */
  const done = [];
  /** @type {Error[]} */
  const failures = [];
  const work = async () => {
    for (let item = left.pop(); item; item = left.pop()) {
      try {
        if (await act(item)) done.push(item);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  const stop = () => (left.length = 0);
  let id = 0;
  const timer = setInterval(() => {
    const text = `${number(done.length)} of ${number(items.length)} ${verb}…`;
    if (id) amend(id, text);
    else id = notify(text, { stay: true, offer: { label: "Stop", act: stop } });
  }, LONG_MS);
  /** @param {KeyboardEvent} event */
  const onKey = ({ key }) => key === "Escape" && !state.dialog && !state.renaming && stop();
  addEventListener("keydown", onKey);
  set({ acting: state.acting + 1 });
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  set({ acting: state.acting - 1 });
  removeEventListener("keydown", onKey);
  clearInterval(timer);
  dismiss(id);
  if (failures.length) {
    const text = `${number(failures.length)} could not be ${verb}: ${failures[0].message}`;
    notify(text, { error: true });
  }
  countsChanged();
  return done;
}

/** @param {Entry[]} entries */
const called = (entries) => (entries.length === 1 ? entries[0].name : counted(entries));
/** @param {Entry[]} entries */
const have = (entries) => `${called(entries)} ${entries.length === 1 ? "has" : "have"} been`;

/**
 * Some entries are gone from where they were, and others have come. If the focus would be lost by it,
 * or was, the row of `next` gets it, or else the title.
 * @param {Entry[]} gone @param {Entry[]} come @param {string} next a path
 */
function changed(gone, come, next) {
  const { namespace, folder, find } = state.place;
  const { entries } = state.files;
  /** @param {Entry} entry */
  const isHere = (entry) => entry.namespace === namespace;
  const left = new Set(gone.filter(isHere).map(({ path }) => path));
  /** @param {string} path */
  const isGone = (path) => {
    for (let up = path; up; up = find ? parentOf(up) : "") if (left.has(up)) return true;
    return false;
  };
  const added = come.filter(isHere).filter(({ type, path, name }) => {
    if (find) return left.size > 0 && within(path, folder);
    return parentOf(path) === folder && (type === "folder" || !isLater(name));
  });
  const focused = /** @type {HTMLElement} */ (document.activeElement);
  const row = /** @type {HTMLElement | null} */ (focused.closest(".row"));
  const lost = row
    ? isGone(rowsShown()[Number(row.dataset.at)]?.path ?? "")
    : focused.matches("body, h1, .selection *");
  if (lost && !next) document.querySelector("h1")?.focus();
  for (const { path } of added) left.add(path);
  const rest = entries.filter(({ path }) => !isGone(path)).concat(added);
  const selected = new Set([...state.selected].filter((path) => !isGone(path)));
  const files = { ...state.files, entries: rest.sort(foldersFirst) };
  set({ files, selected, focusOn: lost ? next : "" });
}

/**
 * The path of the row that will take the place of those; "" where there will be none.
 * @param {Entry[]} entries
 */
function rowAfter(entries) {
  const going = new Set(entries.map(({ path }) => path));
  const rows = rowsShown();
  const first = rows.findIndex(({ path }) => going.has(path));
  const next =
    rows.slice(first).find(({ path }) => !going.has(path)) ??
    rows.slice(0, first).findLast(({ path }) => !going.has(path));
  return next?.path ?? "";
}

/** @param {Entry[]} entries */
export async function deleteEntries(entries) {
  close();
  const next = rowAfter(entries);
  const done = await eachOf(entries, "deleted", async (entry) => {
    try {
      await deleteEntry(entry);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    return true;
  });
  changed(done, [], next);
  if (done.length) notify(`${have(done)} deleted.`);
}

/**
 * Throws what the service says against it.
 * @param {Where} where @param {string} name @returns {Promise<Entry>}
 */
export async function createFolder({ namespace, folder }, name) {
  const path = joined(folder, name);
  try {
    await makeFolder(namespace, path);
  } catch (error) {
    throw error.status === 405 ? taken(await findEntry(namespace, path), name) : error;
  }
  const modified_at = Math.floor(Date.now() / 1000);
  /** @type {Entry} */
  const made = { type: "folder", namespace, path, name, size: 0, modified_at, content_type: "" };
  close();
  if (state.place.find) await go({ ...state.place, find: "", at: "" });
  changed([], [made], "");
  set({ focusOn: path });
  return made;
}

/** @param {Entry | undefined} there @param {string} name */
const taken = (there, name) => new Error(`There is a ${there?.type ?? "file"} “${name}” here.`);

/**
 * Whether the row of a file of that name is not loaded yet.
 * @param {string} name
 */
const isLater = (name) => compareNames(name, state.files.after ?? name) > 0;

/**
 * In its folder. Throws what the service says against it.
 * @param {Entry} entry @param {string} name @param {boolean} focus its row gets it
 */
export async function rename(entry, name, focus) {
  const { namespace } = entry;
  if (name.includes("/")) throw new Error("A name cannot have a slash in it.");
  const path = joined(parentOf(entry.path), name);
  const refused = await moveEntry(entry, namespace, path).catch((error) => error);
  // With the type that its new name gives it; that much may stay unknown.
  const there = await findEntry(namespace, path).catch(() => undefined);
  if (refused.status === TAKEN) throw taken(there, name);
  if (refused instanceof Error) throw refused;
  const renamed = there ?? { ...entry, path, name };
  while (isLater(name) && !state.files.loading && !state.files.error) await loadMore(MOST);
  set({ renaming: "" });
  changed([entry], [renamed], path);
  if (focus) set({ focusOn: path });
  offerBack(`${entry.name} is ${name} now.`, [{ from: entry, to: renamed }]);
}

/**
 * Where a name is taken the person is asked, once for each or for all.
 * @param {Entry[]} entries @param {Where} to
 */
export async function moveEntries(entries, to) {
  close();
  /** @type {Moved[]} */
  const moves = [];
  let replaced = 0;
  const ask = questions(to, entries.length > 1);
  const next = rowAfter(entries);
  await eachOf(movable(topmost(entries), to), "moved", async (entry) => {
    /** Whether it could be moved, as what has that name may not be replaced. */
    const move = async (name = entry.name, replace = false) => {
      const path = joined(to.folder, name);
      try {
        await moveEntry(entry, to.namespace, path, replace);
      } catch (error) {
        if (error.status === TAKEN) return false;
        throw error;
      }
      moves.push({ from: entry, to: { ...entry, namespace: to.namespace, path, name } });
      return true;
    };
    if (await move()) return true;
    const choice = await ask(entry);
    if (choice === "replace" && (await move(entry.name, true))) return (replaced += 1);
    if (choice !== "keep") return false;
    for (const name of copies(entry.name, entry.type)) if (await move(name)) return true;
    throw tooManyCopies(entry.name);
  });
  const gone = moves.map(({ from }) => from);
  changed(
    gone,
    moves.map((move) => move.to),
    next,
  );
  if (gone.length === 0) return;
  const text = `Moved ${called(gone)} to ${nameOf(to.folder) || to.namespace}.`;
  if (replaced) notify(`${text} ${number(replaced)} replaced what was there.`);
  else offerBack(text, moves);
}

/**
 * What was replaced could not be had back: then this is not offered.
 * @param {string} text @param {Moved[]} moves
 */
const offerBack = (text, moves) =>
  notify(text, { offer: { label: "Undo", act: () => moveBack(moves) } });

/** @param {Moved[]} moves */
async function moveBack(moves) {
  const done = await eachOf(moves, "moved back", ({ from, to }) =>
    moveEntry(to, from.namespace, from.path),
  );
  const back = done.map(({ from }) => from);
  changed(
    done.map(({ to }) => to),
    back,
    back[0]?.path ?? "",
  );
  if (back.length) notify(`${have(back)} moved back.`);
}

/**
 * Asks about one after the other, until it is said for all. A folder is never replaced: all that is
 * in it would be lost.
 * @param {Where} to @param {boolean} many
 */
function questions(to, many) {
  /** @type {Promise<unknown>} */
  let last = Promise.resolve();
  /** @type {Choice | null} */
  let forAll = null;
  /** @param {Entry} entry @returns {Promise<Choice>} */
  const ask = async (entry) => {
    const there = await findEntry(to.namespace, joined(to.folder, entry.name));
    const replaceable = entry.type === "file" && there?.type !== "folder";
    if (forAll && (forAll !== "replace" || replaceable)) return forAll;
    return new Promise((resolve) => {
      /** @param {Choice} choice @param {boolean} [all] */
      const decide = (choice, all) => {
        if (all) forAll = choice;
        resolve(choice);
      };
      open("move-clash", { entry, there, place: placeName(to), many, replaceable, decide });
    });
  };
  /** @param {Entry} entry @returns {Promise<Choice>} */
  return (entry) => {
    const asked = last.then(() => ask(entry));
    last = Promise.allSettled([asked]);
    return asked;
  };
}
