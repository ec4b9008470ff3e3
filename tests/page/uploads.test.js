// The queue of uploads, against a browser and a service that do what a test says.
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { elsewhere, kept, requests, reset, service, tab } from "./browser.js";
import { file, folder, transfer } from "./entries.js";
import { onTrouble } from "../../sfs_server/page/static/api.js";
import { before, speed, sampled } from "../../sfs_server/page/static/speed.js";
import { joined, placeIn } from "../../sfs_server/page/static/places.js";
import { NOTHING_LOADED, state, set } from "../../sfs_server/page/static/store.js";
import { blocked, isReplaceable } from "../../sfs_server/page/static/clashes.js";
import * as queue from "../../sfs_server/page/static/queue.js";
import { isActive, take } from "../../sfs_server/page/static/uploads.js";

mock.timers.enable({ apis: ["setTimeout"] });

const MIB = 1 << 20;
const PHOTOS = placeIn("photos");
const [BEGUN, SESSION] = [201, "/storage/uploads/0123456789abcdef0123456789abcdef"];

/** Let everything run that waits for no time to pass. */
async function settle() {
  for (let turn = 0; turn < 30; turn += 1) await new Promise(setImmediate);
}

/** @param {number} milliseconds */
async function pass(milliseconds) {
  mock.timers.tick(milliseconds);
  await settle();
}

/** @param {string[]} names */
async function add(...names) {
  queue.add(
    PHOTOS,
    names.map((name) => new File(["12345678"], name, { lastModified: 7 })),
  );
  await settle();
}

/** @param {Parameters<typeof transfer>} entries */
async function drop(...entries) {
  take(PHOTOS, transfer(...entries));
  await settle();
}

/** A file whose bytes nobody looks at. */
const large = (megabytes = 20, name = "film") =>
  new File([new Uint8Array(megabytes * MIB)], name, { lastModified: 7 });

/** Adds a large file, and lets its session begin. */
async function begin(megabytes = 20) {
  queue.add(PHOTOS, [large(megabytes)]);
  await settle();
  latest().respond(BEGUN, { Location: `http://inside:8080${SESSION}` });
  await settle();
  return find("film");
}

const latest = () => /** @type {(typeof requests)[0]} */ (requests.at(-1));

/** The newest request, in one line. */
const line = () => {
  const { method, path, headers, body } = latest();
  const at = headers["Upload-Offset"];
  const part = at === undefined ? "" : ` ${Number(at) / MIB}+${body.size / MIB}`;
  return `${method} ${path}${part}`;
};

/** @param {number} megabytes @param {number} [status] */
async function stored(megabytes, status = 204) {
  latest().respond(status, { "Upload-Offset": String(megabytes * MIB) });
  await settle();
}

async function cut() {
  latest().break();
  await settle();
}

/**
 * The path of that request is taken.
 * @param {(typeof requests)[0]} request
 */
async function clash(request) {
  const path = decodeURIComponent(request.path.replace(/^\/storage\/photos\/|\?.*$/g, ""));
  if (!service.stored.has(path)) service.stored.set(path, "there");
  request.respond(409);
  await settle();
}

/** What was looked for, by a list of it or of its folder. */
const looked = () =>
  service.asked
    .map((request) => new URL(request.replace("GET ", ""), "http://sfs.test"))
    .filter(({ searchParams: query }) => query.get("prefix") || query.get("limit") === "1000")
    .map(({ searchParams: query }) => joined(query.get("folder") ?? "", query.get("prefix") ?? ""));

const states = () => state.uploads.map((upload) => upload.state);

/** @param {string} name */
function find(name) {
  const found = state.uploads.find((upload) => upload.path === name);
  assert.ok(found, name);
  return found;
}

/** @param {string | null} user */
const signIn = (user) =>
  set({ session: user === null ? null : { user, username: user, admin: false } });

beforeEach(async () => {
  queue.cancelAll();
  await pass(60_000);
  reset();
  signIn("alice");
  set({ uploads: [], unfinished: [], notices: [], said: "", reachable: true });
});

