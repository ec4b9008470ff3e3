// Markdown (CommonMark, and GitHub's tables, task lists and strikethrough) as nodes of Preact: no
// markup is made at any time, and raw HTML is text like other text. A picture is its description
// (to fetch it would tell its server who reads this), and only links to elsewhere are links.
import { inline, keyOf, node } from "./markdown-text.js";

const DEEPEST = 16; // lists and quotes in each other

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
