// A file that is text: its beginning, and more of it on demand. Markdown and tables are shown as
// what they mean, unless their source is wanted.
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { MOST_COLUMNS, MOST_ROWS, readTable } from "./csv.js";
import { cut, encodingOf, MOST_PARTS, PART, readPart } from "./excerpt.js";
import { number, size } from "./format.js";
import { html } from "./html.js";
import { Button } from "./ui.js";

/** @type {Excerpt} */
const NOTHING = {
  parts: [],
  shown: 0,
  total: 0,
  etag: null,
  encoding: null,
  binary: false,
  loading: true,
  error: "",
};

/**
 * `named`: its name says that it is text.
 * @param {{ file: Entry, url: string, named: boolean }} props
 */
function useExcerpt({ file, url, named }) {
  const [excerpt, setExcerpt] = useState(NOTHING);
  const ending = useRef(new AbortController());

  const more = async () => {
    setExcerpt({ ...excerpt, loading: true, error: "" });
    const { signal } = ending.current;
    try {
      const { shown, etag, parts } = excerpt;
      const got = await readPart(url, shown, PART, etag, signal);
      const whole = shown + got.bytes.length >= got.total;
      const encoding = excerpt.encoding ?? encodingOf(got.bytes, whole, named);
      if (encoding === null) return setExcerpt({ ...NOTHING, binary: true, loading: false });
      const end = whole ? got.bytes.length : cut(got.bytes, encoding);
      const text = new TextDecoder(encoding).decode(got.bytes.subarray(0, end));
      setExcerpt({
        ...excerpt,
        parts: [...parts, text],
        shown: shown + end,
        total: got.total,
        etag: got.etag,
        encoding,
        loading: false,
      });
    } catch (error) {
      if (signal.aborted) return;
      const text =
        error.status === 412 ? "The file has changed. Close it and open it again." : error.message;
      setExcerpt({ ...excerpt, loading: false, error: text });
    }
  };

  useEffect(() => {
    if (file.size > 0) more();
    else setExcerpt({ ...NOTHING, parts: [""], loading: false });
    return () => ending.current.abort();
  }, []);
  return { excerpt, more };
}

/**
 * `otherwise` is shown where the file is no text.
 * @param {{ file: Entry, url: string, kind: ViewKind, source: boolean, otherwise: unknown }} props
 */
export function Text({ file, url, kind, source, otherwise }) {
  const { excerpt, more } = useExcerpt({ file, url, named: kind !== "unknown" });
  const { parts, binary, loading, error } = excerpt;
  if (binary) return otherwise;
  const Shown = source ? Plain : (RENDERED[kind] ?? Plain);
  return html`
    ${
      parts.length > 0
        ? html`<${Shown} name=${file.name} excerpt=${excerpt} />`
        : !error && html`<div class="viewer" aria-busy="true"></div>`
    }
    ${error && html`<p class="wrong" role="alert">${error}</p>`}
    ${parts.length > 0 && html`<${Extent} excerpt=${excerpt} onMore=${more} loading=${loading} />`}
  `;
}

/** @param {{ name: string, excerpt: Excerpt }} props */
const Plain = ({ name, excerpt }) =>
  // The keyboard scrolls what can have the focus.
  html`<pre class="viewer text" role="region" aria-label=${name} tabindex="0">${excerpt.parts.map(
    (part, at) => html`<span key=${at}>${part}</span>`,
  )}</pre>`;

/** @param {{ name: string, excerpt: Excerpt }} props */
function Table({ name, excerpt }) {
  const { parts, shown, total } = excerpt;
  const { rows, more } = readTable(parts[0], shown < total);
  const [head = [], ...body] = rows;
  return html`<div class="viewer table" role="region" aria-label=${name} tabindex="0">
      <table>
        <thead><tr>${head.map((cell, at) => html`<th key=${at} scope="col" dir="auto">${cell}</th>`)}</tr></thead>
        <tbody>${body.map(
          (row, line) => html`<tr key=${line}>
            ${row.map((cell, at) => html`<td key=${at} dir="auto">${cell}</td>`)}
          </tr>`,
        )}</tbody>
      </table>
    </div>
    ${
      more &&
      html`<p class="soft small">
        The first ${number(MOST_ROWS)} rows and ${MOST_COLUMNS} columns are shown.
      </p>`
    }`;
}

/**
 * Its module comes with the first such file; without it there is the source.
 * @param {{ name: string, excerpt: Excerpt }} props
 */
function Markdown({ name, excerpt }) {
  const [nodes, setNodes] = useState(/** @type {MarkdownNode[] | null} */ (null));
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    import("./markdown.js").then(
      ({ readMarkdown }) => setNodes(readMarkdown(excerpt.parts[0])),
      () => setFailed(true),
    );
  }, []);
  if (failed) return html`<${Plain} name=${name} excerpt=${excerpt} />`;
  return html`<div class="viewer prose" role="region" aria-label=${name} tabindex="0">${nodes}</div>`;
}

/** @type {Record<string, any>} */
const RENDERED = { markdown: Markdown, table: Table };

/**
 * How much of how much is shown, where that is not all.
 * @param {{ excerpt: Excerpt, loading: boolean, onMore: () => void }} props
 */
function Extent({ excerpt, loading, onMore }) {
  const { parts, shown, total, encoding } = excerpt;
  const rest = total - shown;
  const full = parts.length === MOST_PARTS;
  return html`<div class="extent">
    <p class="soft small" role="status">
      ${total === 0 && "This file is empty."}
      ${rest > 0 && `The first ${size(shown)} of ${size(total)} are shown.`}
      ${rest > 0 && full && " Download it to see the rest."}
      ${encoding === "windows-1252" && " It is not UTF-8: some letters may be wrong."}
    </p>
    ${rest > 0 && !full && html`<${Button} disabled=${loading} onClick=${onMore}>Show more<//>`}
  </div>`;
}
