// Every call to the service. Failures are ApiErrors, whose text can be shown to a person.
import { joined, nameOf, parentOf, segment, segments } from "./places.js";

const KEY = "sfs-token";
const ALIVE_MS = 10_000; // a service that is longer about it is unreachable
const LATE_MS = 5000; // without a response: then the page says that it waits
const LONGEST_MS = 60_000; // to read: the service refuses sooner what it cannot list

export class ApiError extends Error {
  /**
   * status 0: the service could not be reached. pause: the seconds that it asks to be left alone.
   * @param {number} status @param {string} detail
   */
  constructor(status, detail, pause = 0) {
    super(detail);
    this.status = status;
    this.pause = pause;
  }
}

export const credential = {
  get: () => sessionStorage.getItem(KEY),
  /** @param {string} token */
  set: (token) => sessionStorage.setItem(KEY, token),
  clear: () => sessionStorage.removeItem(KEY),
};

const watchers = {
  refused: () => {},
  unreachable: () => {},
  late: (/** @type {number} */ _more) => {},
};

/**
 * refused(): the token in use is no good any more. unreachable(): the service does not respond.
 * late(1): a response is late; late(-1): it is no longer waited for.
 * @param {typeof watchers} handlers
 */
export function onTrouble(handlers) {
  Object.assign(watchers, handlers);
}

/**
 * The service has refused a token.
 * @param {string | null} token
 */
export function refused(token) {
  if (token !== null && token === credential.get()) watchers.refused();
}

/** @returns {Record<string, string>} */
export const authorization = (token = credential.get()) =>
  token === null ? {} : { Authorization: `Bearer ${token}` };

/**
 * @param {string} method @param {string} path @param {unknown} [body] @param {AbortSignal} [signal]
 * @param {object} [how]
 * @param {string | null} [how.token]
 * @param {boolean} [how.endless] the response may take any time to read
 * @param {Record<string, string>} [how.fields] more of the request's head
 */
export async function call(method, path, body, signal, how = {}) {
  const { token = credential.get(), endless = false, fields = {} } = how;
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", ...authorization(token), ...fields };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const json = body === undefined ? undefined : JSON.stringify(body);
  let late = 0;
  const timer = setTimeout(() => watchers.late((late = 1)), LATE_MS);
  const reads = !endless && (method === "GET" || method === "HEAD");
  const request = { method, headers, body: json, signal: reads ? limited(signal) : signal };
  const response = await fetch(path, { ...request, cache: "no-cache" })
    .catch(broken)
    .finally(() => {
      clearTimeout(timer);
      if (late) watchers.late(-1);
    });
  if (response.ok) return response;
  if (response.status === 401) refused(token);
  throw new ApiError(response.status, await detailOf(response));
}

/**
 * Ends as `signal` does, and after LONGEST_MS.
 * @param {AbortSignal} [signal]
 */
function limited(signal) {
  const control = new AbortController();
  for (const one of [signal, AbortSignal.timeout(LONGEST_MS)]) {
    one?.addEventListener("abort", () => control.abort(one.reason));
  }
  return control.signal;
}

/** @param {Error} error @returns {never} */
export function broken(error) {
  if (error.name === "AbortError" || error.name === "SyntaxError") throw error;
  watchers.unreachable();
  throw new ApiError(0, "The service cannot be reached.");
}

// The response to a HEAD has no body that would say it.
/** @type {Record<number, string>} */
const WITHOUT_BODY = {
  401: "Sign in to do this.",
  404: "There is no such file.",
  413: "There are more than 100,000 files and folders in it, which is too many for one ZIP file.",
  503: "The service is busy. Try again later.",
};

/** @param {Response} response */
async function detailOf(response) {
  const { status } = response;
  const fallback = WITHOUT_BODY[status] ?? `The service responded with ${status}.`;
  return parseDetail(await response.text().catch(() => ""), fallback);
}

