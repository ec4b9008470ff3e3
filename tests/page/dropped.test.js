// Reading what was dropped, down to the last sub-folder.
import assert from "node:assert/strict";
import { test } from "node:test";
import { file, folder } from "./entries.js";
import { MOST, read } from "../../sfs_server/page/static/dropped.js";

/** @param {any[]} source */
async function found(...source) {
  const { files, folders, unread } = await read(source, () => {}, new AbortController().signal);
  return { files: files.map(({ path }) => path), folders, unread };
}

test("a folder is read until nothing more comes", async () => {
  const names = Array.from({ length: 250 }, (_, n) => `${n}`.padStart(3, "0"));
  const { files } = await found(folder("many", names.map((name) => file(name)).reverse()));
  assert.deepEqual(
    files,
    names.map((name) => `many/${name}`),
  );
});

test("files have the paths of all the folders that they are in, and empty folders are named", async () => {
  const deep = folder("a", [
    folder("c", [folder("none", []), folder("d", [file("2")])]),
    file("1"),
    folder("b", []),
  ]);
  assert.deepEqual(await found(file("0"), deep, folder("e", [])), {
    files: ["0", "a/1", "a/c/d/2"],
    folders: ["a/b", "a/c/none", "e"],
    unread: [],
  });
});

test("what cannot be read is named, and all else is read", async () => {
  const bad = file("bad", { readable: false });
  const shut = folder("shut", [file("1")], 0);
  const half = folder("half", Array(150).fill(file("1")), 100);
  assert.deepEqual(await found(folder("a", [bad, shut, file("good")]), half, bad), {
    files: ["a/good"],
    folders: [],
    unread: ["a/bad", "a/shut", "half", "bad"],
  });
});

test("names are kept as they are", async () => {
  const names = ["\u202egpj.exe", "#?%2F", " a ", "é", "e\u0301", "🐦", "\n"];
  const { files } = await found(...names.map((name) => folder(name, [file(name)])));
  assert.deepEqual(
    files,
    names.map((name) => `${name}/${name}`),
  );
});

test("files of a folder that was picked say where they were", async () => {
  const [one, other] = [new File(["1"], "a", { lastModified: 7 }), new File([], "b")];
  Object.defineProperty(one, "webkitRelativePath", { value: "top/sub/a" });
  const { files } = await read([one, other], () => {}, new AbortController().signal);
  const [first, second] = files;
  assert.deepEqual(first, { path: "top/sub/a", file: one, size: 1, lastModified: 7 });
  assert.equal(second.path, "b");
});

test("of many files it is told how far it is, and others have their turn meanwhile", async () => {
  const slow = Array.from({ length: 20 }, (_, n) => {
    const content = new File(["1"], "slow");
    Object.defineProperty(content, "size", {
      get: () => {
        const end = performance.now() + 5;
        while (performance.now() < end);
        return 1;
      },
    });
    return file(`${n}`, { file: content });
  });
  /** @type {number[]} */
  const told = [];
  let turns = 0;
  const others = setInterval(() => (turns += 1));
  const signal = new AbortController().signal;
  await read([folder("slow", slow)], (files) => told.push(files), signal);
  clearInterval(others);
  assert.ok(told.length >= 5 && turns >= 2, `${told.length} ${turns}`);
  assert.deepEqual(
    told,
    [...told].sort((a, b) => a - b),
  );
});

test("more than can be taken is refused, in one folder and in many", async () => {
  const one = file("1");
  const many = folder("many", Array(MOST + 1).fill(one));
  await assert.rejects(found(many), /^Error: This is more than 100,000 files/);
  const half = folder("half", Array(MOST / 2 + 1).fill(one));
  await assert.rejects(found(half, half), /^Error: This is more than/);
});

test("reading ends when it is cancelled", async () => {
  const control = new AbortController();
  control.abort();
  await assert.rejects(read([file("1")], () => {}, control.signal), { name: "AbortError" });
});