test("two uploads run at a time, and the next starts when one ends", async () => {
  await add("1", "2", "3", "4");
  assert.deepEqual(states(), ["running", "running", "queued", "queued"]);
  assert.equal(requests.length, 2);
  requests[1].respond(201);
  await settle();
  assert.deepEqual(states(), ["running", "done", "running", "queued"]);
});

test("a small file is one request, which may not replace another", async () => {
  await add("a b?.txt");
  assert.equal(line(), "POST /storage/photos/a%20b%3F.txt");
  assert.equal(latest().headers["Content-Type"], "application/octet-stream");
  assert.equal(latest().body, find("a b?.txt").file);
  latest().respond(201);
  await settle();
  assert.deepEqual(states(), ["done"]);
  assert.equal(requests.length, 1);
});

test("a file that is in the queue already is not added again", async () => {
  await add("a", "a");
  await add("a", "b");
  assert.deepEqual(states(), ["running", "running"]);
});

test("a name that is taken is a clash, and nothing is replaced without a word", async () => {
  await add("a");
  await clash(latest());
  assert.deepEqual(states(), ["clash"]);
  const { type, path, size, modified_at } = /** @type {Entry} */ (find("a").there);
  assert.deepEqual([type, path, size, modified_at], ["file", "a", 5, 7]);
  await queue.resolve(find("a"), "replace");
  assert.equal(line(), "POST /storage/photos/a?overwrite=true");
  latest().respond(409, {}, '{"detail": "It is being replaced."}');
  await settle();
  assert.deepEqual([find("a").state, find("a").error], ["failed", "It is being replaced."]);
});

test("both are kept under the first name that is neither stored nor queued", async () => {
  await add("a.tar.gz", "a (3).tar.gz", ".profile");
  await clash(requests[0]);
  await clash(requests[2]);
  service.stored.set("a (2).tar.gz", "there");
  service.asked.length = 0;
  await queue.resolve(find("a.tar.gz"), "keep");
  assert.equal(latest().path, "/storage/photos/a%20(2).tar.gz");
  await clash(latest());
  assert.equal(latest().path, "/storage/photos/a%20(4).tar.gz");
  requests[1].respond(201);
  await queue.resolve(find(".profile"), "keep");
  await settle();
  assert.equal(latest().path, "/storage/photos/.profile%20(2)");
  assert.deepEqual(looked(), []);
});

test("many that are taken in one folder are asked about by one list of it", async () => {
  const names = Array.from({ length: 9 }, (_, n) => `${n}.txt`);
  for (const name of names.slice(0, 6)) service.stored.set(name, "there");
  await add(...names);
  await clash(requests[0]);
  assert.deepEqual(looked(), ["0.txt", ""]);
  assert.deepEqual(states(), [
    "clash",
    "running",
    ...Array(4).fill("clash"),
    "running",
    ...Array(2).fill("queued"),
  ]);
  queue.resolveAll(find("0.txt"), "keep");
  for (let n = 1; n < requests.length; n += 1) {
    if (n === 1) await clash(requests[n]);
    else requests[n].respond(201);
    await settle();
  }
  assert.deepEqual(states(), Array(9).fill("done"));
  assert.deepEqual(
    state.uploads.map(({ path }) => path),
    names.map((name, n) => (n < 6 ? name.replace(".", " (2).") : name)),
  );
  assert.equal(requests.length, 11);
  assert.deepEqual(looked(), ["0.txt", "", "1.txt"]);
});

test("a file cannot replace a folder, whatever was said for all", async () => {
  service.stored.set("a/b", "there").set("c", "there");
  await add("c", "a");
  await clash(requests[0]);
  queue.resolveAll(find("c"), "replace");
  await settle();
  requests[1].respond(409);
  await settle();
  const upload = find("a");
  assert.deepEqual([upload.state, upload.there?.type], ["clash", "folder"]);
  assert.equal(isReplaceable(upload), false);
  await queue.resolve(upload, "keep");
  assert.equal(latest().path, "/storage/photos/a%20(2)");
});

