// What the browser gives to the modules of the page that Node does not have, as far as they use it.
// A module that needs none of it (places.js, rights.js) is tested without. For the others:
//
//   import { entry, listed, reset, service } from "./browser.js"; // before a module of the page
//   beforeEach(reset);
//   service.respond = (request) => listed(entry("a.txt"), entry("photos/")); // to each fetch
//   assert.deepEqual(service.asked, ["GET /storage/files?namespace=default&folder=&limit=500"]);
//
// Uploads use XMLHttpRequest: a test drives each of `requests` by hand. What the page draws is seen
// in a real browser alone (tests/browser).

const ORIGIN = "http://sfs.test/";

/** The service as the page sees it; a test sets what it responds. */
export const service = {
  reachable: true,
  /** files that are stored, in any namespace: their bytes by their paths */
  stored: new Map(),
  /** @type {string[]} paths of sessions that were ended */
  ended: [],
  /** @type {string[]} requests of fetch, as "GET /path?query", the oldest first */
  asked: [],
  /** @type {Respond} to fetch; undefined: as to a service with the files of `stored` */
  respond: () => undefined,
};

/**
 * @typedef {{ method: string, url: URL, body: any, signal?: AbortSignal | null }} Asked
 * @typedef {(request: Asked) => Response | Promise<Response> | undefined} Respond
 */

/**
 * A file or, with a slash behind it, a folder of the namespace `default`.
 * @param {string} path @param {Partial<Entry>} [more] @returns {Entry}
 */
export function entry(path, more) {
  const folder = path.endsWith("/");
  const whole = folder ? path.slice(0, -1) : path;
  return {
    type: folder ? "folder" : "file",
    namespace: "default",
    path: whole,
    name: whole.slice(whole.lastIndexOf("/") + 1),
    size: folder ? 0 : 1,
    modified_at: 1_700_000_000,
    content_type: folder ? "" : "text/plain",
    ...more,
  };
}

/**
 * The service's response that lists them, as the last page.
 * @param {Entry[]} entries
 */
export const listed = (...entries) => Response.json(entries);

/**
 * The same, where another page comes after.
 * @param {string} after the name of the last entry @param {Entry[]} entries
 */
export const listedUpTo = (after, ...entries) =>
  Response.json(entries, {
    headers: { Link: `</storage/files?after=${encodeURIComponent(after)}>; rel="next"` },
  });

/** What the service says when it does not do it: @param {number} status @param {string} detail */
export const refused = (status, detail) => Response.json({ detail }, { status });

/** @type {Sent[]} requests of XMLHttpRequest, the oldest first */
export const requests = [];

/** An XMLHttpRequest that a test drives: how far it is, and how it ends. */
class Sent {
  method = "";
  path = "";
  /** @type {Record<string, string>} */
  headers = {};
  /** @type {any} */
  body;
  status = 0;
  responseText = "";
  aborted = false;
  over = false;
  /** @type {Record<string, string>} */
  fields = {};
  upload = { onprogress: (/** @type {{ loaded: number }} */ _event) => {}, onload: () => {} };
  onload = () => {};
  onerror = () => {};
  onabort = () => {};
  onloadend = () => {};

  /** @param {string} method @param {string} path */
  open(method, path) {
    Object.assign(this, { method, path });
  }

  /** @param {string} name @param {string} value */
  setRequestHeader(name, value) {
    this.headers[name] = value;
  }

  /** @param {string} name */
  getResponseHeader(name) {
    return this.fields[name] ?? null;
  }

  /** @param {unknown} body */
  send(body) {
    this.body = body;
    requests.push(this);
  }

  abort() {
    if (this.over) return;
    Object.assign(this, { aborted: true, over: true });
    this.onabort();
    this.onloadend();
  }

  /** @param {number} status @param {Record<string, string>} fields */
  respond(status, fields = {}, responseText = "") {
    Object.assign(this, { status, fields, responseText, over: true });
    this.onload();
    this.onloadend();
  }

  break() {
    this.over = true;
    this.onerror();
    this.onloadend();
  }
}

/** @param {string} folder "" or with a slash at its end @param {string} prefix */
function entriesOf(folder, prefix) {
  const found = new Map();
  for (const [path, bytes] of service.stored) {
    if (!path.startsWith(folder + prefix)) continue;
    const [name, below] = path.slice(folder.length).split("/");
    const type = below === undefined ? "file" : "folder";
    found.set(name, { type, name, size: bytes.length, modified_at: 7 });
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** @param {string} path @param {RequestInit} [init] */
async function fetch(path, { method = "GET", body, signal } = {}) {
  const url = new URL(path, ORIGIN);
  service.asked.push(`${method} ${url.pathname}${url.search}`);
  if (!service.reachable) throw new TypeError("fetch failed");
  const response = await service.respond({ method, url, body, signal });
  signal?.throwIfAborted();
  return response ?? store(method, url);
}

/** What a service with the files of `stored` responds. @param {string} method @param {URL} url */
function store(method, url) {
  if (method === "DELETE") service.ended.push(url.pathname);
  if (url.pathname === "/storage/files") {
    const { folder, prefix = "" } = Object.fromEntries(url.searchParams);
    if (service.stored.has(folder)) return refused(404, "There is no such folder.");
    return Response.json(entriesOf(folder === "" ? "" : `${folder}/`, prefix));
  }
  const file = /^\/storage\/photos\/(.*)$/.exec(url.pathname);
  if (file) return new Response(service.stored.get(decodeURIComponent(file[1])));
  return Response.json([]);
}

/** @type {Map<string, string>} */
export const kept = new Map();
const localStorage = {
  getItem: (/** @type {string} */ key) => kept.get(key) ?? null,
  setItem: (/** @type {string} */ key, /** @type {string} */ value) => kept.set(key, value),
  removeItem: (/** @type {string} */ key) => kept.delete(key),
};

/** @type {string[]} addresses that the tab has gone to, the newest last */
export const visited = [];
const location = new URL(ORIGIN);
const history = {
  state: null,
  /** @param {any} state @param {string} _title @param {string} address */
  pushState(state, _title, address) {
    visited.push(address);
    history.state = state;
    location.href = new URL(address, ORIGIN).href;
  },
  /** @param {any} state @param {string} title @param {string} address */
  replaceState(state, title, address) {
    visited.pop();
    history.pushState(state, title, address);
  },
};

/** @type {{ token: string | null }} what belongs to this tab */
export const tab = { token: null };

/** Another tab, which has these sessions. */
export const elsewhere = new Set();

class Channel {
  onmessage = (/** @type {{ data: any }} */ _event) => {};

  /** @param {any} message */
  postMessage(message) {
    if (message.ask) for (const held of elsewhere) this.onmessage({ data: { held } });
  }
}

/** Forget what happened. */
export function reset() {
  Object.assign(service, { reachable: true, ended: [], asked: [], respond: () => undefined });
  service.stored.clear();
  requests.length = 0;
  kept.clear();
  elsewhere.clear();
  tab.token = null;
  visited.length = 0;
  location.href = ORIGIN;
}

for (const [name, value] of Object.entries({
  BroadcastChannel: Channel,
  XMLHttpRequest: Sent,
  addEventListener: () => {},
  document: { title: "" },
  fetch,
  history,
  localStorage,
  location,
  scrollTo: () => {},
  sessionStorage: { getItem: () => tab.token },
})) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
