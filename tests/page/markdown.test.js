// Markdown, as the nodes of Preact that the viewer shows.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readMarkdown } from "../../sfs_server/page/static/markdown.js";

/**
 * What nodes would be as markup, with the properties that matter.
 * @param {any} node @returns {string}
 */
function shown(node) {
  if (Array.isArray(node)) return node.map(shown).join("");
  if (!node || typeof node === "string") return node ?? "";
  const { children, ...props } = node.props;
  const said = Object.entries(props).filter(([, value]) => value);
  const attributes = said.map(([name, value]) => ` ${name}=${value}`).join("");
  return `<${node.type}${attributes}>${shown(children)}</${node.type}>`;
}

/** @param {string} text */
const read = (text) => shown(readMarkdown(text));
/** @param {string} text without block structure */
const line = (text) => /^<p>([^]*)<\/p>$/.exec(read(text))?.[1];
/** @param {string} url @param {string} text */
const link = (url, text) => `<a href=${url} target=_blank rel=noopener noreferrer>${text}</a>`;

test("blocks", () => {
  assert.equal(read("# One #\n\nTwo\n===\nThree\n---\n#### Four\n#no"), "<h3>One</h3><h3>Two</h3><h4>Three</h4><h6>Four</h6><p>#no</p>");
  assert.equal(read("a\nb\n\n\nc\n***\n"), "<p>a\nb</p><p>c</p><hr></hr>");
  assert.equal(read("> a\nb\n> - c\n\nd"), "<blockquote><p>a\nb</p><ul><li>c</li></ul></blockquote><p>d</p>");
  assert.equal(read("```js\n# *a*\n\n  b\n```\nc"), "<pre><code># *a*\n\n  b</code></pre><p>c</p>");
  assert.equal(read("~~~~\n~~~\n~~~~~\n    a\n\n     b\n\n"), "<pre><code>~~~</code></pre><pre><code>a\n\n b</code></pre>");
  assert.equal(read("```\nnever closed"), "<pre><code>never closed</code></pre>");
  assert.equal(read("a  \nb\\\nc"), "<p>a<br></br>b<br></br>c</p>");
  assert.equal(read(""), "");
});

test("lists are in each other, tight or loose", () => {
  assert.equal(
    read("- a\n  - b\n    1. c\n    2. d\n- e"),
    "<ul><li>a<ul><li>b<ol start=1><li>c</li><li>d</li></ol></li></ul></li><li>e</li></ul>",
  );
  assert.equal(read("3. a\n\n   b\n4. c"), "<ol start=3><li><p>a</p><p>b</p></li><li><p>c</p></li></ol>");
  assert.equal(read("* a\n\n* b"), "<ul><li><p>a</p></li><li><p>b</p></li></ul>");
  assert.equal(read("- a\n+ b\n1) c"), "<ul><li>a</li></ul><ul><li>b</li></ul><ol start=1><li>c</li></ol>");
  assert.equal(read("*\ta\n\tb\n\n\tc"), "<ul><li><p>a\nb</p><p>c</p></li></ul>");
  assert.equal(read("- ```\n  x\n  ```\n\nend"), "<ul><li><pre><code>x</code></pre></li></ul><p>end</p>");
  assert.equal(read("-\n- b\n- * *"), "<ul><li></li><li>b</li><li><ul><li><ul><li></li></ul></li></ul></li></ul>");
  assert.equal(read("in 1986\n1986. what"), "<p>in 1986\n1986. what</p>");
});

test("tasks say whether they are done", () => {
  assert.equal(
    read("- [x] a\n- [ ] b\n- [y] c"),
    "<ul><li><span role=img aria-label=done>☑</span> a</li>" +
      "<li><span role=img aria-label=to do>☐</span> b</li><li>[y] c</li></ul>",
  );
});

