// Entries are deleted. And how much that is, before.
import { deleteEntry, filesBelow, MOST } from "./api.js";
import { close, countsChanged, notify } from "./actions.js";
import { changed } from "./changing.js";
import { counted, number } from "./format.js";
import { eachOf } from "./many.js";
import { topmost } from "./names.js";
import { parentOf } from "./places.js";

/** @param {Entry[]} entries */
export async function deleteEntries(entries) {
  close();
  const { done, failures, stopped } = await eachOf(topmost(entries), "Deleting", async (entry) => {
    try {
      await deleteEntry(entry);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    return true;
  });
  changed(done);
  const how = stopped ? `; ${number(stopped)} are kept` : "";
  if (done.length === 1) notify(`${done[0].name} has been deleted${how}.`);
  else if (done.length) notify(`${counted(done)} have been deleted${how}.`);
  if (failures.length) {
    notify(`${number(failures.length)} could not be deleted: ${failures[0].message}`, { error: true });
  }
  countsChanged();
}

/**
 * What is in folders and below: files, the folders that these are in, and bytes; `more` where that
 * is not all.
 * @param {Entry[]} folders @param {AbortSignal} signal
 */
export async function measure(folders, signal) {
  const all = { files: 0, folders: new Set(), size: 0, more: false };
  for (const { namespace, path } of folders) {
    const most = MOST - all.files;
    all.more ||= most === 0;
    if (all.more) break;
    const { files, more } = await filesBelow(namespace, path, most, signal);
    all.files += files.length;
    all.more = more;
    for (const file of files) {
      all.size += file.size;
      all.folders.add(parentOf(file.path));
    }
  }
  return all;
}