test("a file in the place of a folder is in the way of all that goes into it", async () => {
  service.stored.set("docs", "a file").set("docs (2)/x", "");
  const inside = [file("a"), folder("sub", [file("b")]), folder("none", [])];
  await drop(folder("docs", inside), file("z"));
  requests[0].respond(409);
  await settle();
  assert.deepEqual(states(), ["clash", "running", "running", "clash"]);
  assert.equal(blocked(find("docs/none")), "docs");
  requests[1].respond(409);
  await settle();
  assert.deepEqual(looked(), ["docs/a", "docs", "docs/sub/b", "docs/sub", "docs"]);
  assert.deepEqual(states(), ["clash", "clash", "running", "clash"]);
  await queue.resolve(find("docs/a"), "keep");
  await settle();
  assert.deepEqual(
    state.uploads.map(({ path }) => path),
    ["docs (3)/a", "docs (3)/sub/b", "z", "docs (3)/none"],
  );
  assert.equal(latest().path, "/storage/photos/docs%20(3)/a");
});

test("all that goes into a folder whose name is taken can be left out", async () => {
  service.stored.set("docs", "a file");
  await drop(folder("docs", [file("a"), file("b"), file("c")]));
  requests[0].respond(409);
  await settle();
  await queue.resolve(find("docs/a"), "skip");
  assert.deepEqual(states(), ["cancelled", "running", "cancelled"]);
});

test("what is said for all is done with those whose turn comes later, but not with other batches", async () => {
  await add("1", "2", "3", "4");
  await add("5");
  await clash(requests[0]);
  queue.resolveAll(find("1"), "skip");
  await settle();
  assert.deepEqual(states(), ["cancelled", "running", "running", "queued", "queued"]);
  for (let n = 1; n <= 4; n += 1) {
    await clash(requests[n]);
  }
  assert.deepEqual(states(), ["cancelled", "cancelled", "cancelled", "cancelled", "clash"]);
});

test("what is to replace is sent so at once, where its turn comes later", async () => {
  await add("1", "2", "3", "4");
  await clash(requests[0]);
  queue.resolveAll(find("1"), "replace");
  for (const taken of [1, 2]) {
    await clash(requests[taken]);
  }
  for (let n = 3; n < 7; n += 1) {
    requests[n].respond(200);
    await settle();
  }
  assert.deepEqual(states(), ["done", "done", "done", "done"]);
  assert.deepEqual(
    requests.slice(3).map(({ path }) => path),
    ["1", "2", "3", "4"].map((name) => `/storage/photos/${name}?overwrite=true`),
  );
});

test("an upload that is cancelled frees its place, in every state", async () => {
  await add("1", "2", "3", "4");
  queue.cancel(find("4"));
  queue.cancel(find("1"));
  await settle();
  assert.ok(requests[0].aborted);
  assert.deepEqual(states(), ["cancelled", "running", "running", "cancelled"]);
  await clash(requests[1]);
  queue.cancel(find("2"));
  assert.deepEqual(states(), ["cancelled", "cancelled", "running", "cancelled"]);
});

test("all are cancelled, and no other one starts", async () => {
  await add("1", "2", "3");
  queue.cancelAll();
  await settle();
  assert.deepEqual(states(), ["cancelled", "cancelled", "cancelled"]);
  assert.equal(requests.length, 2);
});

test("all that have failed are tried again, except what cannot succeed", async () => {
  await add("1", "2", "3");
  for (let n = 0; n < 3; n += 1) {
    requests[n].respond(507, {}, "<h1>a gateway's page</h1>");
    await settle();
  }
  assert.equal(find("1").error, "The service responded with 507.");
  find("3").again = false;
  queue.retryAll();
  await settle();
  assert.deepEqual(states(), ["running", "running", "failed"]);
});

