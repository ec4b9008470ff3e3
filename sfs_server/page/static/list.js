// The table of files, made for 100,000 of them: only the rows in sight are elements, and more are
// asked of the service when the end comes near.
//
// For keyboards it is one stop (a grid of ARIA): the arrows move, Space selects, Enter opens,
// Delete deletes, Ctrl+A selects all that is loaded. The row that has the focus stays an element
// even out of sight, or the focus would be lost.
import { useEffect, useLayoutEffect, useRef, useState } from "./vendor/hooks.js";
import { loadMore, open, select, selectedFiles, selectNone, sortBy, view } from "./actions.js";
import { compareNames, count } from "./format.js";
import { html } from "./html.js";
import { Row } from "./row.js";
import { Icon } from "./ui.js";

const BEYOND = 12; // rows drawn above and below the window
const NEAR = 150; // rows before the end at which more are loaded

/** @type {Record<SortKey, (a: StoredFile, b: StoredFile) => number>} */
const ORDERS = {
  name: (a, b) => compareNames(a.name, b.name),
  size: (a, b) => a.size - b.size || compareNames(a.name, b.name),
  modified_at: (a, b) => a.modified_at - b.modified_at || compareNames(a.name, b.name),
};

// Sorted once for each list and order, not at each redraw.
/** @type {Sort & { entries: StoredFile[] | null, rows: StoredFile[] }} */
let sorted = { entries: null, key: "name", down: false, rows: [] };

/** @param {StoredFile[]} entries @param {Sort} sort */
function inOrder(entries, { key, down }) {
  if (key === "name" && !down) return entries;
  if (sorted.entries !== entries || sorted.key !== key || sorted.down !== down) {
    const order = ORDERS[key];
    const rows = [...entries].sort(down ? (a, b) => order(b, a) : order);
    sorted = { entries, key, down, rows };
  }
  return sorted.rows;
}

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
  const { files, sort, selected } = state;
  const rows = inOrder(files.entries, sort);
  const byName = sort.key === "name" && !sort.down;
  const body = useRef(/** @type {any} */ (null));
  const span = useWindow(body, rows.length);
  const [focus, setFocus] = useState({ at: 0, move: false, anchor: 0 });
  const at = Math.min(focus.at, rows.length - 1);

  useEffect(() => {
    if (byName && files.next && !files.error && span.last > rows.length - NEAR) loadMore();
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
    select(rows.slice(Math.min(from, to), Math.max(from, to) + 1).map((file) => file.name));
  /** @param {number} index @param {boolean} range */
  const toggle = (index, range) => {
    if (range) selectRange(focus.anchor, index);
    else select([rows[index].name], !selected.has(rows[index].name));
    setFocus({ at: index, move: false, anchor: range ? focus.anchor : index });
  };
  const remove = () => {
    const chosen = selectedFiles();
    if (writable) open("delete-files", { files: chosen.length ? chosen : [rows[at]] });
  };

  /** @param {KeyboardEvent & ElementEvent} event */
  const onKeyDown = (event) => {
    if (event.target.matches("button") && ["Enter", " "].includes(event.key)) return;
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
    else if (event.key === "a" && (event.ctrlKey || event.metaKey))
      select(rows.map((file) => file.name));
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
      aria-rowcount=${files.next ? -1 : rows.length + 1} onKeyDown=${onKeyDown}>
      <${Head} state=${state} rows=${rows} />
      <div class="list-body" role="rowgroup" ref=${body}
        style=${{ height: `calc(var(--row) * ${rows.length})` }}>
        ${drawn.map(
          (i) => html`<${Row} key=${rows[i].name} file=${rows[i]} at=${i} writable=${writable}
          selected=${selected.has(rows[i].name)} current=${i === at}
          onToggle=${toggle}
          onFocus=${() => i !== at && setFocus({ at: i, move: false, anchor: i })} />`,
        )}
      </div>
    </div>
    <${More} files=${files} byName=${byName} />`;
}

/** @param {{ state: State, rows: StoredFile[] }} props */
function Head({ state, rows }) {
  const { sort, selected } = state;
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
      <input type="checkbox" aria-label="Select all files that are loaded" checked=${all}
        onClick=${all ? selectNone : () => select(rows.map((file) => file.name))} />
    </span>
    ${sortable("name", "Name")}${sortable("size", "Size")}${sortable("modified_at", "Modified")}
    <span role="columnheader" class="c-actions"><span class="unseen">Actions</span></span>
  </div></div>`;
}

/** @param {{ files: LoadedFiles, byName: boolean }} props */
function More({ files, byName }) {
  if (files.error) {
    return html`<p class="more" role="alert">
      ${files.error.message}
      <button type="button" class="quiet" onClick=${loadMore}>Try again</button>
    </p>`;
  }
  if (!files.next) return null;
  if (byName) return html`<p class="more">Loading more…</p>`;
  return html`<p class="more">
    Sorted among the ${count(files.entries.length, "file")} loaded so far; the service sorts by
    name.
    <button type="button" class="quiet" disabled=${files.loading} onClick=${loadMore}>
      Load more
    </button>
  </p>`;
}
