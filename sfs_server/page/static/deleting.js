// Many files are deleted one by one, a few at a time, and a notice shows how far it is.
import { deleteFile } from "./api.js";
import { amend, close, countsChanged, dismiss, notify } from "./actions.js";
import { count, number } from "./format.js";
import { set, state } from "./store.js";

const AT_ONCE = 4;
const MANY = 50; // files that take a while

/** @param {StoredFile[]} files */
export async function deleteFiles(files) {
  close();
  const left = [...files];
  /** @type {Set<string>} */
  const gone = new Set();
  /** @type {Error[]} */
  const failures = [];
  const work = async () => {
    for (let file = left.pop(); file; file = left.pop()) {
      try {
        await deleteFile(file.namespace, file.name);
        gone.add(file.name);
      } catch (error) {
        if (error.status === 404) gone.add(file.name);
        else failures.push(error);
      }
    }
  };
  const done = files.length > MANY ? showProgress(files.length, gone) : () => {};
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  done();
  if (state.current === files[0].namespace) {
    const entries = state.files.entries.filter((file) => !gone.has(file.name));
    const selected = new Set([...state.selected].filter((name) => !gone.has(name)));
    set({ files: { ...state.files, entries }, selected });
  }
  if (gone.size === 1) notify(`${[...gone][0]} has been deleted.`);
  else if (gone.size) notify(`${count(gone.size, "file")} have been deleted.`);
  if (failures.length) {
    const many = count(failures.length, "file");
    notify(`${many} could not be deleted: ${failures[0].message}`, { error: true });
  }
  countsChanged();
}

/** @param {number} all @param {Set<string>} gone */
function showProgress(all, gone) {
  const text = () => `Deleting ${count(all, "file")}: ${number(gone.size)} are gone`;
  const id = notify(text(), { stay: true });
  const timer = setInterval(() => amend(id, text()), 1000);
  return () => {
    clearInterval(timer);
    dismiss(id);
  };
}
