// Names of what is renamed, moved and copied, and which folder a selection has in common.
import assert from "node:assert/strict";
import { test } from "node:test";
import "./browser.js";
import {
  commonFolder,
  copies,
  movable,
  stemLength,
  topmost,
  typedName,
} from "../../sfs_server/page/static/names.js";

/** @param {string} path @returns {Entry} a folder where it ends with a slash */
function entry(path, namespace = "photos") {
  const type = path.endsWith("/") ? "folder" : "file";
  const whole = type === "folder" ? path.slice(0, -1) : path;
  const name = whole.slice(whole.lastIndexOf("/") + 1);
  return { type, namespace, path: whole, name, size: 0, modified_at: 0, content_type: "" };
}

/** @param {Entry[]} entries */
const paths = (entries) => entries.map(({ path }) => path);

for (const [name, stem] of [
  ["a.txt", "a"],
  ["a.b.txt", "a.b"],
  ["a.tar.gz", "a"],
  [".tar.gz", ".tar"],
  [".bashrc", ".bashrc"],
  ["README", "README"],
  ["end.", "end"],
  ["Version 1.2 of it", "Version 1.2 of it"],
  ["🐦.png", "🐦"],
]) {
  test(`what is selected of the file ${name} is ${stem}`, () => {
    assert.equal(name.slice(0, stemLength(name, "file")), stem);
  });
}

test("all of a folder's name is selected", () => {
  assert.equal(stemLength("v1.2", "folder"), 4);
});

test("a copy keeps the extension of a file", () => {
  const [first, second] = copies("x.y/a.tar.gz", "file");
  assert.deepEqual([first, second], ["x.y/a (2).tar.gz", "x.y/a (3).tar.gz"]);
  assert.equal([...copies("README", "file")].at(-1), "README (99)");
  assert.equal(copies("v1.2", "folder").next().value, "v1.2 (2)");
  assert.equal(copies(".profile", "file").next().value, ".profile (2)");
});

test("marks that were shown by their numbers are marks again", () => {
  assert.equal(typedName("rtl[U+202E]gpj.exe", "rtl\u202egpj.exe"), "rtl\u202egpj.exe");
  assert.equal(typedName("rtlgpj.exe", "rtl\u202egpj.exe"), "rtlgpj.exe");
  assert.equal(typedName("x[U+202E][U+0041][U+202a]", "a\u202eb"), "x\u202e[U+0041][U+202a]");
});

test("a name that had no marks gets none", () => {
  assert.equal(typedName("a[U+202E]b", "a"), "a[U+202E]b");
  assert.equal(typedName("  a b  ", "a"), "a b");
});

test("what is in a folder that is chosen too is left out", () => {
  const all = ["a/", "a/b.txt", "a/c/d.txt", "ab.txt", "x/a/", "x/a/y"].map((path) => entry(path));
  assert.deepEqual(paths(topmost(all)), ["a", "ab.txt", "x/a"]);
});

test("the folder that a selection has in common is the one that all of it is right in", () => {
  assert.equal(commonFolder([entry("a/b"), entry("a/c/")]), "a");
  assert.equal(commonFolder([entry("b"), entry("c/")]), "");
  assert.equal(commonFolder([entry("a/b"), entry("a/c/d")]), undefined);
  assert.equal(commonFolder([entry("a/b"), entry("b")]), undefined);
});

test("a folder is not moved into itself, nor with anything else", () => {
  const both = [entry("a/"), entry("b.txt")];
  assert.deepEqual(movable(both, { namespace: "photos", folder: "a" }), []);
  assert.deepEqual(movable(both, { namespace: "photos", folder: "a/c" }), []);
  assert.deepEqual(paths(movable(both, { namespace: "photos", folder: "ab" })), ["a", "b.txt"]);
  assert.deepEqual(paths(movable(both, { namespace: "films", folder: "a" })), ["a", "b.txt"]);
});

test("what is there already is not moved there", () => {
  const both = [entry("a/b.txt"), entry("c/b.txt")];
  assert.deepEqual(paths(movable(both, { namespace: "photos", folder: "a" })), ["c/b.txt"]);
  assert.deepEqual(movable([entry("b.txt")], { namespace: "photos", folder: "" }), []);
  assert.deepEqual(paths(movable([entry("b.txt")], { namespace: "films", folder: "" })), ["b.txt"]);
});