test("a file that was changed on the disk cannot be tried again, but picked again", async () => {
  await add("a");
  mock.method(/** @type {File} */ (find("a").file), "slice", () => ({ arrayBuffer: () => Promise.reject(new Error("gone")) }));
  await cut();
  assert.deepEqual([find("a").state, find("a").again], ["failed", false]);
  assert.match(find("a").error, /^This file has been changed/);
  queue.add(PHOTOS, [new File(["new"], "a", { lastModified: 8 })]);
  await settle();
  assert.deepEqual(states(), ["running"]);
});

test("a name that the service does not take can be mended, and not be tried again as it is", async () => {
  await add(" a");
  latest().respond(400, {}, '{"detail": "No blanks."}');
  await settle();
  const upload = find(" a");
  assert.deepEqual([upload.misnamed, upload.again, upload.error], [true, false, "No blanks."]);
  queue.rename(upload, "a");
  await settle();
  assert.equal(line(), "POST /storage/photos/a");
});

test("a small file whose response was lost is not sent again where it is stored", async () => {
  await add("a", "b");
  service.stored.set("a", "12345678").set("b", "87654321");
  requests[0].break();
  requests[1].break();
  await settle();
  assert.deepEqual(states(), ["waiting", "waiting"]);
  await pass(1500);
  assert.deepEqual(states(), ["done", "running"]);
  await clash(latest());
  assert.deepEqual(states(), ["done", "clash"]);
});

test("a large file is sent in pieces, each from where the one before ended", async () => {
  const film = await begin(20);
  assert.equal(requests[0].headers["Upload-Length"], String(20 * MIB));
  assert.equal(line(), `PATCH ${SESSION} 0+4`);
  latest().upload.onprogress({ loaded: 3 * MIB });
  assert.deepEqual([film.sent, film.stored, film.reached], [3 * MIB, 0, 0]);
  latest().upload.onprogress({ loaded: 900 * MIB }); // with the head of the request
  assert.equal(film.sent, 4 * MIB);
  await stored(4);
  assert.equal(line(), `PATCH ${SESSION} 4+16`);
  assert.deepEqual([film.stored, film.reached], [4 * MIB, 4 * MIB]);
  await stored(20);
  assert.deepEqual(states(), ["done"]);
  assert.ok(requests.every(({ headers }) => headers["Tus-Resumable"] === "1.0.0"));
  assert.equal(kept.size, 0);
});

test("a connection that is cut goes on from what is stored, by a service that responds too", async () => {
  const film = await begin();
  for (const at of [3, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]) {
    await cut();
    assert.equal(film.state, "waiting");
    await pass(40_000);
    assert.equal(line(), `HEAD ${SESSION}`);
    await stored(at, 200);
    assert.equal(line(), `PATCH ${SESSION} ${at}+4`);
    assert.equal(film.stored, at * MIB);
  }
});

test("an upload whose connections are cut again and again, with nothing stored, has failed", async () => {
  const film = await begin();
  for (let n = 0; n < 10; n += 1) {
    await cut();
    assert.equal(film.state, "waiting", String(n));
    await pass(60_000);
  }
  await cut();
  assert.equal(film.state, "failed");
  queue.retry(film);
  await settle();
  assert.equal(line(), `HEAD ${SESSION}`);
});

test("a service that is unreachable is waited for as long as it takes", async () => {
  const film = await begin();
  service.reachable = false;
  for (let n = 0; n < 30; n += 1) {
    await cut();
    assert.deepEqual([film.state, state.reachable], ["waiting", false]);
    await pass(30_000);
  }
  await cut();
  service.reachable = true;
  const count = requests.length;
  queue.resume();
  await settle();
  assert.equal(requests.length, count + 1);
  await stored(4, 200);
  assert.equal(line(), `PATCH ${SESSION} 4+4`);
});

for (const status of [408, 423, 429, 502, 503, 504]) {
  test(`a ${status} passes, and the service says when`, async () => {
    const film = await begin();
    latest().respond(status, { "Retry-After": "20" });
    await settle();
    await pass(19_000);
    assert.equal(film.state, "waiting");
    await pass(1000);
    assert.equal(line(), `HEAD ${SESSION}`);
  });
}

