// What is in the lines of a paragraph of Markdown, from the left to the right. Marks that may start
// something wait in `open` until what ends it is found.
import { visible } from "./format.js";
import { h } from "./vendor/preact.js";

const DEEPEST = 16; // marks that wait
const LONGEST_LABEL = 200;

const MARKS =
  /\\[!-/:-@[-`{-~\n]|`+|!?\[|\]|\*+|_+|~~?|<(?:https?:|mailto:)[^\s<>]*>|<[\w.+-]+@[\w.-]+>|\bhttps?:\/\/[^\s<>"]*[^\s<>"?!.,:;*_~')\]]|&(?:amp|lt|gt|quot|nbsp);| {2,}\n/g;
const TARGET =
  /\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*))(?:\s+(?:"[^"]*"|'[^']*'|\([^)]*\)))?\s*\)/y;
const REFERENCE = /\[([^[\]\n]{0,200})\]/y;
const ENTITIES = ["&amp;", "&lt;", "&gt;", "&quot;", "&nbsp;"];

/** @param {string} tag @param {MarkdownNode[]} children @param {object | null} props @returns {MarkdownNode} */
export const node = (tag, children, props = null) =>
  h(tag, props, children.map((one) => (typeof one === "string" ? visible(one) : one)));

/** @param {string} label */
export const keyOf = (label) => label.trim().replace(/\s+/g, " ").toLowerCase();

/** @param {string} text @param {Labels} labels @returns {MarkdownNode[]} */
export function inline(text, labels) {
  /** @type {MarkdownNode[]} */
  const out = [];
  /** @type {{ at: number, mark: string, count: number, from: number }[]} */
  let open = [];
  const unclosed = new Set(); // runs of ` that nothing ends from here on
  let at = 0;

  /** @param {MarkdownNode} mark @param {number} count @param {string} run @param {number} from */
  const wait = (mark, count, run, from) => {
    if (open.length < DEEPEST) open.push({ at: out.length, mark, count, from });
    out.push(run);
  };
  /** What waits last and may be ended by `mark`. @param {string} mark */
  const waiting = (mark) => open.findLastIndex((one) => one.mark === mark || one.mark === "[");

  /**
   * A run of *, _ or ~ ends what such ones have started; what is left of it may start another.
   * @param {string} run @param {string} before @param {string} after
   */
  function emphasis(run, before, after) {
    const [mark] = run;
    const [was, is] = [sortOf(before), sortOf(after)];
    const starts = is > 0 && (is > 1 || was < 2) && !(mark === "_" && was > 1);
    const ends = was > 0 && (was > 1 || is < 2) && !(mark === "_" && is > 1);
    let left = run.length;
    while (ends && left > 0) {
      const found = waiting(mark);
      const from = open[found];
      if (from?.mark !== mark || (mark === "~" && from.count !== left)) break;
      const used = Math.min(2, left, from.count);
      const inside = out.splice(from.at + 1);
      left -= used;
      from.count -= used;
      out[from.at] = mark.repeat(from.count);
      open = open.slice(0, found + (from.count ? 1 : 0));
      out.push(node(mark === "~" ? "del" : used === 2 ? "strong" : "em", inside));
    }
    if (starts && left > 0) wait(mark, left, mark.repeat(left), 0);
    else out.push(mark.repeat(left));
  }

  /** What is in brackets leads somewhere, or is only text. */
  function brackets() {
    const found = waiting("[");
    if (found < 0) return out.push("]");
    const from = open[found];
    open = open.slice(0, found);
    const [url, end] = targetOf(text, from.from, at, labels);
    if (url === undefined) return out.push("]");
    const [sign, ...inside] = out.splice(from.at);
    out.push(sign === "[" ? link(url, inside) : node("span", inside, { class: "soft" }));
    at = end;
  }

  /** @param {string} run */
  function code(run) {
    const end = unclosed.has(run) ? -1 : endOfCode(text, at, run);
    if (end < 0) {
      unclosed.add(run);
      return out.push(run);
    }
    const inside = text.slice(at, end - run.length).replace(/\n/g, " ");
    out.push(node("code", [inside.replace(/^ (.*\S.*) $/, "$1")]));
    at = end;
  }

  for (;;) {
    MARKS.lastIndex = at;
    const found = MARKS.exec(text);
    out.push(text.slice(at, found?.index));
    if (!found) return out;
    const [mark] = found;
    at = found.index + mark.length;
    if (mark.endsWith("\n")) out.push(node("br", []));
    else if (mark[0] === "\\") out.push(mark[1]);
    else if (mark[0] === "&") out.push('&<>"\u00a0'[ENTITIES.indexOf(mark)]);
    else if (mark[0] === "`") code(mark);
    else if (mark[0] === "<") out.push(link(mark.slice(1, -1), [mark.slice(1, -1)]));
    else if (mark[0] === "h") out.push(link(mark, [mark]));
    else if (mark === "]") brackets();
    else if (mark.endsWith("[")) wait("[", 1, mark, at);
    else emphasis(mark, text[found.index - 1], text[at]);
  }
}

/** 0 for a blank, 1 for punctuation, 2 for other letters. @param {string | undefined} letter */
const sortOf = (letter = " ") => (/\s/.test(letter) ? 0 : /[\p{P}\p{S}]/u.test(letter) ? 1 : 2);

/**
 * The end of the next run of ` that is as long as this one, or -1.
 * @param {string} text @param {number} from @param {string} run
 */
function endOfCode(text, from, run) {
  for (let at = text.indexOf(run, from); at >= 0; at = text.indexOf(run, at)) {
    const start = at;
    while (text[at] === "`") at += 1;
    if (at - start === run.length) return at;
  }
  return -1;
}

/**
 * Where the brackets lead that were opened before `from` and closed before `after`, and the end of
 * what says so.
 * @param {string} text @param {number} from @param {number} after @param {Labels} labels
 * @returns {[string | undefined, number]}
 */
function targetOf(text, from, after, labels) {
  TARGET.lastIndex = REFERENCE.lastIndex = after;
  const target = TARGET.exec(text);
  if (target) return [target[1] ?? target[2], TARGET.lastIndex];
  const [reference = "", label] = REFERENCE.exec(text) ?? [];
  const short = after - from <= LONGEST_LABEL;
  const key = keyOf(label || (short ? text.slice(from, after - 1) : ""));
  return [labels.get(key), after + reference.length];
}

/**
 * Only what leads to another place, and cannot run anything, is a link.
 * @param {string} url @param {MarkdownNode[]} inside
 */
function link(url, inside) {
  const href = /^[\w.+-]+@/.test(url) ? `mailto:${url}` : url;
  if (!/^(https?:\/\/|mailto:)/i.test(href)) return node("span", inside);
  return node("a", inside, { href, target: "_blank", rel: "noopener noreferrer" });
}
