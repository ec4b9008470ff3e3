// The uploads: all together, what failed, what runs, what waits, what is there. Two bars in one: what
// the service has stored, and behind it, paler, what has left the browser.
import { useState } from "./vendor/hooks.js";
import { notify, open, view } from "./actions.js";
import { findEntry } from "./api.js";
import { amount, isRunning, sums, together } from "./entries.js";
import { count, duration, exactSize, number, size } from "./format.js";
import { html } from "./html.js";
import { nameOf, parentOf, placeName } from "./places.js";
import { cancel, cancelAll, clear, drop, retry, retryAll } from "./queue.js";
import { speed, together as rateOf } from "./speed.js";
import { Button, Icon, IconButton } from "./ui.js";
import { isActive } from "./uploads.js";

const MOST_SHOWN = 100;
const QUICK = 1e6; // bytes that need no bar

/** @type {Record<UploadState, number>} */
const RANKS = {
  failed: 0,
  clash: 1,
  checking: 1,
  waiting: 1,
  running: 1,
  queued: 2,
  done: 3,
  cancelled: 4,
};

/**
 * @param {object} props
 * @param {Upload[]} props.uploads
 * @param {Remembered[]} props.unfinished
 * @param {number | null} props.reading
 * @param {string} [props.user]
 */
export function Tray({ uploads, unfinished, reading, user }) {
  const [folded, setFolded] = useState(false);
  const sum = sums(uploads);
  const active = sum.active.files + sum.active.folders;
  const busy = active > 0 || reading !== null;
  const shown = pick(uploads);
  const rest = uploads.length - shown.length;
  return html`<section class=${folded ? "tray folded" : "tray"} aria-label="Uploads">
    <header>
      <h2>${title(sum, unfinished, reading)}</h2>
      <${IconButton} icon="chevron" label=${folded ? "Unfold" : "Fold"}
        aria-expanded=${String(!folded)} onClick=${() => setFolded(!folded)} />
      ${!busy && html`<${IconButton} icon="close" label="Close" onClick=${clear} />`}
    </header>
    ${active > 0 && html`<${Sum} sum=${sum} />`}
    ${
      !folded &&
      html`
      <div class="tray-acts">
        ${sum.again && html`<${Button} onClick=${retryAll}>Retry all<//>`}
        ${
          (active > 1 || reading !== null) &&
          html`<${Button} onClick=${cancelAll}>Cancel all<//>`
        }
      </div>
      <ul tabindex="0" aria-label="Uploads">
        ${unfinished.map((one) => html`<${Unfinished} key=${one.url} one=${one} />`)}
        ${shown.map((upload) => entry(upload, user))}
        ${rest > 0 && html`<li class="soft">and ${count(rest, "more", "more")}</li>`}
      </ul>`
    }
  </section>`;
}

/**
 * What asks for attention first. Of many, those that are last are not shown.
 * @param {Upload[]} uploads
 */
function pick(uploads) {
  /** @type {Upload[][]} */
  const ranked = [[], [], [], [], []];
  for (const upload of uploads) {
    const equals = ranked[RANKS[upload.state]];
    if (equals.length < MOST_SHOWN) equals.push(upload);
  }
  return ranked.flat().slice(0, MOST_SHOWN);
}

/** @param {Sums} sum @param {Remembered[]} unfinished @param {number | null} reading */
function title(sum, unfinished, reading) {
  const { active, done, failed } = sum;
  const lost = failed.files;
  if (reading !== null) return `Reading the folder… ${count(reading, "file")}`;
  if (active.files + active.folders) {
    const now = `Uploading ${amount(active)}`;
    return lost ? `${now}, ${number(lost)} failed` : now;
  }
  if (lost) return `${count(lost, "file")} not uploaded`;
  if (done.files + done.folders) return `${together(sum)} uploaded`;
  return unfinished.length ? `${count(unfinished.length, "file")} unfinished` : "Nothing uploaded";
}

/** @param {{ sum: Sums }} props */
function Sum({ sum }) {
  const { size: total, sent, reached } = sum;
  return html`<div class="tray-sum">
    <${Bar} label="All uploads" total=${total} sent=${sent} reached=${reached} />
    <p class="upload-state">
      ${amounts({ total, sent, reached, rate: rateOf() })}${
        sum.folders > 1 && ` · ${together(sum)}`
      }
    </p>
  </div>`;
}

/** @param {{ total: number, sent: number, reached: number, rate: number }} how */
function amounts({ total, sent, reached, rate }) {
  const said = [`${size(reached)} of ${size(total)}`];
  if (rate && sent < total) {
    said.push(`${size(rate)}/s`, `${duration((total - sent) / rate)} left`);
  }
  return said.join(" · ");
}

