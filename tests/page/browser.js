// What the browser gives to the page, as far as the queue of uploads uses it: XMLHttpRequest,
// EventSource, fetch and a few names. Import this before a module of the page.

const ORIGIN = "http://sfs.test/";

/** The service as the page sees it; a test sets what it responds. */
export const service = {
  reachable: true,
  /** names that are taken, in any namespace */
  taken: new Set(),
  /** HTTP status of a request for the name of a file */
  status: 200,
  /** how many event streams were asked for */
  links: 0,
};

/** @type {UploadRequest[]} requests that upload, the oldest first */
export const requests = [];
/** @type {EventStream[]} event streams that were opened */
export const streams = [];

/** An XMLHttpRequest that a test drives: how far it is, and how it ends. */
class UploadRequest {
  method = "";
  path = "";
  /** @type {Record<string, string>} */
  headers = {};
  /** @type {unknown} */
  body;
  status = 0;
  responseText = "";
  aborted = false;
  upload = { onprogress: (/** @type {{ loaded: number }} */ _event) => {} };
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

  /** @param {unknown} body */
  send(body) {
    this.body = body;
    requests.push(this);
  }

  abort() {
    this.aborted = true;
    this.onabort();
    this.onloadend();
  }

  /** @param {number} status */
  respond(status, responseText = "") {
    Object.assign(this, { status, responseText });
    this.onload();
    this.onloadend();
  }

  break() {
    this.onerror();
    this.onloadend();
  }
}

/** An event stream that a test drives. */
class EventStream {
  static CLOSED = 2;
  readyState = 1;
  onmessage = (/** @type {{ data: string }} */ _event) => {};
  onerror = () => {};

  /** @param {string} url */
  constructor(url) {
    this.url = url;
    streams.push(this);
  }

  close() {
    this.readyState = EventStream.CLOSED;
  }

  /** @param {number} bytes */
  say(bytes, done = false) {
    this.onmessage({ data: JSON.stringify({ bytes, done }) });
  }

  fail() {
    this.close();
    this.onerror();
  }
}

/** @param {string} path */
async function fetch(path) {
  if (!service.reachable) throw new TypeError("fetch failed");
  const url = new URL(path, ORIGIN);
  if (url.pathname === "/storage/links") {
    service.links += 1;
    return Response.json({ url: `/sse/progress?link=${service.links}` });
  }
  if (url.pathname === "/storage/files") {
    if (service.status !== 200) {
      return Response.json({ detail: "No, because." }, { status: service.status });
    }
    const name = url.searchParams.get("prefix");
    return Response.json(service.taken.has(name) ? [{ name }] : []);
  }
  return Response.json([]);
}

/** Forget what happened. */
export function reset() {
  Object.assign(service, { reachable: true, status: 200, links: 0 });
  service.taken.clear();
  requests.length = 0;
  streams.length = 0;
}

Object.assign(globalThis, {
  EventSource: EventStream,
  XMLHttpRequest: UploadRequest,
  fetch,
  location: new URL(ORIGIN),
  sessionStorage: { getItem: () => null },
});
