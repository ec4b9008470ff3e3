// Keeps the list true: one event stream of the service says what changes in the folder that is shown,
// also by others. A browser has six connections to a server of HTTP/1.1, for all of its tabs, so there is
// a stream only while the tab can be seen.
//
// The list is asked for once the stream is open, and again when it was opened anew: so no change is
// lost between the two. Changes that come one by one are asked for one by one. Where there are many,
// or in what was found, all that was loaded is listed again, now and then. What this page uploads
// itself it knows already (arrivals.js).
import { loadNamespaces } from "./actions.js";
import { fetchStream } from "./api.js";
import { changeOf, eventReader } from "./changes.js";
import { again, changed, expectStream, streamDecided } from "./listing.js";
import { joined } from "./places.js";
import { subscribe, state } from "./store.js";
import { isBusy } from "./uploads.js";

const SILENT_MS = 45_000; // the service says something every 15 s
const FIRST_PAUSE_MS = 1000; // before the stream is opened anew
const LONGEST_PAUSE_MS = 60_000;
const SPREAD_MS = 500; // those who watch one folder do not all list it at once
const AGAIN_MS = 2000; // from one list to the next
const SEARCH_MS = 5000; // from one search to the next
const UPLOADING_MS = 8000; // from one list to the next while this page changes it itself
const COST = 4; // and so many times as long as the list took
const COUNTS_MS = 3000;
const MOST_AT_ONCE = 8; // changes that are being asked for
const REFUSED = [401, 403, 404];
/** @type {{ done: true, value: undefined }} */
const ENDED = { done: true, value: undefined };

let stream = new AbortController();
let watched = "";
let asking = 0;
let earliest = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let listing;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let counting;

/** From now on the list that is shown is kept true. */
export function keepTrue() {
  subscribe(look);
  document.addEventListener("visibilitychange", look);
}

/** What is to be watched, by whom; "" where nothing is. */
function wanted() {
  const { ready, reachable, session, place } = state;
  if (document.hidden || !ready || !reachable || !place.namespace) return "";
  return [place.namespace, place.folder, session?.user].join("\n");
}

function look() {
  const now = wanted();
  if (now === watched) return;
  watched = now;
  stream.abort();
  clearTimeout(listing);
  listing = undefined;
  earliest = 0;
  if (!now) return;
  stream = new AbortController();
  expectStream();
  follow(stream.signal);
}

/**
 * Follows one stream after the other.
 * @param {AbortSignal} signal
 */
async function follow(signal) {
  const { namespace, folder } = state.place;
  const path = `/sse/changes?${new URLSearchParams({ namespace, folder })}`;
  let decided = false;
  let pause = FIRST_PAUSE_MS;
  const opened = () => {
    decided = true;
    pause = FIRST_PAUSE_MS;
    listed(streamDecided());
  };
  while (!signal.aborted) {
    try {
      await listen(path, signal, opened);
    } catch (error) {
      if (signal.aborted) return;
      if (!decided) listed(streamDecided());
      decided = true;
      if (REFUSED.includes(error.status)) return;
    }
    const wait = pause * (0.5 + Math.random());
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

/**
 * Until the stream ends, or says nothing for too long.
 * @param {string} path @param {AbortSignal} signal @param {() => void} opened
 */
async function listen(path, signal, opened) {
  const control = new AbortController();
  const end = () => control.abort();
  let timer = setTimeout(end, SILENT_MS);
  signal.addEventListener("abort", end);
  try {
    const read = eventReader();
    let first = true;
    for await (const piece of fetchStream(path, control.signal, () => ENDED)) {
      clearTimeout(timer);
      timer = setTimeout(end, SILENT_MS);
      if (first) opened();
      first = false;
      for (const data of read(piece)) if (!signal.aborted) heard(changeOf(data));
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
    control.abort();
  }
}

/** @param {Change | null} change */
function heard(change) {
  if (!change || isOwn(change)) return;
  counting ||= setTimeout(() => {
    counting = undefined;
    loadNamespaces();
  }, COUNTS_MS);
  if (listing) return; // which will show it
  const { acting, place, renaming } = state;
  const alone = change.name && !place.find && !acting && asking < MOST_AT_ONCE;
  if (!alone || joined(place.folder, change.name ?? "") === renaming) return listSoon();
  asking += 1;
  listed(changed(change)).finally(() => (asking -= 1));
}

function listSoon() {
  const wait = Math.max(earliest - performance.now(), (0.5 + Math.random()) * SPREAD_MS);
  listing ||= setTimeout(async () => {
    listing = undefined;
    if (state.acting || state.renaming) return listSoon(); // the focus would be lost
    const start = performance.now();
    await listed(again());
    const end = performance.now();
    earliest = end + Math.max(pauseOfLists(), COST * (end - start));
  }, wait);
}

function pauseOfLists() {
  if (isBusy()) return UPLOADING_MS;
  return state.place.find ? SEARCH_MS : AGAIN_MS;
}

/**
 * Whether it is what is being uploaded here.
 * @param {Change} change
 */
function isOwn({ name, change }) {
  const { namespace, folder, find } = state.place;
  if (!isBusy() || find || !name || change !== "put") return false;
  const path = joined(folder, name);
  return state.uploads.some(
    (one) => one.namespace === namespace && (one.path === path || one.path.startsWith(`${path}/`)),
  );
}

/**
 * What could not be fetched is tried again, as long as it is watched.
 * @param {Promise<void>} fetched
 */
async function listed(fetched) {
  const mine = stream;
  try {
    await fetched;
  } catch {
    earliest = performance.now() + AGAIN_MS;
    if (!mine.signal.aborted) listSoon();
  }
}
