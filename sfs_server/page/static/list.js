// The table of files, made for 100,000 of them and more: only the rows in sight are elements, and more
// are asked of the service when the end comes near.
//
// For keyboards it is one stop (a grid of ARIA): the arrows move, a letter goes to the next name that
// starts with it, Space selects, Enter opens, Backspace goes up a folder, Delete deletes, F2 renames,
// Ctrl+A selects all that is loaded. The row that has the focus stays an element even out of sight, or
// the focus would be lost; it is remembered by its path, because others change the list meanwhile.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import {
  go,
  open,
  rename,
  select,
  selectedEntries,
  selectNone,
  sortBy,
  view,
} from "./actions.js";
import { MOST, PAGE } from "./api.js";
import { compareNames, number } from "./format.js";
import { html } from "./html.js";
import { firstWith, loadMore } from "./listing.js";
import { addressOf, joined, nameOf, parentOf, placeIn, within } from "./places.js";
import { Row } from "./row.js";
import { HIGHEST, scrollToRow, useWindow } from "./scrolling.js";
import { FIRST, set, state as store } from "./store.js";
import { Icon } from "./ui.js";

const NEAR = 150; // rows before the end at which more are loaded
const MOST_SORTED = 1_000_000; // entries that are loaded to sort them
const MOST_LEFT = 50; // lists that one may go back to, and find the focus where it was
const TYPING_MS = 500; // between two letters of one name

// Sorted once for each list and order, not at each redraw.
/** @type {Sort & { entries: Entry[] | null, rows: Entry[] }} */
let sorted = { entries: null, key: "name", down: false, rows: [] };

/** @param {Sort} sort */
const isAsListed = ({ key, down }) => key === "name" && !down;

/**
 * Folders stay first, and what is equal stays in the order of the names. Only a list that is whole
 * has another order than the service's.
 * @param {Loaded} files @param {Sort} sort
 */
export function inOrder({ entries, after }, sort) {
  const { key, down } = sort;
  if (after !== null || isAsListed(sort)) return entries;
  if (sorted.entries !== entries || sorted.key !== key || sorted.down !== down) {
    const sign = down ? -1 : 1;
    const inside = (/** @type {Entry[]} */ part) =>
      key === "name" ? part.reverse() : part.sort((a, b) => sign * (a[key] - b[key]));
    const folders = entries.filter(({ type }) => type === "folder");
    const rows = inside(folders).concat(inside(entries.filter(({ type }) => type === "file")));
    sorted = { entries, key, down, rows };
  }
  return sorted.rows;
}

/** In the order in which they are shown. */
export const rowsShown = () => inOrder(store.files, store.place.sort);

/**
 * Where to go in a list: to a row, by its path, or to the end (""). It is to be at the top of the
 * window, or to get the focus: where it is, in the window, or as by a key.
 * @typedef {{ path: string, how: "top" | "focus" | "near" | "key", range?: boolean }} Goal
 */

// Which list was left last; and by the addresses of lists, the rows that had the focus.
/** @type {Place | null} */
let left = null;
/** @type {Map<string, string>} */
const leftAt = new Map();

/** @param {Place} place */
const listOf = ({ namespace, folder, find }) => addressOf({ ...placeIn(namespace, folder), find });

/**
 * The path of the row that gets the focus where a list comes into sight again: of the folder that
 * somebody comes from, or of the row that had it.
 * @param {Place} place
 */
function comesFrom(place) {
  const { namespace, folder, find } = place;
  const from = left?.namespace === namespace && !find ? left.folder : folder;
  if (from === folder || !within(from, folder)) return leftAt.get(listOf(place)) ?? "";
  const [name] = from.slice(folder ? folder.length + 1 : 0).split("/");
  return joined(folder, name);
}

/** Whether the focus waits for the list, and nobody has moved it since. */
const isFocusFree = () =>
  store.focusOn === FIRST && Boolean(document.activeElement?.matches("h1, body"));

