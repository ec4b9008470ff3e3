// What a person does, as changes of the address, of the list and of what is selected.
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { entry, listed, reset, service, visited } from "./browser.js";
import * as actions from "../../sfs_server/page/static/actions.js";
import { placeIn } from "../../sfs_server/page/static/places.js";
import { NOTHING_LOADED, set, state } from "../../sfs_server/page/static/store.js";

mock.timers.enable({ apis: ["setTimeout"] });

beforeEach(() => {
  reset();
  set({ place: placeIn("default"), files: NOTHING_LOADED, notices: [], selected: new Set() });
  service.respond = () => listed(entry("a.txt"));
});

test("who goes into a folder can go back, and what was selected is not selected there", async () => {
  set({ selected: new Set(["a.txt"]) });
  await actions.go(placeIn("default", "b"));
  assert.deepEqual(visited, ["/ns/default/b/"]);
  assert.deepEqual([...state.selected], []);
  assert.deepEqual(state.files.entries[0].path, "b/a.txt");
});

test("another order is no step to go back, and nothing is asked for again", async () => {
  await actions.go(placeIn("default", "b"));
  await actions.sortBy("size");
  await actions.sortBy("size");
  assert.deepEqual(visited, ["/ns/default/b/?sort=size"]);
  assert.equal(service.asked.length, 1);
});

test("Back leaves a search, however often its text was changed", async () => {
  await actions.go(placeIn("default", "b"));
  for (const text of ["a", "a.", "a.", "a.t"]) actions.find(text);
  assert.deepEqual(visited, ["/ns/default/b/", "/ns/default/b/?find=a.t"]);
});

test("too many notices push out the oldest, and only errors stay", () => {
  for (const text of "abcdef") actions.notify(text, { error: text === "d" });
  assert.deepEqual(state.notices.map(({ text }) => text).join(""), "cdef");
  mock.timers.tick(60_000);
  assert.deepEqual(state.notices.map(({ text }) => text).join(""), "d");
});
