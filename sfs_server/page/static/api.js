// Every call to the service. Failures are ApiErrors, whose text can be shown to a person.

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
 * @param {string | null} [token]
 */
async function call(method, path, body, signal, token = credential.get()) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json", ...authorization(token) };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const json = body === undefined ? undefined : JSON.stringify(body);
  let late = 0;
  const timer = setTimeout(() => watchers.late((late = 1)), LATE_MS);
  const reads = method === "GET" || method === "HEAD";
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
function broken(error) {
  if (error.name === "AbortError" || error.name === "SyntaxError") throw error;
  watchers.unreachable();
  throw new ApiError(0, "The service cannot be reached.");
}

// The response to a HEAD has no body that would say it.
/** @type {Record<number, string>} */
const WITHOUT_BODY = { 401: "Sign in to do this.", 404: "There is no such file." };

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

// Paths. Each segment is encoded once; half a surrogate pair has no encoding. The name of a file is
// its whole path in the namespace.

/** @param {string} name */
const segment = (name) => encodeURIComponent(name.toWellFormed ? name.toWellFormed() : name);
/** @param {string} name */
const segments = (name) => name.split("/").map(segment).join("/");
/** @param {string} ns @param {string} name */
export const viewPath = (ns, name) => `/storage/${segment(ns)}/${segments(name)}`;
/** @param {string} ns @param {string} name */
const downloadPath = (ns, name) => `/storage/download/${segment(ns)}/${segments(name)}`;
/** @param {string} url */
const absolute = (url) => new URL(url, location.origin).href;

/** @param {string} [token] @returns {Promise<Session>} */
export const getSession = (token) => json("GET", "/api/session", undefined, undefined, token);
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

// Files.

export const PAGE = 500;

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<Page<any>>} */
export async function page(path, signal) {
  const response = await call("GET", path, undefined, signal);
  const next = /<([^>]*)>\s*;\s*rel="?next"?/.exec(response.headers.get("Link") || "");
  return { entries: await bodyOf(response), next: next && next[1] };
}

/**
 * @param {string} namespace @param {string} prefix @param {AbortSignal} signal
 * @returns {Promise<Page<StoredFile>>}
 */
export function listFiles(namespace, prefix, signal) {
  const query = new URLSearchParams({ namespace, limit: String(PAGE) });
  if (prefix) query.set("prefix", prefix);
  return page(`/storage/files?${query}`, signal);
}

/**
 * The file of that very name, or undefined. A name comes first among those that start with it.
 * @param {string} namespace @param {string} name @returns {Promise<StoredFile | undefined>}
 */
export async function findFile(namespace, name) {
  const query = new URLSearchParams({ namespace, prefix: name, limit: "1" });
  const { entries } = await page(`/storage/files?${query}`);
  return entries.find((file) => file.name === name);
}

/** @param {string} ns @param {string} name */
export const deleteFile = (ns, name) => call("DELETE", viewPath(ns, name));

// Links. An anonymous visitor needs none: the file's own address opens it, or says why not.

/** @param {StoredFile} file @param {number} ttl @returns {Promise<FileLink>} */
export async function linkTo(file, ttl) {
  const { namespace, name } = file;
  if (credential.get() === null) {
    await call("HEAD", viewPath(namespace, name));
    return {
      url: absolute(viewPath(namespace, name)),
      download: absolute(downloadPath(namespace, name)),
      expires: null,
    };
  }
  const made = await json("POST", "/storage/links", { namespace, file: name, ttl });
  return {
    url: absolute(made.url),
    download: absolute(made.download_url),
    expires: made.expires_at,
  };
}

/**
 * Whether what is stored under that name are these very bytes.
 * @param {string} ns @param {string} name @param {Blob} bytes
 */
export async function isStored(ns, name, bytes) {
  const stored = await findFile(ns, name);
  if (stored?.size !== bytes.size) return false;
  const response = await call("GET", viewPath(ns, name));
  const [theirs, ours] = await Promise.all([response.arrayBuffer(), bytes.arrayBuffer()]);
  const other = new Uint8Array(ours);
  return new Uint8Array(theirs).every((byte, at) => byte === other[at]);
}
