// Where the page is. The address says all of it, so that it can be kept, sent to somebody else, and
// gone back to:
//
//   /                      what is at the top of the namespace `default`
//   /ns/photos             what is at the top of the namespace `photos`
//   /ns/photos/2024/june/  a folder
//   /ns/photos/2024/a.jpg  a file, shown over the list of its folder
//
// and in its query what is looked for in the folder and below (?find=), the order of the list
// (?sort=size, ?sort=-modified), and the name at the top of the window (?at=).

/** @type {Sort} */
export const BY_NAME = { key: "name", down: false };
/** @type {Place} */
const START = { namespace: "default", folder: "", file: "", find: "", sort: BY_NAME, at: "" };

/** @type {Record<string, SortKey>} */
const KEYS = { name: "name", size: "size", modified: "modified_at" };

/** @param {string} path of a file or folder */
export const parentOf = (path) => path.slice(0, Math.max(0, path.lastIndexOf("/")));
/** @param {string} path of a file or folder */
export const nameOf = (path) => path.slice(path.lastIndexOf("/") + 1);
/** @param {string} folder @param {string} name in it, or a path below it */
export const joined = (folder, name) => (folder ? `${folder}/${name}` : name);

/**
 * Whether that is the folder itself, or in it, or below.
 * @param {string} path @param {string} folder
 */
export const within = (path, folder) =>
  folder === "" || path === folder || path.startsWith(`${folder}/`);
/**
 * In words: photos / 2024.
 * @param {Where} place
 */
export const placeName = ({ namespace, folder }) =>
  [namespace, ...folder.split("/")].filter(Boolean).join(" / ");

/**
 * Half a surrogate pair has no encoding.
 * @param {string} name
 */
export const segment = (name) => encodeURIComponent(name.toWellFormed ? name.toWellFormed() : name);
/** @param {string} path */
export const segments = (path) => path.split("/").map(segment).join("/");

/**
 * The top of a namespace, or a folder of it.
 * @param {string} namespace @param {string} [folder] @returns {Place}
 */
export const placeIn = (namespace, folder = "") => ({ ...START, namespace, folder });

/**
 * The namespace is "" where the address is none of the page's.
 * @param {{ pathname: string, search: string }} address @returns {Place}
 */
export function placeOf({ pathname, search }) {
  const query = new URLSearchParams(search);
  const place = { ...START, find: query.get("find") ?? "", at: query.get("at") ?? "" };
  place.sort = sortOf(query.get("sort") ?? "");
  if (pathname === "/") return place;
  const [, ns, first = "", ...rest] = pathname.split("/");
  const names = [first, ...rest].map(decoded);
  const last = rest.length ? names.pop() : "";
  const [namespace, ...folders] = names;
  if (ns !== "ns" || last === null || !namespace || folders.some((name) => !name)) {
    return { ...place, namespace: "" };
  }
  const folder = folders.join("/");
  return { ...place, namespace, folder, file: last ? joined(folder, last) : "" };
}

/**
 * null where no segment of a path is written like that.
 * @param {string} text
 */
function decoded(text) {
  try {
    const name = decodeURIComponent(text);
    return name.includes("/") ? null : name;
  } catch {
    return null;
  }
}

/** @param {string} text @returns {Sort} */
function sortOf(text) {
  const down = text.startsWith("-");
  const key = KEYS[down ? text.slice(1) : text];
  return key ? { key, down } : BY_NAME;
}

/** @param {Place} place */
export function addressOf({ namespace, folder, file, find, sort, at }) {
  const query = new URLSearchParams();
  const shown = !file || parentOf(file) === folder; // else the list is that of another folder
  if (find && shown) query.set("find", find);
  const key = sort.key === "modified_at" ? "modified" : sort.key;
  if (key !== "name" || sort.down) query.set("sort", sort.down ? `-${key}` : key);
  if (at && shown) query.set("at", at);
  const text = String(query);
  return pathOf(namespace, folder, file) + (text && `?${text}`);
}

/** @param {string} namespace @param {string} folder @param {string} file */
function pathOf(namespace, folder, file) {
  if (file) return `/ns/${segment(namespace)}/${segments(file)}`;
  if (folder) return `/ns/${segment(namespace)}/${segments(folder)}/`;
  return namespace === "default" ? "/" : `/ns/${segment(namespace)}`;
}

/**
 * Whether the same entries are listed there.
 * @param {Place} a @param {Place} b
 */
export const sameList = (a, b) =>
  a.namespace === b.namespace && a.folder === b.folder && a.find === b.find;