/**
 * The place of a row of that number, or of the last one.
 * @param {Entry[]} rows @param {number} most
 */
const at = (rows, most) => Math.max(0, Math.min(most, rows.length - 1));

/** @param {{ state: State, writable: boolean }} props */
export function List({ state, writable }) {
  const { files, selected, place } = state;
  const { sort } = place;
  const rows = inOrder(files, sort);
  const body = useRef(/** @type {any} */ (null));
  /** @type {{ current: Goal[] }} what is to be gone to once it is loaded */
  const goals = useRef([]);
  const [focus, setFocus] = useState({ path: "", at: 0, move: false, scroll: false, anchor: "" });
  const typed = useRef({ text: "", time: 0 });
  const current = useMemo(() => {
    if (focus.path !== rows[focus.at]?.path) {
      const found = rows.findIndex(({ path }) => path === focus.path);
      focus.at = at(rows, found < 0 ? focus.at : found);
      focus.path = rows[focus.at].path;
    }
    return focus.at;
  }, [rows, focus]);
  const order = files.after === null && !isAsListed(sort) ? `${sort.key} ${sort.down}` : "";
  const span = useWindow(body, rows, order, (index) => {
    if (goals.current.length || store.place.file || listOf(store.place) !== listOf(place)) return;
    const { folder } = place;
    const name = index ? rows[index]?.path.slice(folder ? folder.length + 1 : 0) : "";
    if (name === undefined || name === store.place.at) return;
    const now = { ...store.place, at: name };
    history.replaceState(history.state, "", addressOf(now));
    set({ place: now });
  });

  /** @param {number} to @param {Partial<typeof focus>} how */
  const focusOn = (to, how = {}) => {
    const { path } = rows[to];
    setFocus({ path, at: to, move: true, scroll: true, anchor: path, ...how });
  };
  /**
   * Goes there; or false, where it may still come.
   * @param {Goal} goal
   */
  const reached = ({ path, how, range = false }) => {
    const whole = files.after === null;
    const to = path ? rows.findIndex((row) => row.path === path) : whole ? rows.length - 1 : -1;
    const isPassed = path && isAsListed(sort) && compareNames(nameOf(path), files.after ?? "") <= 0;
    if (to < 0 && !whole && !isPassed) return false;
    if (how === "focus" || how === "near") {
      focusOn(Math.max(0, to), { move: isFocusFree(), scroll: how === "near" });
      if (store.focusOn === FIRST) set({ focusOn: "" });
    } else if (to >= 0) {
      if (how === "top") scrollToRow(body.current, rows.length, to);
      else moveTo(to, range);
    }
    return true;
  };

  useLayoutEffect(() => {
    const path = comesFrom(place);
    const top = place.at && joined(place.folder, place.at);
    if (top) goals.current.push({ path: top, how: "top" });
    if (path) goals.current.push({ path, how: top ? "focus" : "near" });
    else if (isFocusFree()) goals.current.push({ path: top || rows[0].path, how: "focus" });
    const drop = () => (goals.current = isFocusFree() ? goals.current.slice(-1) : []);
    const signs = ["wheel", "touchstart", "pointerdown", "keydown"]; // somebody goes elsewhere
    for (const sign of signs) addEventListener(sign, drop, { capture: true, passive: true });
    return () => {
      for (const sign of signs) removeEventListener(sign, drop, { capture: true });
      left = place;
    };
  }, []);
  useLayoutEffect(() => {
    const key = listOf(place);
    leftAt.delete(key);
    leftAt.set(key, focus.path);
    if (leftAt.size > MOST_LEFT) leftAt.delete([...leftAt.keys()][0]);
  }, [focus.path]);

  const inside = body.current?.contains(document.activeElement);
  useLayoutEffect(() => {
    const to = state.focusOn ? rows.findIndex(({ path }) => path === state.focusOn) : -1;
    if (to >= 0) {
      set({ focusOn: "" });
      focusOn(to);
    } else if (inside && !body.current.contains(document.activeElement)) {
      focusOn(current, { scroll: false }); // what had it is gone
    }
  });
  useLayoutEffect(() => {
    if (focus.move) {
      body.current.querySelector(`[data-at="${current}"]`)?.focus({ preventScroll: true });
    }
    if (focus.scroll) scrollToRow(body.current, rows.length, current, true);
  }, [focus]);
  useEffect(() => {
    if (files.loading || files.error) return;
    while (goals.current.length && reached(goals.current[0])) goals.current.shift();
    const far = goals.current.length > 0;
    if (files.after === null) return;
    if (!isAsListed(sort)) {
      if (rows.length < MOST_SORTED) loadMore(MOST);
    } else if (far) loadMore(MOST);
    else if (span.last > rows.length - NEAR) loadMore(Math.max(PAGE, Math.min(rows.length, MOST)));
  });

  /** @param {number} to @param {boolean} range */
  const moveTo = (to, range) => {
    const next = at(rows, to);
    if (range) selectRange(next);
    focusOn(next, range ? { anchor: focus.anchor } : {});
  };
  /** @param {number} to from where the range was started */
  const selectRange = (to) => {
    const from = at(rows, rows.findIndex(({ path }) => path === focus.anchor));
    select(rows.slice(Math.min(from, to), Math.max(from, to) + 1).map(({ path }) => path));
  };
  /** @param {number} index @param {boolean} range */
  const toggle = (index, range) => {
    if (range) selectRange(index);
    else select([rows[index].path], !selected.has(rows[index].path));
    const anchor = range ? focus.anchor : rows[index].path;
    focusOn(index, { move: false, scroll: false, anchor });
  };
  const remove = () => {
    const chosen = selectedEntries();
    if (writable) open("delete-entries", { entries: chosen.length ? chosen : [rows[current]] });
  };
  /** @param {boolean} range */
  const toEnd = (range) => {
    if (files.after === null) return moveTo(rows.length, range);
    goals.current = [{ path: "", how: "key", range }];
    setFocus({ ...focus, move: false, scroll: false });
  };
  /** @param {string} letter of a name that is typed */
  const type = async (letter) => {
    const now = performance.now();
    const { text: before, time } = typed.current;
    const text = (now - time < TYPING_MS ? before : "") + letter;
    typed.current = { text, time: now };
    const again = text.split("").every((one) => one === letter);
    const wanted = (again ? letter : text).toLowerCase();
    const start = again ? current + 1 : current;
    for (let n = 0; n < rows.length; n += 1) {
      const to = (start + n) % rows.length;
      if (rows[to].name.toLowerCase().startsWith(wanted)) return moveTo(to, false);
    }
    const path = files.after === null ? "" : await firstWith(text);
    if (!path || typed.current.text !== text) return;
    goals.current = [{ path, how: "key" }];
    loadMore(MOST);
  };

  /** @param {KeyboardEvent & ElementEvent} event */
  const onKeyDown = (event) => {
    const { key, target, shiftKey: range } = event;
    const command = event.ctrlKey || event.metaKey;
    if (target.matches("input:not([type=checkbox])")) return;
    if (target.matches("button, a") && ["Enter", " "].includes(key)) return;
    const isTyping = performance.now() - typed.current.time < TYPING_MS;
    const page = Math.max(1, Math.floor(innerHeight / span.height) - 2);
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -current };
    const step = steps[key];
    if (key === "Backspace" || (key === "ArrowUp" && event.altKey)) {
      if (!place.folder) return;
      go({ ...placeIn(place.namespace, parentOf(place.folder)), sort });
    } else if (event.altKey) return;
    else if (step !== undefined) moveTo(current + step, range);
    else if (key === "End") toEnd(range);
    else if (key === " " && !isTyping) {
      if (target.matches("input")) return;
      toggle(current, range);
    } else if (key === "Enter") view(rows[current]);
    else if (key === "Delete") remove();
    else if (key === "F2" && writable) rename(rows[current]);
    else if (key === "a" && command) select(rows.map(({ path }) => path));
    else if (key === "Escape") selectNone();
    else if (key.length === 1 && !command) type(key);
    else return;
    event.preventDefault();
  };

  const first = Math.min(span.first, Math.max(0, rows.length - 1));
  const drawn = [];
  for (let i = first; i < Math.min(span.last, rows.length); i += 1) drawn.push(i);
  if (current < first) drawn.unshift(current);
  else if (current >= span.last) drawn.push(current);
  /** @param {number} i */
  const topOf = (i) =>
    span.shift ? `${i * span.height - span.shift}px` : `calc(var(--row) * ${i})`;

  return html`<div class="list" role="grid" aria-label="Files" aria-multiselectable="true"
      aria-rowcount=${files.after === null ? rows.length + 1 : -1} onKeyDown=${onKeyDown}>
      <${Head} state=${state} rows=${rows} />
      <div class="list-body" role="rowgroup" ref=${body}
        style=${{ height: `min(calc(var(--row) * ${rows.length}), ${HIGHEST}px)` }}>
        ${drawn.map(
          (i) => html`<${Row} key=${rows[i].path} entry=${rows[i]} at=${i} writable=${writable}
          top=${topOf(i)} selected=${selected.has(rows[i].path)} current=${i === current}
          renaming=${state.renaming === rows[i].path}
          fresh=${state.fresh.has(rows[i].path)}
          onToggle=${toggle}
          onFocus=${() => i !== current && focusOn(i, { move: false, scroll: false })} />`,
        )}
      </div>
    </div>
    <${More} files=${files} sort=${sort} />`;
}

