// What the viewer does without a browser: kinds of files, where text is cut, tables.
import assert from "node:assert/strict";
import { test } from "node:test";
import "./browser.js";
import { MOST_COLUMNS, MOST_ROWS, readTable } from "../../sfs_server/page/static/csv.js";
import { cut, encodingOf } from "../../sfs_server/page/static/excerpt.js";
import { viewKind } from "../../sfs_server/page/static/viewer-kinds.js";

const UNKNOWN = "application/octet-stream";
const utf8 = (/** @type {string} */ text) => new TextEncoder().encode(text);

/** @type {[string, string, string][]} */
const KINDS = [
  ["a.csv", "text/csv; charset=utf-8", "table"],
  ["a.tsv", "text/tab-separated-values; charset=utf-8", "table"],
  ["a.md", "text/markdown; charset=utf-8", "markdown"],
  ["a.html", "text/html; charset=utf-8", "page"],
  ["a.xhtml", "application/xhtml+xml", "page"],
  ["a.svg", "image/svg+xml", "image"],
  ["a.heic", "image/heic", "image"],
  ["a.pdf", "application/pdf", "pdf"],
  ["a.pdf", UNKNOWN, "unknown"], // never a frame on the strength of a name
  ["a.mp4", "video/mp4", "video"],
  ["a.mp3", "audio/mpeg", "audio"],
  ["a.ts", UNKNOWN, "text"],
  ["a.ts", "video/mp2t", "text"],
  ["a.ass", "audio/aac", "text"],
  ["a.pot", "application/vnd.ms-powerpoint", "text"],
  ["a.gltf", "model/gltf+json", "text"],
  ["a.sh", "application/x-sh", "text"],
  ["a.py", "text/x-python; charset=utf-8", "text"],
  ["a.xml", "text/xml; charset=utf-8", "text"],
  ["a.xsd", "application/xml", "text"],
  ["a.json", "application/json", "text"],
  ["a.jsonl", "application/jsonl", "text"],
  ["a.yml", "application/yaml", "text"],
  ["a.toml", "application/toml", "text"],
  ["a.sql", "application/sql", "text"],
  ["a.ics", "text/calendar; charset=utf-8", "text"],
  ["a.vcf", "text/x-vcard; charset=utf-8", "text"],
  ["a.srt", "text/plain; charset=utf-8", "text"],
  ["a.tex", "application/x-tex", "text"],
  ["a.php", "application/x-httpd-php", "text"],
  ["a.go", UNKNOWN, "unknown"],
  ["README", UNKNOWN, "unknown"],
  ["a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "none"],
  ["a.odt", "application/vnd.oasis.opendocument.text", "none"],
  ["a.zip", "application/zip", "none"],
  ["a.tar.gz", "application/gzip", "none"],
  ["a.7z", "application/x-7z-compressed", "none"],
  ["a.woff2", "font/woff2", "none"],
  ["a.wasm", "application/wasm", "none"],
];

for (const [name, type, kind] of KINDS) {
  test(`${name} of type ${type} is shown as ${kind}`, () => assert.equal(viewKind(name, type), kind));
}

test("an encoding is told by the first bytes", () => {
  assert.equal(encodingOf(utf8("é"), true, false), "utf-8");
  assert.equal(encodingOf(utf8(""), true, false), "utf-8");
  assert.equal(encodingOf(Uint8Array.of(0xff, 0xfe, 65, 0), true, false), "utf-16le");
  assert.equal(encodingOf(Uint8Array.of(0xfe, 0xff, 0, 65), true, false), "utf-16be");
  assert.equal(encodingOf(Uint8Array.of(65, 0, 66), true, true), null);
  assert.equal(encodingOf(Uint8Array.of(0x63, 0xe9, 0x20), true, true), "windows-1252");
  assert.equal(encodingOf(Uint8Array.of(0x63, 0xe9, 0x20), true, false), null);
});

test("a character that the end of a part cuts is no mistake, one that the end of the file cuts is", () => {
  const half = utf8("aé").subarray(0, 2);
  assert.equal(encodingOf(half, false, false), "utf-8");
  assert.equal(encodingOf(half, true, false), null);
});

test("text is cut after a line", () => {
  assert.equal(cut(utf8("one\ntwo\nthr"), "utf-8"), 8);
  assert.equal(cut(utf8("one\ntwo\n"), "utf-8"), 8);
  const wide = Uint8Array.from(Buffer.from("one\ntwo\nthr", "utf16le"));
  assert.equal(cut(wide, "utf-16le"), 16);
  assert.equal(cut(wide.subarray(0, 21), "utf-16le"), 16);
  assert.equal(cut(wide.toReversed(), "utf-16be"), 16); // "rht\nowt\neno"
});

test("a long line is cut between characters, at every byte", () => {
  const text = "aé€😀z".repeat(3);
  const bytes = utf8(text);
  for (let end = 1; end <= bytes.length; end += 1) {
    const part = bytes.subarray(0, end);
    const kept = cut(part, "utf-8");
    assert.ok(end - kept < 4);
    const read = new TextDecoder("utf-8", { fatal: true }).decode(part.subarray(0, kept));
    assert.ok(text.startsWith(read));
  }
  for (const encoding of ["utf-16le", "utf-16be"]) {
    const wide = Uint8Array.from(Buffer.from(text, "utf16le"));
    if (encoding === "utf-16be") Buffer.from(wide.buffer).swap16();
    for (let end = 2; end <= wide.length; end += 1) {
      const kept = cut(wide.subarray(0, end), encoding);
      const read = new TextDecoder(encoding, { fatal: true }).decode(wide.subarray(0, kept));
      assert.ok(text.startsWith(read));
      assert.ok(end - kept < 4);
    }
  }
  assert.equal(cut(utf8("short\na much longer line"), "utf-8"), 24);
  assert.equal(cut(Uint8Array.of(0xe9, 0xe9), "windows-1252"), 2);
});

test("cells are read by the rules of CSV", () => {
  const rows = (/** @type {string} */ text, partial = false) => readTable(text, partial).rows;
  assert.deepEqual(rows("a,b\r\n1,2\r\n"), [["a", "b"], ["1", "2"]]);
  assert.deepEqual(rows('"a,b","say ""hi""","two\nlines"\nx,y,z'), [
    ["a,b", 'say "hi"', "two\nlines"],
    ["x", "y", "z"],
  ]);
  assert.deepEqual(rows('a "b",5" c\n'), [['a "b"', '5" c']]);
  assert.deepEqual(rows("\n\na,,c\n\n"), [["a", "", "c"]]);
  assert.deepEqual(rows(""), []);
});

test("the separator is the one of the first line", () => {
  const first = (/** @type {string} */ text) => readTable(text, false).rows[0];
  assert.deepEqual(first("a;b;c,d"), ["a", "b", "c,d"]);
  assert.deepEqual(first("a\tb, c\td"), ["a", "b, c", "d"]);
  assert.deepEqual(first('"x;y;z",b'), ["x;y;z", "b"]);
  assert.deepEqual(first("alone"), ["alone"]);
});

test("a row that the end of the part cuts is left out", () => {
  assert.deepEqual(readTable("a,b\n1,", true).rows, [["a", "b"]]);
  assert.deepEqual(readTable('a,b\n1,"2\n3,', true).rows, [["a", "b"]]);
  assert.deepEqual(readTable('a,b\n1,"2\n3,', false).rows, [["a", "b"], ["1", "2\n3,"]]);
});

test("a table has bounds, and says that there is more", () => {
  const wide = Array(MOST_COLUMNS + 1).fill("x").join(",");
  const long = "x,y\n".repeat(MOST_ROWS + 5);
  assert.equal(readTable(wide, false).rows[0].length, MOST_COLUMNS);
  assert.equal(readTable(wide, false).more, true);
  assert.equal(readTable(long, false).rows.length, MOST_ROWS);
  assert.equal(readTable(long, false).more, true);
  assert.equal(readTable("x,y\n".repeat(MOST_ROWS), false).more, false);
});
