// What is shown of what the service finds.
import assert from "node:assert/strict";
import { test } from "node:test";
import "./browser.js";
import { reader, shownOf } from "../../sfs_server/page/static/finding.js";
import { nameOf } from "../../sfs_server/page/static/places.js";

/** @param {string} path @returns {Entry} */
const file = (path) => ({
  type: "file",
  namespace: "photos",
  path,
  name: nameOf(path),
  size: 1,
  modified_at: 2,
  content_type: "text/plain",
});

for (const [path, folder, text, shown] of /** @type {[string, string, string, string[]][]} */ ([
  ["a/b/june.txt", "", "june", ["a/b/june.txt"]],
  ["a/June/x.txt", "", "june", ["a/June/"]],
  ["june/b/JUNE.txt", "", "june", ["june/", "june/b/JUNE.txt"]],
  ["june/july/x.txt", "june", "jul", ["june/july/"]],
  ["june/july/x.txt", "june", "june", []],
  ["june/july/june.txt", "june", "june", ["june/july/june.txt"]],
  ["a/b.txt", "", "a/b", ["a/b.txt"]],
  ["caf\u0065\u0301.txt", "", "CAF\u00c9", ["caf\u0065\u0301.txt"]],
  ["straße.txt", "", "STRASSE", ["straße.txt"]],
])) {
  test(`of ${path}, with ${text} looked for in "${folder}", ${shown.length} are shown`, () => {
    const paths = shownOf(file(path), folder, text).map(({ type, path: one }) =>
      type === "folder" ? `${one}/` : one,
    );
    assert.deepEqual(paths, shown);
  });
}

test("an array is read whole wherever it is cut", () => {
  const all = [
    { name: 'a "quoted" {brace}', size: 1 },
    { name: "back\\slash\\", nested: { more: {} } },
    { name: "[,]" },
  ];
  const text = JSON.stringify(all);
  for (let cut = 0; cut <= text.length; cut += 1) {
    const read = reader();
    assert.deepEqual([...read(text.slice(0, cut)), ...read(text.slice(cut))], all);
  }
  const read = reader();
  assert.deepEqual([...text].flatMap(read), all);
});

test("what is whole does not wait for what comes later", () => {
  const read = reader();
  assert.deepEqual(read('[{"name": "a"}, {"na'), [{ name: "a" }]);
  assert.deepEqual(read('me": "b"}'), [{ name: "b" }]);
});
