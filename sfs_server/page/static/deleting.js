// Many entries are deleted one by one, a few at a time, and a notice shows how far it is.
import { deleteEntry } from "./api.js";
import { amend, close, countsChanged, dismiss, notify } from "./actions.js";
import { counted, number } from "./format.js";
import { nameOf } from "./places.js";
import { set, state } from "./store.js";

const AT_ONCE = 4;
const MANY = 50; // files that take a while

/** @param {Entry[]} entries */
export async function deleteEntries(entries) {
  close();
  const left = [...entries];
  /** @type {Set<string>} */
  const gone = new Set();
  /** @type {Error[]} */
  const failures = [];
  const work = async () => {
    for (let entry = left.pop(); entry; entry = left.pop()) {
      try {
        await deleteEntry(entry);
        gone.add(entry.path);
      } catch (error) {
        if (error.status === 404) gone.add(entry.path);
        else failures.push(error);
      }
    }
  };
  const done = entries.length > MANY ? showProgress(entries.length, gone) : () => {};
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  done();
  if (state.place.namespace === entries[0].namespace) {
    const rest = state.files.entries.filter(({ path }) => !gone.has(path));
    const selected = new Set([...state.selected].filter((path) => !gone.has(path)));
    set({ files: { ...state.files, entries: rest }, selected });
  }
  if (gone.size === 1) notify(`${nameOf([...gone][0])} has been deleted.`);
  else if (gone.size) notify(`${counted(entries.filter(({ path }) => gone.has(path)))} have been deleted.`);
  if (failures.length) {
    notify(`${number(failures.length)} could not be deleted: ${failures[0].message}`, { error: true });
  }
  countsChanged();
}

/** @param {number} all @param {Set<string>} gone */
function showProgress(all, gone) {
  const text = () => `Deleting ${number(all)}: ${number(gone.size)} are gone`;
  const id = notify(text(), { stay: true });
  const timer = setInterval(() => amend(id, text()), 1000);
  return () => {
    clearInterval(timer);
    dismiss(id);
  };
}
