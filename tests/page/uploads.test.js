// The queue of uploads, against a browser and a service that do what a test says.
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { requests, reset, service, streams } from "./browser.js";
import { resolve } from "../../sfs_server/page/static/clashes.js";
import { isWaiting, speed } from "../../sfs_server/page/static/speed.js";
import { state, set } from "../../sfs_server/page/static/store.js";
import * as queue from "../../sfs_server/page/static/uploads.js";

mock.timers.enable({ apis: ["setTimeout"] });

/** Let everything run that waits for no time to pass. */
async function settle() {
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
}

/** @param {number} milliseconds */
async function pass(milliseconds) {
  mock.timers.tick(milliseconds);
  await settle();
}

/** @param {string[]} names */
async function add(...names) {
  queue.add(
    "photos",
    names.map((name) => new File(["12345678"], name)),
  );
  await settle();
}

const states = () => state.uploads.map((upload) => upload.state);

/** @param {string} name */
function find(name) {
  const found = state.uploads.find((upload) => upload.name === name);
  assert.ok(found, name);
  return found;
}

beforeEach(async () => {
  for (const upload of state.uploads) if (queue.isActive(upload)) queue.cancel(upload);
  await pass(10_000);
  reset();
  set({ uploads: [], notices: [], said: "", reachable: true });
});

test("three uploads run at a time, and the next starts when one ends", async () => {
  await add("1", "2", "3", "4", "5");
  assert.deepEqual(states(), ["running", "running", "running", "queued", "queued"]);
  assert.equal(requests.length, 3);
  requests[1].respond(201);
  await settle();
  assert.deepEqual(states(), ["running", "done", "running", "running", "queued"]);
});

test("a file is sent under its name, and may not replace one", async () => {
  await add("a b?.txt");
  const [request] = requests;
  assert.equal(request.method, "POST");
  assert.match(request.path, /^\/storage\/photos\/a%20b%3F\.txt\?id=up-[0-9a-z]+$/);
  assert.equal(request.headers["Content-Type"], "application/octet-stream");
  assert.equal(request.body, find("a b?.txt").file);
});

test("whether a name is taken is asked before a byte is sent", async () => {
  service.taken.add("a");
  await add("a", "b");
  assert.deepEqual(states(), ["clash", "running"]);
  assert.deepEqual(
    requests.map(({ path }) => path.split("?")[0]),
    ["/storage/photos/b"],
  );
});

test("a name that somebody else took meanwhile is a clash", async () => {
  await add("a");
  requests[0].respond(409);
  await settle();
  assert.deepEqual(states(), ["clash"]);
});

test("a file that is to replace another is sent without a question, and its failure is shown", async () => {
  service.taken.add("a");
  await add("a");
  await resolve(find("a"), "replace");
  await settle();
  assert.equal(requests[0].method, "PUT");
  requests[0].respond(409, '{"detail": "It is being replaced."}');
  await settle();
  assert.deepEqual(states(), ["failed"]);
  assert.equal(find("a").error, "It is being replaced.");
});

test("both are kept under the first name that is neither stored nor queued", async () => {
  for (const name of ["a.tar.gz", "a.tar (2).gz"]) service.taken.add(name);
  await add("a.tar.gz", "a.tar (3).gz");
  await resolve(find("a.tar.gz"), "keep");
  await settle();
  assert.deepEqual(
    state.uploads.map(({ name }) => name),
    ["a.tar (4).gz", "a.tar (3).gz"],
  );
  assert.deepEqual(states(), ["running", "running"]);
});

test("a name without an extension is numbered at its end", async () => {
  for (const name of [".profile", "README"]) service.taken.add(name);
  await add(".profile", "README");
  for (const upload of state.uploads) await resolve(upload, "keep");
  assert.deepEqual(
    state.uploads.map(({ name }) => name),
    [".profile (2)", "README (2)"],
  );
});

test("a clash that is skipped is cancelled, and one that is cancelled is not numbered", async () => {
  for (const name of ["a", "b"]) service.taken.add(name);
  await add("a", "b");
  await resolve(find("a"), "skip");
  const keeping = resolve(find("b"), "keep");
  queue.cancel(find("b"));
  await keeping;
  assert.deepEqual(
    state.uploads.map(({ name, state: now }) => [name, now]),
    [
      ["a", "cancelled"],
      ["b", "cancelled"],
    ],
  );
});

test("an upload that is cancelled frees its place, in every state", async () => {
  await add("1", "2", "3", "4", "5");
  queue.cancel(find("4"));
  queue.cancel(find("1"));
  await settle();
  assert.ok(requests[0].aborted);
  assert.deepEqual(states(), ["cancelled", "running", "running", "cancelled", "running"]);
  queue.add("photos", [new File([], "6")]);
  queue.cancel(find("6"));
  queue.cancel(find("5"));
  queue.add("photos", [new File([], "7")]);
  queue.cancel(find("7")); // while it is being checked
  await settle();
  assert.deepEqual(states().slice(4), ["cancelled", "cancelled", "cancelled"]);
  assert.equal(requests.length, 4);
});

test("an upload that was cancelled or failed can start again from nothing", async () => {
  await add("a");
  requests[0].upload.onprogress({ loaded: 5 });
  requests[0].respond(507, "<h1>a gateway's page</h1>");
  await settle();
  assert.equal(find("a").error, "The service responded with 507.");
  queue.retry(find("a"));
  await settle();
  const { state: now, sent, error } = find("a");
  assert.deepEqual([now, sent, error], ["running", 0, ""]);
});