test("a connection that carries nothing is given up", async () => {
  const film = await begin();
  await pass(19_000);
  latest().upload.onprogress({ loaded: MIB });
  await pass(19_000);
  assert.equal(film.state, "running");
  await pass(1000);
  assert.ok(latest().aborted);
  assert.equal(film.state, "waiting");
});

test("a service that is silent when all was sent gets longer, and more at each try", async () => {
  const film = await begin(8);
  for (const seconds of [60, 120]) {
    latest().upload.onload();
    await pass(seconds * 1000 - 1);
    assert.equal(film.state, "running");
    await settle();
  await pass(1);
    assert.equal(film.state, "waiting");
    await pass(40_000);
    await stored(7, 200);
  }
});

test("where a proxy takes no large request, pieces become smaller", async () => {
  await begin(60);
  await stored(4);
  assert.equal(line(), `PATCH ${SESSION} 4+56`);
  latest().respond(413);
  await settle();
  await pass(1);
  await stored(4, 200);
  await stored(8);
  assert.equal(line(), `PATCH ${SESSION} 8+28`);
});

test("a proxy that takes nothing of that size fails the upload", async () => {
  const film = await begin();
  film.most = 4 * MIB;
  latest().respond(413);
  await settle();
  assert.equal(film.state, "failed");
});

test("a session that is gone begins again", async () => {
  const film = await begin();
  await stored(8);
  await cut();
  await pass(1500);
  latest().respond(404);
  await settle();
  await pass(1);
  assert.equal(line(), "POST /storage/photos/film");
  assert.equal(film.stored, 0);
});

test("a name that was taken during an upload is asked about, with all bytes stored", async () => {
  const film = await begin(8);
  latest().respond(409);
  await settle();
  await pass(1);
  await stored(8, 200);
  assert.equal(line(), `PATCH ${SESSION} 8+0`);
  service.stored.set("film", "another");
  latest().respond(409);
  await settle();
  assert.equal(film.state, "clash");
  await queue.resolve(film, "replace");
  await stored(8, 200);
  assert.equal(line(), `PATCH ${SESSION}?overwrite=true 8+0`);
  assert.deepEqual(service.ended, []);
  await stored(8);
  assert.equal(film.state, "done");
});

test("the response to the last piece may be lost", async () => {
  const film = await begin(8);
  await cut();
  await pass(1500);
  await stored(8, 200);
  await stored(8);
  assert.equal(film.state, "done");
});

test("a token that is refused puts all back, and they go on when the same user is there", async () => {
  const film = await begin();
  await stored(8);
  signIn(null);
  await settle();
  assert.ok(latest().aborted);
  assert.equal(film.state, "queued");
  signIn("bob");
  await settle();
  assert.equal(film.state, "queued");
  signIn("alice");
  await settle();
  assert.equal(line(), `HEAD ${SESSION}`);
});

test("a 401 says that the token is refused, unless another one is in use by then", async () => {
  let refused = 0;
  onTrouble({ refused: () => (refused += 1), unreachable: () => {}, late: () => {} });
  for (const [then, times] of /** @type {[string, number][]} */ ([["new", 0], ["old", 1]])) {
    tab.token = "old";
    await add(then);
    assert.equal(latest().headers.Authorization, "Bearer old");
    tab.token = then;
    latest().respond(401);
    await settle();
    assert.equal(refused, times);
  }
});

test("cancelling ends the session", async () => {
  const film = await begin();
  queue.cancel(film);
  await settle();
  assert.deepEqual(service.ended, [SESSION]);
  assert.equal(kept.size, 0);
  queue.retry(film);
  await settle();
  assert.equal(line(), "POST /storage/photos/film");
});

/** What another visit leaves behind. */
async function leave() {
  await begin();
  await stored(8);
  const memory = /** @type {string} */ (kept.get("sfs-uploads"));
  queue.cancelAll();
  await settle();
  set({ uploads: [] });
  requests.length = 0;
  kept.set("sfs-uploads", memory);
}