test("tables", () => {
  assert.equal(
    read("| a | b |\n|---|--:|\n| 1\\|2 | *x* | more |\n| 3\n\nend"),
    "<table><thead><tr><th>a</th><th class=end>b</th></tr></thead>" +
      "<tbody><tr><td>1|2</td><td class=end><em>x</em></td></tr>" +
      "<tr><td>3</td><td class=end></td></tr></tbody></table><p>end</p>",
  );
  assert.equal(read("a | b\n--|--|--"), "<p>a | b\n--|--|--</p>");
});

test("emphasis, code and escapes", () => {
  assert.equal(line("*a* _b_ **c** __d__ ~~e~~ ~f~"), "<em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> <del>e</del> <del>f</del>");
  assert.equal(line("***a** b* **c *d***"), "<em><strong>a</strong> b</em> <strong>c <em>d</em></strong>");
  assert.equal(line("a_b_c *a * b* __init__.py 2*3*4 **"), "a_b_c <em>a * b</em> <strong>init</strong>.py 2<em>3</em>4 **");
  assert.equal(line("`a*b` ``c ` d`` ` e `` f"), "<code>a*b</code> <code>c ` d</code> ` e `` f");
  assert.equal(line("\\*a\\* \\a &amp;&lt;&copy; a\\`b`"), "*a* \\a &<&copy; a`b`");
  assert.equal(line("*a [b* c](https://d.e)"), `*a ${link("https://d.e", "b* c")}`);
});

test("links lead elsewhere, and nothing else is one", () => {
  assert.equal(line('[a](https://b.c/d_(e) "t") <http://f> <g@h.i>'), `${link("https://b.c/d_(e)", "a")} ${link("http://f", "http://f")} ${link("mailto:g@h.i", "g@h.i")}`);
  assert.equal(line("see https://a.b/c_d_e), [x]"), `see ${link("https://a.b/c_d_e", "https://a.b/c_d_e")}), [x]`);
  assert.equal(line("[a][R  1] [r 1] [no][ne]\n\n[R 1]: <https://x.y> 'z'"), `${link("https://x.y", "a")} ${link("https://x.y", "r 1")} [no][ne]`);
  assert.equal(line("[*a* `b`](mailto:c@d.e)"), link("mailto:c@d.e", "<em>a</em> <code>b</code>"));
  for (const url of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "\\javascript:x", "data:text/html,x", "//a.b", "/storage/x", "a.md", "vbscript:x", "file:///etc", "&#106;avascript:x", "blob:x", "http:x"]) {
    assert.equal(line(`[a](${url})`), "<span>a</span>", url);
    assert.equal(line(`[a](<${url}>)`), "<span>a</span>", url);
    assert.equal(line(`[a]\n\n[a]: ${url}`), "<span>a</span>", url);
  }
  assert.equal(line("<javascript:alert(1)>"), "<javascript:alert(1)>");
});

test("a picture is its description", () => {
  assert.equal(line("![a *b*](https://c.d/e.png)"), "<span class=soft>a <em>b</em></span>");
  assert.equal(line("[![a](https://c.d/e.svg)](https://f.g)"), link("https://f.g", "<span class=soft>a</span>"));
});

test("raw HTML is text", () => {
  for (const text of ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a <b>c</b>", "<!-- d -->"]) {
    assert.equal(read(text), `<p>${text}</p>`);
  }
  assert.equal(read("# a\u202eb"), "<h3>a[U+202E]b</h3>");
});

test("nothing is deep, whatever the text", () => {
  /** @param {any} node @returns {number} */
  const depth = (node) =>
    Array.isArray(node) ? Math.max(0, ...node.map(depth)) : node?.props ? 1 + depth(node.props.children) : 0;
  for (const text of [
    ">".repeat(3000),
    "- ".repeat(3000),
    "*a **b ".repeat(3000) + "c** d* ".repeat(3000),
    "[".repeat(3000) + "](https://a.b)".repeat(3000),
    "![".repeat(3000) + "](a)".repeat(3000),
    Array.from({ length: 300 }, (_, at) => `${" ".repeat(2 * at)}- a`).join("\n"),
  ]) {
    assert.ok(depth(readMarkdown(text)) < 60);
  }
});