/** @param {{ label: string, total: number, sent: number, reached: number }} props */
function Bar({ label, total, sent, reached }) {
  const part = (/** @type {number} */ bytes) => (total ? bytes / total : 0);
  const to = (/** @type {number} */ bytes) => ({ transform: `scaleX(${part(bytes)})` });
  return html`<span class="bar" role="progressbar" aria-label=${label}
    aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.floor(100 * part(reached))}
    title=${`${exactSize(reached)} of ${exactSize(total)}`}>
    <span class="bar-sent" style=${to(sent)}></span>
    <span class="bar-stored" style=${to(reached)}></span>
  </span>`;
}

// Drawn once for each change of an upload: with hundreds of them, few change from one time to the next.
/** @type {WeakMap<Upload, { version: number, user?: string, drawn: unknown }>} */
const drawings = new WeakMap();

/** @param {Upload} upload @param {string} [user] */
function entry(upload, user) {
  const { version } = upload;
  const before = drawings.get(upload);
  if (before?.version === version && before.user === user && !isRunning(upload)) {
    return before.drawn;
  }
  const mine = upload.user === user;
  const drawn = html`<${Entry} key=${upload.id} upload=${upload} mine=${mine} />`;
  drawings.set(upload, { version, user, drawn });
  return drawn;
}

/** @param {{ upload: Upload, mine: boolean }} props */
function Entry({ upload, mine }) {
  const { namespace, path, file, size: total, sent, reached, state, again, misnamed } = upload;
  const name = nameOf(path);
  const folder = parentOf(path);
  const place = placeName({ namespace, folder });
  return html`<li class=${`upload ${state}`}>
    ${
      state === "done" && file
        ? html`<button type="button" class="upload-name" dir="auto" title=${name}
            onClick=${() => withFile(upload, view)}>${name}</button>`
        : html`<span class="upload-name" dir="auto" title=${name}>${name}</span>`
    }
    <span class="upload-place" dir="auto" title=${`To ${place}`}
      >${nameOf(folder) || namespace}</span>
    <span class="upload-acts">
      ${
        isActive(upload) &&
        html`<${IconButton} icon="close" label=${`Cancel ${name}`}
          onClick=${() => cancel(upload)} />`
      }
      ${
        ((state === "failed" && again) || state === "cancelled") &&
        html`<${IconButton} icon="again" label=${`Upload ${name} again`}
          onClick=${() => retry(upload)} />`
      }
      ${
        state === "failed" &&
        misnamed &&
        html`<button type="button" class="quiet" onClick=${() => open("rename", { upload })}>
          Rename…<span class="unseen"> ${name}</span>
        </button>`
      }
      ${
        state === "done" &&
        html`${
          file &&
          html`<${IconButton} icon="link" label=${`Copy link to ${name}`}
          onClick=${() => withFile(upload, (found) => open("share", { file: found }))} />`
        }
        <span class="tick"><${Icon} name="check" size="18" /></span>`
      }
    </span>
    ${
      isRunning(upload) &&
      total > QUICK &&
      html`<${Bar} label=${name} total=${total} sent=${sent} reached=${reached} />`
    }
    <span class="upload-state">${words(upload, mine)}</span>
  </li>`;
}

/** @param {Upload} upload @param {boolean} mine */
function words(upload, mine) {
  const { state, file, size: total, sent, stored, reached, from, error, samples } = upload;
  if (state === "running") {
    const said = [amounts({ total, sent, reached, rate: speed(samples) })];
    if (from) said.unshift(`goes on from ${Math.floor((100 * from) / total)} %`);
    if (sent >= total && stored < total) said.push("waiting for the server");
    return said.join(" · ");
  }
  const full = file ? size(total) : "folder";
  const part = stored ? `${size(stored)} of ${full}` : full;
  return {
    queued: mine ? `${part} · queued` : `Waits until ${upload.user} signs in`,
    checking: part,
    clash: "Something of this name exists",
    waiting: `${part} · ${error || "Waiting for the service."} It goes on by itself.`,
    done: full,
    failed: error,
    cancelled: "Not uploaded",
  }[state];
}

/**
 * The file as it is now: it may have been changed, or deleted, since it was uploaded.
 * @param {Upload} upload @param {(file: Entry) => unknown} act
 */
async function withFile({ namespace, path }, act) {
  try {
    const file = await findEntry(namespace, path);
    if (file?.type === "file") act(file);
    else notify(`${nameOf(path)} is not there any more.`, { error: true });
  } catch (error) {
    notify(error.message, { error: true });
  }
}

/** @param {{ one: Remembered }} props */
function Unfinished({ one }) {
  const { namespace, picked, url } = one;
  const name = nameOf(picked);
  const folder = parentOf(picked);
  const place = placeName({ namespace, folder });
  return html`<li class="upload unfinished">
    <span class="upload-name" dir="auto" title=${name}>${name}</span>
    <span class="upload-place" dir="auto" title=${`To ${place}`}
      >${nameOf(folder) || namespace}</span>
    <span class="upload-acts">
      <${IconButton} icon="trash" label=${`Discard ${name}`} onClick=${() => drop(url)} />
    </span>
    <span class="upload-state">
      ${`${Math.floor((100 * one.stored) / one.size)} % stored. Pick or drop this file again in ${
        place
      } to go on.`}
    </span>
  </li>`;
}