test("a refusal of the first request is shown", async () => {
  service.status = 403;
  await add("a");
  assert.deepEqual(states(), ["failed"]);
  assert.equal(find("a").error, "No, because.");
  assert.equal(requests.length, 0);
});

test("an upload that a reachable service cut off has failed", async () => {
  await add("a");
  requests[0].break();
  await settle();
  assert.deepEqual(states(), ["failed"]);
  assert.match(find("a").error, /^The connection was cut/);
});

test("a service that was unreachable gets the file when it is back, five times", async () => {
  await add("a");
  for (let n = 1; n <= 5; n += 1) {
    service.reachable = false;
    requests[n - 1].break();
    await settle();
    assert.deepEqual([find("a").state, find("a").tries], ["unreachable", n]);
    assert.equal(state.reachable, false);
    service.reachable = true;
    queue.resume();
    await settle();
    assert.deepEqual(states(), ["running"]);
    set({ reachable: true });
  }
  service.reachable = false;
  requests[5].break();
  await settle();
  assert.deepEqual(
    [find("a").state, find("a").error],
    ["failed", "The service cannot be reached."],
  );
});

test("a service that is unreachable at the start is waited for", async () => {
  service.reachable = false;
  await add("a", "b");
  assert.deepEqual(states(), ["unreachable", "unreachable"]);
  assert.equal(requests.length, 0);
});

test("progress is what the service has stored, and never goes back", async () => {
  await add("a");
  const upload = find("a");
  requests[0].upload.onprogress({ loaded: 8 });
  assert.equal(queue.progress(upload), 0);
  streams[0].say(6);
  streams[0].say(4);
  assert.equal(queue.progress(upload), 6);
});

test("progress is what was sent where no event stream says more", async () => {
  await add("a");
  streams[0].say(2);
  requests[0].upload.onprogress({ loaded: 900 }); // with the head of the request
  streams[0].fail();
  assert.equal(queue.progress(find("a")), 8);
});

test("an event stream that stays silent is given up", async () => {
  await add("a");
  requests[0].upload.onprogress({ loaded: 5 });
  await pass(3000);
  assert.equal(streams[0].readyState, 2);
  assert.equal(queue.progress(find("a")), 5);
});

test("two uploads have an event stream, and a place that is free is taken", async () => {
  await add("1", "2", "3", "4");
  assert.equal(streams.length, 2);
  assert.deepEqual(
    state.uploads.map(({ stored }) => stored),
    [0, 0, null, null],
  );
  requests[0].respond(201);
  await settle();
  assert.equal(streams[0].readyState, 2);
  assert.equal(streams.length, 3);
});

test("a file that was stored takes its place in the list that is shown", async () => {
  set({ current: "photos" });
  await add("b");
  service.taken.add("b");
  requests[0].respond(201);
  await settle();
  assert.deepEqual(
    state.files.entries.map(({ name }) => name),
    ["b"],
  );
  assert.equal(queue.progress(find("b")), 8);
});

test("screen readers announce every tenth part, and the end", async () => {
  await add("a", "b");
  streams[0].say(3);
  await pass(100);
  assert.equal(state.said, "Uploading 2 files, 10 percent stored");
  for (const request of requests) request.respond(201);
  await pass(100);
  assert.equal(state.said, "2 files uploaded");
});

test("what has ended is cleared, and what has not stays", async () => {
  await add("1", "2", "3");
  requests[0].respond(200);
  service.reachable = false;
  requests[2].break();
  await settle();
  assert.deepEqual(states(), ["done", "running", "unreachable"]);
  queue.clear();
  assert.deepEqual(states(), ["running", "unreachable"]);
});

test("folders that are dropped are left out, and that is said", async () => {
  const [file, folder] = [new File([], "file"), new File([], "folder")];
  const items = [file, folder].map((one) => ({
    kind: "file",
    webkitGetAsEntry: () => ({ isDirectory: one === folder }),
    getAsFile: () => one,
  }));
  queue.take("photos", /** @type {any} */ ({ items, files: [file, folder] }));
  await settle();
  assert.deepEqual(
    state.uploads.map(({ name }) => name),
    ["file"],
  );
  assert.match(state.notices[0].text, /^Folders are left out/);
});

test("speed is that of the samples, and none where there are too few", async () => {
  await add("a");
  const upload = find("a");
  const of = (/** @type {[number, number][]} */ samples) => speed({ ...upload, samples });
  assert.equal(of([]), 0);
  assert.equal(of([[7, 100]]), 0);
  assert.equal(
    of([
      [7, 100],
      [7.2, 900],
    ]),
    0,
  );
  assert.equal(
    of([
      [7, 100],
      [8, 150],
      [9, 500],
    ]),
    200,
  );
  assert.equal(
    of([
      [7, 500],
      [9, 100],
    ]),
    0,
  );
});

test("an upload waits where all is sent, or far more than is stored", async () => {
  await add("a");
  const waits = (/** @type {Partial<Upload>} */ patch) =>
    isWaiting({ ...find("a"), size: 1e9, ...patch });
  assert.equal(waits({ sent: 1e9, stored: null }), true);
  assert.equal(waits({ sent: 5e8, stored: null }), false);
  assert.equal(waits({ sent: 3e8, stored: 2.1e8 }), false);
  assert.equal(waits({ sent: 3e8, stored: 1.9e8 }), true);
  assert.equal(waits({ sent: 1e9, stored: 1e9, state: "done" }), false);
});