/** @param {string} text @param {string} fallback @returns {string} */
export function parseDetail(text, fallback) {
  try {
    return JSON.parse(text).detail || fallback;
  } catch {
    return fallback; // a gateway's own page
  }
}

/** @param {Response} response */
const bodyOf = (response) => response.json().catch(broken);
/** @param {Parameters<typeof call>} request */
const json = async (...request) => bodyOf(await call(...request));

/**
 * The text of a response, as it comes. The request ends when it is not read to its end. onBreak(): what it is when its connection breaks.
 * @param {string} path @param {AbortSignal} signal
 * @param {(error: Error) => { done: true, value: undefined }} [onBreak] @returns {AsyncGenerator<string>}
 */
export async function* fetchStream(path, signal, onBreak = broken) {
  const { body } = await call("GET", path, undefined, signal, { endless: true });
  const reading = /** @type {ReadableStream} */ (body).pipeThrough(new TextDecoderStream());
  const pieces = reading.getReader();
  try {
    for (;;) {
      const { done, value } = await pieces.read().catch(onBreak);
      if (done) return;
      yield value;
    }
  } finally {
    pieces.cancel().catch(() => {}); // ends the request, unless it has ended or failed by itself
  }
}

// Paths of the service.

/** @param {string} ns @param {string} path of a file */
export const viewPath = (ns, path) => `/storage/${segment(ns)}/${segments(path)}`;
/** @param {string} ns @param {string} path of a file */
const downloadPath = (ns, path) => `/storage/download/${segment(ns)}/${segments(path)}`;
/** @param {string} ns @param {string} path of a folder, "" for the top */
const folderPath = (ns, path) => (path ? `${viewPath(ns, path)}/` : `/storage/${segment(ns)}/`);
/** @param {Pick<Entry, "type" | "namespace" | "path">} entry */
const pathOf = ({ type, namespace, path }) =>
  type === "folder" ? folderPath(namespace, path) : viewPath(namespace, path);
/** @param {string} url */
const absolute = (url) => new URL(url, location.origin).href;

/** @param {string} [token] @returns {Promise<Session>} */
export const getSession = (token) => json("GET", "/api/session", undefined, undefined, { token });
export const isAlive = () =>
  fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(ALIVE_MS) }).then(
    (response) => response.ok,
    () => false,
  );

/** @returns {Promise<Namespace[]>} */
export async function listNamespaces(path = "/storage/namespaces?limit=1000") {
  const { entries, next } = await page(path);
  return next ? entries.concat(await listNamespaces(next)) : entries;
}
/** @param {string} name @param {boolean} hidden */
export const createNamespace = (name, hidden) =>
  json("POST", "/storage/namespaces", { name, hidden });
/** @param {string} name @param {boolean} hidden */
export const updateNamespace = (name, hidden) =>
  json("PUT", `/storage/namespaces/${segment(name)}`, { hidden });
/** @param {string} name */
export const deleteNamespace = (name) => json("DELETE", `/storage/namespaces/${segment(name)}`);

// Files and folders.

export const PAGE = 500;
export const MOST = 10_000; // entries that the service lists at once

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<Page<any>>} */
export async function page(path, signal) {
  const response = await call("GET", path, undefined, signal);
  const next = /<([^>]*)>\s*;\s*rel="?next"?/.exec(response.headers.get("Link") || "");
  return { entries: await bodyOf(response), next: next && next[1] };
}

/**
 * @param {string} path of a folder @param {any} listed as the service lists what is in it
 * @returns {Entry}
 */
const entryOf = (path, { type, namespace, name, size = 0, modified_at, content_type = "" }) => ({
  type,
  namespace,
  path: joined(path, name),
  name: nameOf(name),
  size,
  modified_at,
  content_type,
});

/**
 * One page of what is in a folder, by name; and the name after which the next one goes on.
 * @param {string} namespace @param {string} folder
 * @param {{ type?: "file" | "folder", prefix?: string, after?: string | null, limit?: number }} how
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ entries: Entry[], after: string | null }>}
 */
