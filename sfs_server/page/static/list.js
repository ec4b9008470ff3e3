// The table of files, made for 100,000 of them: only the rows in sight are elements, and more are
// asked of the service when the end comes near.
//
// For keyboards it is one stop (a grid of ARIA): the arrows move, Space selects, Enter opens,
// Delete deletes, F2 renames, Ctrl+A selects all that is loaded. The row that has the focus stays an element
// even out of sight, or the focus would be lost.
import { useEffect, useLayoutEffect, useRef, useState } from "./vendor/hooks.js";
import { open, rename, select, selectedEntries, selectNone, sortBy, view } from "./actions.js";
import { compareNames, number } from "./format.js";
import { html } from "./html.js";
import { loadAll, loadMore } from "./listing.js";
import { Row } from "./row.js";
import { FIRST, set, state as store } from "./store.js";
import { Icon } from "./ui.js";

const BEYOND = 12; // rows drawn above and below the window
const NEAR = 150; // rows before the end at which more are loaded

/** @type {Record<SortKey, (a: Entry, b: Entry) => number>} */
const ORDERS = {
  name: (a, b) => compareNames(a.path, b.path),
  size: (a, b) => a.size - b.size || compareNames(a.path, b.path),
  modified_at: (a, b) => a.modified_at - b.modified_at || compareNames(a.path, b.path),
};

// Sorted once for each list and order, not at each redraw.
/** @type {Sort & { entries: Entry[] | null, rows: Entry[] }} */
let sorted = { entries: null, key: "name", down: false, rows: [] };

/** @param {Sort} sort */
const isAsListed = ({ key, down }) => key === "name" && !down;

/**
 * Folders stay first. Only a list that is whole has another order than the service's.
 * @param {Loaded} files @param {Sort} sort
 */
export function inOrder({ entries, after }, sort) {
  const { key, down } = sort;
  if (after !== null || isAsListed(sort)) return entries;
  if (sorted.entries !== entries || sorted.key !== key || sorted.down !== down) {
    const order = ORDERS[key];
    const inside = (/** @type {Entry[]} */ part) => part.sort(down ? (a, b) => order(b, a) : order);
    const folders = entries.filter(({ type }) => type === "folder");
    const rows = inside(folders).concat(inside(entries.filter(({ type }) => type === "file")));
    sorted = { entries, key, down, rows };
  }
  return sorted.rows;
}

/** In the order in which they are shown. */
export const rowsShown = () => inOrder(store.files, store.place.sort);

/** @param {{ current: HTMLElement | null }} body @param {number} length */
function useWindow(body, length) {
  const [span, setSpan] = useState({ first: 0, last: 40, height: 56 });
  useLayoutEffect(() => {
    let frame = 0;
    const measure = () => {
      frame = 0;
      if (!body.current) return;
      const height = parseFloat(getComputedStyle(body.current).getPropertyValue("--row"));
      const top = -body.current.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(top / height) - BEYOND);
      const last = Math.max(0, Math.ceil((top + innerHeight) / height) + BEYOND);
      setSpan((old) =>
        old.first === first && old.last === last && old.height === height
          ? old
          : { first, last, height },
      );
    };
    const later = () => (frame ||= requestAnimationFrame(measure));
    measure();
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", later);
      removeEventListener("resize", later);
    };
  }, [length]);
  return span;
}

/** @param {{ state: State, writable: boolean }} props */
export function List({ state, writable }) {
  const { files, selected, place } = state;
  const { sort } = place;
  const rows = inOrder(files, sort);
  const body = useRef(/** @type {any} */ (null));
  const span = useWindow(body, rows.length);
  const [focus, setFocus] = useState({ at: 0, move: false, anchor: 0 });
  const at = Math.min(focus.at, rows.length - 1);

  useEffect(() => {
    if (files.after === null || files.error) return;
    if (!isAsListed(sort)) loadAll();
    else if (span.last > rows.length - NEAR) loadMore();
  });
  useLayoutEffect(() => {
    const { focusOn } = state;
    const to = focusOn
      ? rows.findIndex(({ path }) => path === focusOn || focusOn === FIRST)
      : -1;
    if (to < 0) return; // it may come later
    set({ focusOn: "" });
    setFocus({ at: to, move: true, anchor: to });
  });
  useLayoutEffect(() => {
    if (!focus.move) return;
    const row = body.current.querySelector(`[data-at="${at}"]`);
    row?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  }, [focus]);

  /** @param {number} to @param {boolean} range */
  const moveTo = (to, range) => {
    const next = Math.max(0, Math.min(to, rows.length - 1));
    if (range) selectRange(focus.anchor, next);
    setFocus({ at: next, move: true, anchor: range ? focus.anchor : next });
  };
  /** @param {number} from @param {number} to */
  const selectRange = (from, to) =>
    select(rows.slice(Math.min(from, to), Math.max(from, to) + 1).map(({ path }) => path));
  /** @param {number} index @param {boolean} range */
  const toggle = (index, range) => {
    if (range) selectRange(focus.anchor, index);
    else select([rows[index].path], !selected.has(rows[index].path));
    setFocus({ at: index, move: false, anchor: range ? focus.anchor : index });
  };
  const remove = () => {
    const chosen = selectedEntries();
    if (writable) open("delete-entries", { entries: chosen.length ? chosen : [rows[at]] });
  };

  /** @param {KeyboardEvent & ElementEvent} event */
  const onKeyDown = (event) => {
    if (event.target.matches("button, a") && ["Enter", " "].includes(event.key)) return;
    const page = Math.max(1, Math.floor(innerHeight / span.height) - 2);
    /** @type {Record<string, number>} */
    const steps = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -at,
      End: rows.length,
    };
    const step = steps[event.key];
    if (step !== undefined) moveTo(at + step, event.shiftKey);
    else if (event.key === " " && !event.target.matches("input")) toggle(at, event.shiftKey);
    else if (event.key === "Enter") view(rows[at]);
    else if (event.key === "Delete") remove();
    else if (event.key === "F2" && writable) rename(rows[at]);
    else if (event.key === "a" && (event.ctrlKey || event.metaKey))
      select(rows.map(({ path }) => path));
    else if (event.key === "Escape") selectNone();
    else return;
    event.preventDefault();
  };

  const first = Math.min(span.first, Math.max(0, rows.length - 1));
  const drawn = [];
  for (let i = first; i < Math.min(span.last, rows.length); i += 1) drawn.push(i);
  if (at < first) drawn.unshift(at);
  else if (at >= span.last) drawn.push(at);

  return html`<div class="list" role="grid" aria-label="Files" aria-multiselectable="true"
      aria-rowcount=${files.after === null ? rows.length + 1 : -1} onKeyDown=${onKeyDown}>
      <${Head} state=${state} rows=${rows} />
      <div class="list-body" role="rowgroup" ref=${body}
        style=${{ height: `calc(var(--row) * ${rows.length})` }}>
        ${drawn.map(
          (i) => html`<${Row} key=${rows[i].path} entry=${rows[i]} at=${i} writable=${writable}
          selected=${selected.has(rows[i].path)} current=${i === at}
          renaming=${state.renaming === rows[i].path}
          fresh=${state.fresh.has(rows[i].path)}
          onToggle=${toggle}
          onFocus=${() => i !== at && setFocus({ at: i, move: false, anchor: i })} />`,
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
  return html`<p class="more" role="status">
    Loading all to sort them: ${number(files.entries.length)} so far…
  </p>`;
}
