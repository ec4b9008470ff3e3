// The list of a folder: in which order it is loaded and shown, and what comes too late.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { entry, listed, listedUpTo, refused, reset, service } from "./browser.js";
import { load, loadMore } from "../../sfs_server/page/static/listing.js";
import { placeIn } from "../../sfs_server/page/static/places.js";
import { NOTHING_LOADED, set, state } from "../../sfs_server/page/static/store.js";

const shown = () => state.files.entries.map(({ path }) => path);

/** The types and names after which it was asked for more: "folder after b". */
const asked = () =>
  service.asked.map((line) => {
    const query = new URL(line.slice("GET ".length), "http://sfs.test").searchParams;
    return `${query.get("type") ?? "all"} after ${query.get("after") ?? "nothing"}`;
  });

beforeEach(() => {
  reset();
  set({ place: placeIn("default"), files: NOTHING_LOADED });
});

test("folders come first, and each kind in the order of its bytes", async () => {
  service.respond = () => listed(entry("B"), entry("a"), entry("z/"), entry("é"), entry("y/"), entry("😀"), entry("｡"));
  await load();
  assert.deepEqual(shown(), ["y", "z", "B", "a", "é", "｡", "😀"]);
  assert.deepEqual({ ...state.files, entries: [] }, NOTHING_LOADED);
  assert.equal(service.asked.length, 1);
});

test("where there is more, all folders are asked for at once, and files when somebody looks", async () => {
  const folders = [listedUpTo("m", entry("m/")), listed(entry("x/"))];
  const files = [listedUpTo("n", entry("n")), listed(entry("o"))];
  service.respond = ({ url }) =>
    ({ folder: folders, file: files })[url.searchParams.get("type") ?? ""]?.shift() ??
    listedUpTo("b", entry("a/"), entry("b"));
  await load();
  assert.deepEqual(shown(), ["a", "m", "x", "b"]);
  assert.deepEqual(asked(), ["all after nothing", "folder after b", "folder after m"]);
  await loadMore();
  assert.deepEqual(shown(), ["a", "m", "x", "b", "n"]);
  await loadMore();
  assert.deepEqual(shown(), ["a", "m", "x", "b", "n", "o"]);
  assert.deepEqual(asked().slice(3), ["file after b", "file after n"]);
  await loadMore();
  assert.equal(service.asked.length, 5);
});

test("what a list of before brings too late is not shown", async () => {
  /** @type {(response: Response) => void} */
  let respond = () => {};
  const late = new Promise((/** @type {typeof respond} */ resolve) => (respond = resolve));
  service.respond = ({ url }) => (url.searchParams.get("folder") ? listed(entry("new")) : late);
  const first = load();
  set({ place: placeIn("default", "folder") });
  await load();
  respond(listed(entry("old")));
  await first;
  assert.deepEqual(shown(), ["folder/new"]);
});

test("a failure is told, and what was shown stays until a list comes", async () => {
  service.respond = () => listed(entry("a"));
  await load();
  service.respond = () => refused(503, "The store is full of bees.");
  await load();
  assert.deepEqual(shown(), ["a"]);
  assert.equal(state.files.error?.message, "The store is full of bees.");
  assert.equal(state.files.loading, false);
  service.respond = () => listed(entry("b"));
  await load();
  assert.deepEqual([shown(), state.files.error], [["b"], null]);
});

test("a place that is no place is not asked for", async () => {
  set({ place: placeIn("") });
  await load();
  assert.deepEqual([service.asked, shown()], [[], []]);
});
