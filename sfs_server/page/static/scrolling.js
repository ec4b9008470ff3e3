// Which rows of a long list are in the window. Where rows come or go above, the window stays at the
// row that it was at.
//
// Browsers draw no element that is higher than some limit (17 million px in Firefox, 33 in Chromium).
// A list of more rows than fit is as high as it may be, and is scrolled through in larger steps: its
// rows are moved against the scrolling, by what is `shift`.
import { useLayoutEffect, useRef, useState } from "./vendor/hooks.js";

const BEYOND = 12; // rows drawn above and below the window
export const HIGHEST = 15_000_000; // px
const STILL_MS = 400; // after which scrolling has ended
const NEAREST = 100; // rows of which one is looked for, where the first in the window is gone

/**
 * `y` is how far the list is scrolled, in px of the page, and `top` in px of rows; `edge` is how much of
 * the window its head covers.
 * @param {HTMLElement} body @param {number} count of rows
 */
function measured(body, count) {
  const height = parseFloat(getComputedStyle(body).getPropertyValue("--row"));
  const head = /** @type {HTMLElement} */ (body.previousElementSibling?.firstElementChild);
  const edge = parseFloat(getComputedStyle(head).top) + head.offsetHeight;
  const all = count * height;
  const most = Math.min(all, HIGHEST) - innerHeight;
  const scale = all > HIGHEST ? (all - innerHeight) / most : 1;
  const y = -body.getBoundingClientRect().top;
  const top = y + Math.max(0, Math.min(y, most)) * (scale - 1);
  return { height, edge, scale, y, top };
}

/** @param {ReturnType<typeof measured>} now @param {number} top */
const scrollTop = ({ scale, y }, top) =>
  scrollBy({ top: (top > 0 ? top / scale : top) - y, behavior: "instant" });

/**
 * Has a row at the top of the window; or `nearest`, in it, by as little scrolling as that takes.
 * @param {HTMLElement} body @param {number} count @param {number} index
 */
export function scrollToRow(body, count, index, nearest = false) {
  const now = measured(body, count);
  const above = index * now.height - now.edge;
  const below = (index + 1) * now.height - innerHeight;
  if (!nearest || above < now.top) scrollTop(now, above);
  else if (below > now.top) scrollTop(now, below);
}

/**
 * The rows to be drawn, from `first` to before `last`. `order` names the order that they are in.
 * `still(index)`: scrolling has ended, with that row at the top of the window.
 * @param {{ current: HTMLElement | null }} body @param {Entry[]} rows @param {string} order
 * @param {(index: number) => void} still
 */
export function useWindow(body, rows, order, still) {
  const [span, setSpan] = useState({ first: 0, last: 40, height: 56, shift: 0 });
  const known = useRef({ rows, order, index: 0, top: 0, scrolled: false });
  useLayoutEffect(() => {
    let frame = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const measure = () => {
      frame = 0;
      if (!body.current) return;
      const { height, edge, top, y } = measured(body.current, rows.length);
      const first = Math.max(0, Math.floor(top / height) - BEYOND);
      const last = Math.max(0, Math.ceil((top + innerHeight) / height) + BEYOND);
      const next = { first, last, height, shift: top - y };
      setSpan((old) =>
        Object.entries(old).some(([key, value]) => next[/** @type {"first"} */ (key)] !== value)
          ? next
          : old,
      );
      const index = Math.max(0, Math.floor((top + edge) / height));
      known.current = { rows, order, index, top: index * height - top, scrolled: top + edge > 0 };
    };
    if (body.current) stay(body.current, known.current, rows, order);
    measure();
    const ended = () => {
      clearTimeout(timer);
      if (timer) still(known.current.scrolled ? known.current.index : 0);
      timer = undefined;
    };
    const later = () => (frame ||= requestAnimationFrame(measure));
    const scrolled = () => {
      clearTimeout(timer);
      timer = setTimeout(ended, STILL_MS);
      later();
    };
    const signs = ["pointerdown", "keydown"]; // of what may lead somewhere else
    addEventListener("scroll", scrolled, { passive: true });
    addEventListener("resize", later);
    for (const sign of signs) addEventListener(sign, ended, true);
    return () => {
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      removeEventListener("scroll", scrolled);
      removeEventListener("resize", later);
      for (const sign of signs) removeEventListener(sign, ended, true);
    };
  }, [rows, order]);
  return span;
}

/**
 * @param {HTMLElement} body
 * @param {{ rows: Entry[], order: string, index: number, top: number, scrolled: boolean }} before
 * @param {Entry[]} rows @param {string} order
 */
function stay(body, before, rows, order) {
  if (!before.scrolled || before.rows === rows) return;
  if (before.order !== order) return scrollToRow(body, rows.length, 0);
  for (let n = before.index; n < Math.min(before.rows.length, before.index + NEAREST); n += 1) {
    const { path } = before.rows[n];
    const to = rows[n]?.path === path ? n : rows.findIndex((row) => row.path === path);
    if (to < 0) continue;
    const now = measured(body, rows.length);
    const top = (to - n + before.index) * now.height - before.top;
    if (Math.abs(top - now.top) >= 1) scrollTop(now, top);
    return;
  }
}