export async function listFolder(namespace, folder, { limit = PAGE, ...how }, signal) {
  const query = new URLSearchParams({ namespace, folder, limit: String(limit) });
  for (const [name, value] of Object.entries(how)) if (value) query.set(name, value);
  const { entries, next } = await page(`/storage/files?${query}`, signal);
  return {
    entries: entries.map((listed) => entryOf(folder, listed)),
    after: next && new URL(next, location.origin).searchParams.get("after"),
  };
}

/**
 * The file or folder of that very path, or undefined. A name comes first among those that start
 * with it.
 * @param {string} namespace @param {string} path @returns {Promise<Entry | undefined>}
 */
export async function findEntry(namespace, path) {
  const folder = parentOf(path);
  try {
    const { entries } = await listFolder(namespace, folder, { prefix: nameOf(path), limit: 1 });
    return entries.find((entry) => entry.path === path);
  } catch (error) {
    if (error.status === 404 && folder) return undefined; // nor is there that folder
    throw error;
  }
}

/**
 * The first files in a folder and below it.
 * @param {string} namespace @param {string} folder @param {number} limit @param {AbortSignal} signal
 * @returns {Promise<Entry[]>}
 */
export async function filesBelow(namespace, folder, limit, signal) {
  const query = new URLSearchParams({ namespace, prefix: `${folder}/`, limit: String(limit) });
  const { entries } = await page(`/storage/files?${query}`, signal);
  return entries.map((listed) => entryOf("", listed));
}

/** @param {Entry} entry */
export const deleteEntry = (entry) => call("DELETE", pathOf(entry));
/** @param {string} ns @param {string} path */
export const makeFolder = (ns, path) => call("MKCOL", folderPath(ns, path));
/**
 * An ApiError with the status 412 says that something is there, which is not to be replaced.
 * @param {Entry} entry @param {string} ns @param {string} path @param {boolean} [replace]
 */
export const moveEntry = (entry, ns, path, replace = false) =>
  call("MOVE", pathOf(entry), undefined, undefined, {
    fields: { Destination: viewPath(ns, path), Overwrite: replace ? "T" : "F" },
  });

// Links. An anonymous visitor needs none: the entry's own address opens it, or says why not.

/**
 * @param {Pick<Entry, "type" | "namespace" | "path">} entry @param {number} [ttl] seconds
 * @returns {Promise<FileLink>}
 */
export async function linkTo(entry, ttl = 3600) {
  const { type, namespace, path } = entry;
  if (credential.get() === null) {
    const url = pathOf(entry);
    await call("HEAD", url);
    const saved = type === "folder" ? `${url}?archive=zip` : downloadPath(namespace, path);
    return { url: absolute(url), download: absolute(saved), expires: null };
  }
  const made = await json("POST", "/storage/links", { namespace, [type]: path, ttl });
  return {
    url: absolute(made.url),
    download: absolute(made.download_url),
    expires: made.expires_at,
  };
}

/** @param {string[]} names of entries of a folder: only these are taken */
export const nameQuery = (names) => names.map((name) => `&name=${segment(name)}`).join("");

/**
 * Where a folder can be fetched as one ZIP file, or some of its entries.
 * @param {Where} where @param {string} names as of nameQuery()
 */
export async function zipOf({ namespace, folder }, names) {
  await call("HEAD", `${folderPath(namespace, folder)}?archive=zip${names}`);
  const { download } = await linkTo({ type: "folder", namespace, path: folder });
  return download + names;
}

/**
 * Whether what is stored under that name are these very bytes.
 * @param {string} ns @param {string} path @param {Blob} bytes
 */
export async function isStored(ns, path, bytes) {
  const stored = await findEntry(ns, path);
  if (stored?.size !== bytes.size) return false;
  const response = await call("GET", viewPath(ns, path));
  const [theirs, ours] = await Promise.all([response.arrayBuffer(), bytes.arrayBuffer()]);
  const other = new Uint8Array(ours);
  return new Uint8Array(theirs).every((byte, at) => byte === other[at]);
}
