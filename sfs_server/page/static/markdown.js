// Markdown (CommonMark, and GitHub's tables, task lists and strikethrough) as nodes of Preact: no
// markup is made at any time, and raw HTML is text like other text. A picture is its description
// (to fetch it would tell its server who reads this), and only links to elsewhere are links.
import { visible } from "./format.js";
import { h } from "./vendor/preact.js";

const DEEPEST = 16; // of lists and quotes in each other, and of marks that wait for their ends
const LONGEST_LABEL = 200;

const FENCE = /^ {0,3}(`{3,}|~{3,})[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?: (.*?))?(?: #+)? *$/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^ {0,3}([-*+]|\d{1,9}[.)])( +|$)/;
const CODE = /^ {4}/;
const UNDERLINE = /^ {0,3}(=+|-+) *$/;
const COLUMNS = /^ {0,3}\|? *:?-+:? *(\| *:?-+:? *)*\|? *$/;
const LABEL = /^ {0,3}\[([^\]]{1,200})\]: *<?([^\s>]+)>?/;

/** @typedef {(test: (line: string) => unknown) => string[]} Take the next lines that pass it */

/** @param {string} tag @param {MarkdownNode[]} children @param {object | null} props @returns {MarkdownNode} */
const node = (tag, children, props = null) =>
  h(tag, props, children.map((one) => (typeof one === "string" ? visible(one) : one)));

/** @param {string} label */
const keyOf = (label) => label.trim().replace(/\s+/g, " ").toLowerCase();

/** @param {string} text */
export function readMarkdown(text) {
  const lines = text.split(/\r\n?|\n/).map(withoutTabs);
  /** @type {Labels} */
  const labels = new Map();
  for (const line of lines) {
    const [, label, url] = LABEL.exec(line) ?? [];
    if (label && !labels.has(keyOf(label))) labels.set(keyOf(label), url);
  }
  return blocks(lines, labels, 0);
}

/** @param {string} line */
const withoutTabs = (line) =>
  line.split("\t").reduce((made, part) => made.padEnd(made.length - (made.length % 4) + 4) + part);

/** @param {string[]} lines @param {number} indent */
function codeOf(lines, indent) {
  const text = lines.map((line) => line.slice(Math.min(indent, line.search(/\S|$/)))).join("\n");
  return node("pre", [node("code", [text])]);
}

/**
 * The dialog's own heading is of the second level: those in it go on from there.
 * @param {number} level @param {MarkdownNode[]} children
 */
const heading = (level, children) => node(`h${Math.min(level + 2, 6)}`, children);

/**
 * Whether a paragraph ends before this line.
 * @param {string} line
 */
function interrupts(line) {
  const [, mark, gap] = ITEM.exec(line) ?? [];
  if (gap && /^(\D|1\D)/.test(mark)) return true;
  return !line.trim() || [FENCE, HEADING, RULE, QUOTE].some((start) => start.test(line));
}

/** @param {string[]} lines @param {Labels} labels @param {number} depth @returns {MarkdownNode[]} */
function blocks(lines, labels, depth) {
  let at = 0;
  /** @type {Take} */
  const take = (test) => {
    const from = at;
    while (at < lines.length && test(lines[at])) at += 1;
    return lines.slice(from, at);
  };
  const next = () => {
    const line = lines[at];
    const [, fence] = FENCE.exec(line) ?? [];
    const [, level, title = ""] = HEADING.exec(line) ?? [];
    if (CODE.test(line)) {
      const text = take((one) => CODE.test(one) || !one.trim()).join("\n").trimEnd();
      return codeOf(text.split("\n"), 4);
    }
    if (depth < DEEPEST && !RULE.test(line) && ITEM.test(line)) return list(take, labels, depth + 1);
    at += 1;
    if (fence) {
      const end = new RegExp(`^ {0,3}${fence}${fence[0]}* *$`);
      const inside = take((one) => !end.test(one));
      at += 1;
      return codeOf(inside, line.indexOf(fence));
    }
    if (level) return heading(level.length, inline(title, labels));
    if (RULE.test(line)) return node("hr", []);
    if (depth < DEEPEST && QUOTE.test(line)) {
      const inside = [line, ...take((one) => QUOTE.test(one) || !interrupts(one))];
      const bare = inside.map((one) => one.replace(QUOTE, ""));
      return node("blockquote", blocks(bare, labels, depth + 1));
    }
    if (isTable(line, lines[at])) {
      return table(line, take((one) => one.trim() && !QUOTE.test(one)), labels);
    }
    if (LABEL.test(line)) return null;
    const text = [line, ...take((one) => !interrupts(one) && !UNDERLINE.test(one))];
    const inside = inline(text.map((one) => one.trimStart()).join("\n").trimEnd(), labels);
    const [, under] = UNDERLINE.exec(lines[at] ?? "") ?? [];
    if (!under) return node("p", inside);
    at += 1;
    return heading(under[0] === "=" ? 1 : 2, inside);
  };
  const out = [];
  while (at < lines.length) {
    if (lines[at].trim()) out.push(next());
    else at += 1;
  }
  return out;
}

/** @param {Take} take @param {Labels} labels @param {number} depth */
function list(take, labels, depth) {
  /** @type {string[][]} */
  const items = [];
  let kind = "";
  let start = "";
  let width = 0;
  let blank = false;
  let loose = false;
  take((line) => {
    const [marker = "", mark = "", gap = ""] = ITEM.exec(line) ?? [];
    const wasBlank = blank;
    blank = !line.trim();
    if (items.length > 0 && (blank || line.search(/\S/) >= width)) {
      items[items.length - 1].push(line.slice(width));
    } else if (mark && (!kind || kind === mark.slice(-1)) && !RULE.test(line)) {
      loose ||= wasBlank;
      start ||= mark.slice(0, -1);
      kind = mark.slice(-1);
      width = marker.length - (gap.length > 4 ? gap.length - 1 : 0);
      items.push([line.slice(width)]);
    } else if (!wasBlank && !interrupts(line)) items[items.length - 1].push(line);
    else return false;
    return true;
  });
  loose ||= items.some((lines) => /\S\n\n+\S/.test(lines.join("\n")));
  const children = items.map((lines) => item(lines, labels, depth, loose));
  return start ? node("ol", children, { start: Number(start) }) : node("ul", children);
}

/** @param {string[]} lines @param {Labels} labels @param {number} depth @param {boolean} loose */
function item([first, ...others], labels, depth, loose) {
  const [, box, rest = first] = /^\[([ xX])\] +(.*)$/.exec(first) ?? [];
  const inside = blocks([rest, ...others], labels, depth).flatMap((child) =>
    !loose && child?.type === "p" ? child.props.children : [child],
  );
  if (!box) return node("li", inside);
  const [sign, label] = box === " " ? ["☐", "to do"] : ["☑", "done"];
  return node("li", [node("span", [sign], { role: "img", "aria-label": label }), " ", ...inside]);
}

/** @param {string} row */
function cellsOf(row) {
  const cells = row.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/);
  return cells.map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** @param {string} head @param {string | undefined} columns */
const isTable = (head, columns = "") =>
  head.includes("|") && COLUMNS.test(columns) && cellsOf(head).length === cellsOf(columns).length;

/** @param {string} head @param {string[]} lines @param {Labels} labels */
function table(head, [columns, ...rows], labels) {
  const sides = cellsOf(columns).map((cell) => cell.endsWith(":") && "end");
  /** @param {string} row @param {string} tag */
  const line = (row, tag) => {
    const cells = cellsOf(row);
    const made = sides.map((side, at) => node(tag, inline(cells[at] ?? "", labels), { class: side }));
    return node("tr", made);
  };
  const body = rows.map((row) => line(row, "td"));
  return node("table", [node("thead", [line(head, "th")]), node("tbody", body)]);
}

// What is in the lines of a paragraph, from the left to the right. Marks that may start something
// wait in `open` until what ends it is found.

const MARKS =
  /\\[!-/:-@[-`{-~\n]|`+|!?\[|\]|\*+|_+|~~?|<(?:https?:|mailto:)[^\s<>]*>|<[\w.+-]+@[\w.-]+>|\bhttps?:\/\/[^\s<>"]*[^\s<>"?!.,:;*_~')\]]|&(?:amp|lt|gt|quot|nbsp);| {2,}\n/g;
const TARGET =
  /\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*))(?:\s+(?:"[^"]*"|'[^']*'|\([^)]*\)))?\s*\)/y;
const REFERENCE = /\[([^[\]\n]{0,200})\]/y;
const ENTITIES = ["&amp;", "&lt;", "&gt;", "&quot;", "&nbsp;"];

/** @param {string} text @param {Labels} labels @returns {MarkdownNode[]} */
function inline(text, labels) {
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