test("the same file goes on from what an earlier visit has stored", async () => {
  await leave();
  queue.resume();
  await pass(250);
  assert.deepEqual(
    state.unfinished.map(({ picked, stored: bytes }) => [picked, bytes]),
    [["film", 8 * MIB]],
  );
  queue.add(PHOTOS, [large()]);
  await settle();
  assert.equal(state.unfinished.length, 0);
  await pass(250);
  assert.equal(line(), `HEAD ${SESSION}`);
  await stored(9, 200);
  assert.equal(find("film").from, 9 * MIB);
  assert.equal(line(), `PATCH ${SESSION} 9+4`);
});

test("it is the same file alone in a folder and with the whole folder, and to earlier pages too", async () => {
  await leave();
  const [one] = JSON.parse(kept.get("sfs-uploads") ?? "[]");
  for (const [picked, again] of /** @type {[string, () => unknown][]} */ ([
    ["a/film", () => queue.add({ ...PHOTOS, folder: "a" }, [large()])],
    ["a/film", () => take(PHOTOS, transfer(folder("a", [file("film", { file: large() })])))],
    ["film", () => queue.add(PHOTOS, [large()])],
  ])) {
    kept.set("sfs-uploads", JSON.stringify([{ ...one, path: undefined, picked, name: "kept" }]));
    again();
    await settle();
    await pass(250);
    assert.deepEqual([find("kept").picked, latest().method], [picked, "HEAD"]);
    queue.cancelAll();
    set({ uploads: [] });
  }
});

for (const [what, other] of /** @type {[string, () => void][]} */ ([
  ["another size", () => queue.add(PHOTOS, [large(21)])],
  ["another name", () => queue.add(PHOTOS, [large(20, "other")])],
  ["another place", () => queue.add({ ...PHOTOS, namespace: "letters" }, [large()])],
  ["another user", () => (signIn("bob"), queue.add(PHOTOS, [large()]))],
  ["later bytes", () => queue.add(PHOTOS, [new File([large()], "film", { lastModified: 8 })])],
])) {
  test(`${what}: the file begins at its first byte`, async () => {
    await leave();
    other();
    await pass(250);
    assert.equal(latest().method, "POST");
  });
}

test("what another tab uploads is left to it", async () => {
  await leave();
  queue.cancelAll();
  elsewhere.add(SESSION);
  queue.resume();
  await pass(250);
  assert.equal(state.unfinished.length, 0);
  queue.add(PHOTOS, [large()]);
  await settle();
  await pass(250);
  assert.deepEqual([find("film").state, find("film").error], [
    "failed",
    "Another tab uploads this file.",
  ]);
  assert.equal(requests.length, 0);
});

test("what has expired is not remembered", async () => {
  await begin();
  latest().respond(204, {
    "Upload-Offset": String(8 * MIB),
    "Upload-Expires": new Date(Date.now() + 5000).toUTCString(),
  });
  await settle();
  const [one] = JSON.parse(kept.get("sfs-uploads") ?? "[]");
  assert.ok(one.expires <= Date.now() + 5000);
  queue.cancelAll();
  set({ uploads: [] });
  kept.set("sfs-uploads", JSON.stringify([{ ...one, expires: Date.now() - 1 }]));
  queue.add(PHOTOS, [large()]);
  await settle();
  assert.equal(line(), "POST /storage/photos/film");
});

test("what was stored takes its place in the list, and the service is asked once for all of it", async () => {
  set({ place: placeIn("photos"), files: NOTHING_LOADED });
  await add("c", "a", "b");
  for (let n = 0; n < 3; n += 1) {
    requests[n].respond(201);
    await settle();
  }
  await pass(500);
  assert.deepEqual(
    state.files.entries.map(({ name }) => name),
    ["a", "b", "c"],
  );
});

test("screen readers announce every tenth part, and the end", async () => {
  await begin(16);
  await stored(4);
  await pass(200);
  assert.equal(state.said, "Uploading 1 file, 20 percent stored");
  await stored(16);
  await pass(200);
  assert.equal(state.said, "1 file uploaded");
});