/** @param {{ state: State, rows: Entry[] }} props */
function Head({ state, rows }) {
  const { selected } = state;
  const { sort } = state.place;
  const all = rows.length > 0 && selected.size === rows.length;
  /** @param {SortKey} key @param {string} label */
  const sortable = (key, label) => html`<span role="columnheader" class=${`c-${key}`}
    aria-sort=${sort.key === key ? (sort.down ? "descending" : "ascending") : "none"}>
    <button type="button" onClick=${() => sortBy(key)}>
      ${label}${sort.key === key && html`<${Icon} name=${sort.down ? "down" : "up"} size="14" />`}
    </button>
  </span>`;
  return html`<div role="rowgroup"><div class="list-head" role="row" aria-rowindex="1">
    <span role="columnheader" class="c-check">
      <label>
        <input type="checkbox" aria-label="Select all that is loaded" checked=${all}
          onClick=${all ? selectNone : () => select(rows.map(({ path }) => path))} />
      </label>
    </span>
    ${sortable("name", "Name")}${sortable("size", "Size")}${sortable("modified_at", "Modified")}
    <span role="columnheader" class="c-actions"><span class="unseen">Actions</span></span>
  </div></div>`;
}

/** @param {{ files: Loaded, sort: Sort }} props */
function More({ files, sort }) {
  if (files.error) {
    return html`<p class="more" role="alert">
      ${files.error.message}
      <button type="button" class="quiet" onClick=${() => loadMore()}>Try again</button>
    </p>`;
  }
  if (files.cut) {
    return html`<p class="more">There is more than this: type more of the name.</p>`;
  }
  if (files.after === null) return null;
  if (isAsListed(sort)) return html`<p class="more">Loading more…</p>`;
  const loaded = files.entries.length;
  if (loaded >= MOST_SORTED) {
    return html`<p class="more" role="alert">
      There are more than ${number(MOST_SORTED)}: too many to sort them. They are listed by name.
    </p>`;
  }
  return html`<p class="more" role="status">
    Loading all to sort them: ${number(loaded)} so far…
  </p>`;
}
