// Entries are moved, which is also what renaming is; and moved back.
import { findEntry, moveEntry } from "./api.js";
import { close, countsChanged, notify, open } from "./actions.js";
import { changed, loadUpTo } from "./changing.js";
import { counted, number } from "./format.js";
import { eachOf } from "./many.js";
import { copyName, movable, topmost } from "./names.js";
import { joined, nameOf, parentOf, placeName } from "./places.js";
import { set } from "./store.js";

const TAKEN = 412;
const MOST_COPIES = 99; // "name (2).txt" … "name (99).txt"

/** @typedef {{ from: Entry, to: Entry }} Moved */

/**
 * In its folder. Throws what the service says against it.
 * @param {Entry} entry @param {string} name @param {boolean} focus its row gets it
 */
export async function rename(entry, name, focus) {
  const { namespace } = entry;
  const path = joined(parentOf(entry.path), name);
  try {
    await moveEntry(entry, namespace, path);
  } catch (error) {
    throw error.status === TAKEN ? new Error(`There is another “${name}” here.`) : error;
  }
  const found = await findEntry(namespace, path).catch(() => undefined); // its type may be another
  const renamed = found ?? { ...entry, path, name };
  await loadUpTo(renamed);
  set({ renaming: "" });
  changed([entry], [renamed], focus ? path : "");
  offerBack(`${entry.name} is ${name} now.`, [{ from: entry, to: renamed }]);
}

/**
 * A few at a time. Where a name is taken the person is asked, once for each or for all.
 * @param {Entry[]} entries @param {Where} to
 */
export async function moveEntries(entries, to) {
  close();
  /** @type {Moved[]} */
  const moves = [];
  let replaced = 0;
  const question = questions(to);
  const wanted = movable(topmost(entries), to);
  const { failures, stopped } = await eachOf(wanted, "Moving", async (entry) => {
    const { type, name } = entry;
    const move = async (/** @type {string} */ as, replace = false) => {
      const path = joined(to.folder, as);
      await moveEntry(entry, to.namespace, path, replace);
      moves.push({ from: entry, to: { ...entry, namespace: to.namespace, path, name: as } });
      return true;
    };
    /** @param {unknown} error */
    const taken = (error) => {
      if (/** @type {ApiError} */ (error).status !== TAKEN) throw error;
      return false;
    };
    if (await move(name).catch(taken)) return true;
    const choice = await question(entry);
    if (choice === "skip") return false;
    if (choice === "replace") {
      await move(name, true);
      replaced += 1;
      return true;
    }
    for (let n = 2; n <= MOST_COPIES; n += 1) {
      if (await move(copyName(name, type, n)).catch(taken)) return true;
    }
    throw new Error(`There are too many copies of ${name} already.`);
  });
  changed(
    moves.map(({ from }) => from),
    moves.map((move) => move.to),
  );
  if (moves.length) {
    const what = moves.length === 1 ? moves[0].from.name : counted(moves.map(({ from }) => from));
    const left = stopped ? `; ${number(stopped)} are where they were` : "";
    const text = `Moved ${what} to ${nameOf(to.folder) || to.namespace}${left}.`;
    if (replaced) notify(`${text} ${number(replaced)} replaced what was there.`);
    else offerBack(text, moves);
  }
  complain(failures, "moved");
  countsChanged();
}

/**
 * What was replaced could not be had back: then nothing is offered.
 * @param {string} text @param {Moved[]} moves
 */
const offerBack = (text, moves) =>
  notify(text, { offer: { label: "Undo", act: () => moveBack(moves) } });

/** @param {Moved[]} moves */
async function moveBack(moves) {
  const { done, failures } = await eachOf(moves, "Moving back", async ({ from, to }) => {
    await moveEntry(to, from.namespace, from.path);
    return true;
  });
  changed(
    done.map(({ to }) => to),
    done.map(({ from }) => from),
    done[0]?.from.path,
  );
  if (done.length === 1) notify(`${done[0].from.name} is back.`);
  else if (done.length) notify(`${counted(done.map(({ from }) => from))} are back.`);
  complain(failures, "moved back");
  countsChanged();
}

/** @param {Error[]} failures @param {string} what */
function complain(failures, what) {
  if (failures.length === 0) return;
  notify(`${number(failures.length)} could not be ${what}: ${failures[0].message}`, { error: true });
}

/**
 * Asks about one after the other, until it is said for all. A folder is never replaced: all that is
 * in it would be lost.
 * @param {Where} to
 */
function questions(to) {
  /** @type {Promise<unknown>} */
  let last = Promise.resolve();
  /** @type {Choice | null} */
  let forAll = null;
  /** @param {Entry} entry @returns {Promise<Choice>} */
  const ask = async (entry) => {
    const there = await findEntry(to.namespace, joined(to.folder, entry.name));
    const replaceable = entry.type === "file" && there?.type !== "folder";
    if (forAll && (forAll !== "replace" || replaceable)) return forAll;
    return await new Promise((resolve) => {
      /** @param {Choice} choice @param {boolean} all */
      const decide = (choice, all) => {
        if (all) forAll = choice;
        resolve(choice);
      };
      const place = placeName(to);
      open("move-clash", { entry, there, place, replaceable, decide });
    });
  };
  /** @param {Entry} entry @returns {Promise<Choice>} */
  return (entry) => {
    const mine = last.then(() => ask(entry));
    last = mine.catch(() => {}); // whoever asked is the one who gets it
    return mine;
  };
}
