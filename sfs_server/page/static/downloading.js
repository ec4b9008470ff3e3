// What is selected is saved by the browser: one file as it is, all else as a ZIP file that the
// service makes.
import { linkTo, zipOf } from "./api.js";
import { notify } from "./actions.js";
import { count, number } from "./format.js";
import { commonFolder, topmost } from "./names.js";
import { segment } from "./places.js";
import { state } from "./store.js";

const LINK_SECONDS = 3600;
const FRAME_SECONDS = 60;
const MOST_FRAMES = 20; // files of several folders, which come one by one
const LONGEST = 6000; // characters of names in one address: the service takes 8190 of all
const MOST_ZIPS = 5;

/** @param {Entry[]} entries */
export async function download(entries) {
  const wanted = topmost(entries);
  const folder = commonFolder(wanted);
  if (wanted.length === 1 || folder === undefined) return await oneByOne(wanted);
  const { namespace } = wanted[0];
  const { files, place } = state;
  const whole = files.after === null && !place.find && wanted.length === files.entries.length;
  const parts = whole ? [[]] : inParts(wanted.map(({ name }) => name));
  const where = { namespace, folder };
  if (parts.length > MOST_ZIPS) {
    return notify(
      `${number(wanted.length)} names are too many for one request. Select fewer, or all of them.`,
      { stay: true, offer: { label: "Download the whole folder", act: () => zip(where, []) } },
    );
  }
  if (parts.length > 1) notify(`They come as ${number(parts.length)} ZIP files.`);
  for (const names of parts) await zip(where, names);
}

/**
 * Names that fit into one address each time.
 * @param {string[]} names
 */
export function inParts(names) {
  /** @type {string[][]} */
  const parts = [];
  let left = 0;
  for (const name of names) {
    const length = segment(name).length + "&name=".length;
    if (length > left) {
      parts.push([]);
      left = LONGEST;
    }
    parts[parts.length - 1].push(name);
    left -= length;
  }
  return parts;
}

/** @param {Where} where @param {string[]} names */
async function zip(where, names) {
  try {
    save(await zipOf(where, names, LINK_SECONDS));
  } catch (error) {
    notify(`This cannot be downloaded as a ZIP file: ${error.message}`, { error: true });
  }
}

/** @param {Entry[]} entries */
async function oneByOne(entries) {
  if (entries.length > MOST_FRAMES) {
    const what = `${count(entries.length, "entry", "entries")} of several folders`;
    const text = `${what} cannot be downloaded together. Open their folder, and download it there.`;
    return notify(text, { error: true });
  }
  for (const { type, namespace, path, name } of entries) {
    try {
      if (type === "folder") save(await zipOf({ namespace, folder: path }, [], LINK_SECONDS));
      else save((await linkTo({ type, namespace, path }, LINK_SECONDS)).download);
    } catch (error) {
      notify(`${name} cannot be downloaded: ${error.message}`, { error: true });
    }
  }
}

/**
 * The browser saves what a frame is sent to, and the page stays. A refusal in a frame would not be
 * seen: what can be refused has been asked for before.
 * @param {string} url
 */
function save(url) {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.style.display = "none";
  frame.title = "download";
  frame.src = url;
  document.body.append(frame);
  setTimeout(() => frame.remove(), FRAME_SECONDS * 1000);
}
