// The event stream of changes: taken apart however it comes, and what its events say.
import assert from "node:assert/strict";
import { test } from "node:test";
import { changeOf, eventReader } from "../../sfs_server/page/static/changes.js";

const STREAM =
  'id: 1\n\nid: 1\ndata: {"change": "many"}\n\n: a comment\n\ndata: a\ndata:b\r\n\r\nretry: 5\n\ndata: é\n\ndata: cut';
const DATA = ['{"change": "many"}', "a\nb", "é"];

for (let size = 1; size <= STREAM.length; size += 1) {
  test(`a stream that comes in pieces of ${size} characters has the same events`, () => {
    const read = eventReader();
    const found = [];
    for (let at = 0; at < STREAM.length; at += size) found.push(...read(STREAM.slice(at, at + size)));
    assert.deepEqual(found, DATA);
  });
}

for (const endless of ["x".repeat(1000), "data: x\n".repeat(100)]) {
  test(`an event without an end is given up: ${endless.slice(0, 8)}`, () => {
    const read = eventReader();
    assert.throws(() => {
      for (let n = 0; n < 1000; n += 1) read(endless);
    }, RangeError);
  });
}

test("a stream of many events has no end to it", () => {
  const read = eventReader();
  for (let n = 0; n < 10_000; n += 1) assert.deepEqual(read(": silence\n\ndata: xxxxxxxxxx\n\n"), ["xxxxxxxxxx"]);
});

test("what is no change of this page's is passed over", () => {
  const put = { type: "file", name: "a", change: "put" };
  assert.deepEqual(changeOf(JSON.stringify(put)), put);
  assert.deepEqual(changeOf('{"change":"many","more":1}'), { change: "many" });
  for (const other of [{ change: "renamed" }, { ...put, type: "link" }, { ...put, name: 1 }, {}]) {
    assert.equal(changeOf(JSON.stringify(other)), null);
  }
});
