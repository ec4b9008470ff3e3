// What is selected is saved by the browser: one file as it is, all else as a ZIP file that the
// service makes.
import { linkTo, nameQuery, zipOf } from "./api.js";
import { notify } from "./actions.js";
import { number } from "./format.js";
import { commonFolder, topmost } from "./names.js";
import { state } from "./store.js";

const FRAME_SECONDS = 60;
const MOST_FRAMES = 20; // entries of several folders, which come one by one
const LONGEST = 6000; // characters of names in one address: the service takes 8190 of all

/** @param {Entry[]} entries */
export async function download(entries) {
  const wanted = topmost(entries);
  const folder = commonFolder(wanted);
  const many = number(wanted.length);
  if (wanted.length === 1 || folder === undefined) {
    if (wanted.length <= MOST_FRAMES) return await oneByOne(wanted);
    const text = `${many} entries of several folders cannot be downloaded together.`;
    return notify(`${text} Open their folder, and download it there.`, { error: true });
  }
  const { namespace } = wanted[0];
  const { files, place } = state;
  const whole = files.after === null && !place.find && wanted.length === files.entries.length;
  const names = nameQuery(whole ? [] : wanted.map(({ name }) => name));
  /** @param {string} query */
  const zip = (query) => save("This", zipOf({ namespace, folder }, query));
  if (names.length <= LONGEST) return await zip(names);
  return notify(`The names of ${many} entries are too long for one request.`, {
    stay: true,
    offer: { label: "Download the whole folder", act: () => zip("") },
  });
}

/** @param {Entry[]} entries */
async function oneByOne(entries) {
  for (const entry of entries) {
    const { type, namespace, path, name } = entry;
    const folder = type === "folder" && zipOf({ namespace, folder: path }, "");
    await save(name, folder || linkTo(entry).then((link) => link.download));
  }
}

/**
 * The browser saves what a frame is sent to, and the page stays. A refusal in a frame would not be
 * seen: what can be refused has been asked for before.
 * @param {string} what @param {Promise<string>} link
 */
async function save(what, link) {
  try {
    const frame = document.createElement("iframe");
    frame.src = await link;
    frame.hidden = true;
    frame.style.display = "none";
    frame.title = "download";
    document.body.append(frame);
    setTimeout(() => frame.remove(), FRAME_SECONDS * 1000);
  } catch (error) {
    notify(`${what} cannot be downloaded: ${error.message}`, { error: true });
  }
}
