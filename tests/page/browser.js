// What the browser gives to the page, as far as the queue of uploads uses it: XMLHttpRequest, fetch,
// localStorage and a few names. Import this before a module of the page.

const ORIGIN = "http://sfs.test/";

/** The service as the page sees it; a test sets what it responds. */
export const service = {
  reachable: true,
  /** files that are stored, in any namespace: their bytes by their names */
  stored: new Map(),
  /** paths of sessions that were ended */
  /** @type {string[]} */
  ended: [],
};

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

/** @param {string} path @param {{ method?: string }} [init] */
async function fetch(path, { method = "GET" } = {}) {
  if (!service.reachable) throw new TypeError("fetch failed");
  const url = new URL(path, ORIGIN);
  if (method === "DELETE") service.ended.push(url.pathname);
  if (url.pathname === "/storage/files") {
    const name = url.searchParams.get("prefix") ?? "";
    const bytes = service.stored.get(name);
    return Response.json(bytes === undefined ? [] : [{ name, size: bytes.length }]);
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
  Object.assign(service, { reachable: true, ended: [] });
  service.stored.clear();
  requests.length = 0;
  kept.clear();
  elsewhere.clear();
  tab.token = null;
}

for (const [name, value] of Object.entries({
  BroadcastChannel: Channel,
  XMLHttpRequest: Sent,
  fetch,
  localStorage,
  location: new URL(ORIGIN),
  sessionStorage: { getItem: () => tab.token },
})) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