test("what has ended is cleared, and what has not stays", async () => {
  await add("1", "2", "3");
  requests[0].respond(200);
  await settle();
  requests[1].respond(403);
  await settle();
  queue.clear();
  assert.deepEqual(states(), ["running"]);
  assert.ok(state.uploads.every(isActive));
});

test("a folder that is dropped is uploaded with all that is in it, and no request more", async () => {
  const inside = [file("b"), folder("sub", [file("c")]), folder("none", []), file("a")];
  await drop(folder("top", inside), file("bad", { readable: false }), file("z"));
  for (let n = 0; n < requests.length; n += 1) {
    requests[n].respond(201);
    await settle();
  }
  assert.deepEqual(
    requests.map(({ method, path }) => `${method} ${path.replace("/storage/photos/", "")}`),
    ["POST top/a", "POST top/b", "POST top/sub/c", "POST z", "MKCOL top/none/"],
  );
  const failed = find("bad");
  assert.deepEqual([failed.state, failed.again], ["failed", false]);
  assert.equal(state.said, "");
  await pass(200);
  assert.equal(state.said, "4 files in 4 folders uploaded");
});

test("an empty folder that is there already is uploaded", async () => {
  service.stored.set("a/x", "").set("b", "a file");
  await drop(folder("a", []), folder("b", []));
  for (const request of requests.slice()) request.respond(405);
  await settle();
  assert.deepEqual(states(), ["done", "clash"]);
  assert.equal(blocked(find("b")), "b");
});

test("a folder whose name the service does not take gets another one, for all that is in it", async () => {
  const inside = [file("a"), file("b"), file("c"), folder("y ", [file("d")])];
  await drop(folder(" x", inside), file("e"));
  requests[0].respond(400);
  requests[1].respond(400);
  await settle();
  queue.rename(find(" x/a"), "x/A");
  await settle();
  assert.deepEqual(
    state.uploads.map(({ path, state: now }) => `${path} ${now}`),
    ["x/A queued", "x/b queued", " x/c running", " x/y /d running", "e queued"],
  );
});

test("all of a folder is read before it is too much, and can be cancelled until then", async () => {
  /** @type {(entries: unknown[]) => void} */
  let tell = () => {};
  const endless = {
    ...folder("endless", []),
    createReader: () => ({ readEntries: (/** @type {typeof tell} */ done) => (tell = done) }),
  };
  await drop(endless);
  queue.cancelAll();
  tell([file("a")]);
  await settle();
  assert.deepEqual([state.uploads, state.notices], [[], []]);
});

test("speed is that of the last seconds, falls where nothing moves, and is none where too little is known", () => {
  assert.equal(speed([], 9), 0);
  assert.equal(speed([[7, 100]], 9), 0);
  assert.equal(speed([[7, 100], [7.2, 900]], 7.2), 0);
  assert.equal(speed([[7, 100], [8, 150], [9, 500]], 9), 200);
  assert.equal(speed([[7, 100], [8, 150], [9, 500]], 11), 100);
  assert.equal(speed([[7, 500], [9, 100]], 9), 0);
  assert.equal(speed([[-1, 0], [7, 100], [9, 500]], 9.5), 160);
  assert.deepEqual(sampled([[-1, 0], [9, 5]], 6, 9.1), [[-1, 0], [9, 5]]);
  assert.deepEqual(sampled([[-1, 0], [9, 5]], 6, 9.5), [[9, 5], [9.5, 6]]);
});

test("what is shown as stored is what was sent as long ago as a response takes", () => {
  assert.equal(before([], 1, 9), 0);
  assert.equal(before([[7, 100], [8, 150], [9, 500]], 0.5, 9), 150);
  assert.equal(before([[7, 100], [8, 150], [9, 500]], 3, 9), 0);
  assert.equal(before([[7, 100], [8, 150], [9, 500]], Infinity, 9), 0);
});
