// The uploads. Two bars in one: what the service has stored, and behind it, paler, what has left
// the browser.
import { useState } from "./vendor/hooks.js";
import { count, duration, exactSize, size } from "./format.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./ui.js";
import { isWaiting, speed } from "./speed.js";
import { cancel, clear, isActive, progress, retry } from "./uploads.js";

const MOST_SHOWN = 100;

/** @param {{ uploads: Upload[] }} props */
export function Tray({ uploads }) {
  const [folded, setFolded] = useState(false);
  const active = uploads.filter(isActive);
  const failed = uploads.filter((upload) => upload.state === "failed");
  const shown = uploads.length > MOST_SHOWN ? pick(uploads) : uploads;
  const rest = uploads.length - shown.length;
  return html`<section class=${folded ? "tray folded" : "tray"} aria-label="Uploads">
    <header>
      <h2>${title(uploads, active, failed)}</h2>
      <${IconButton} icon="chevron" label=${folded ? "Unfold" : "Fold"}
        aria-expanded=${String(!folded)} onClick=${() => setFolded(!folded)} />
      ${active.length === 0 && html`<${IconButton} icon="close" label="Close" onClick=${clear} />`}
    </header>
    ${
      !folded &&
      html`<ul tabindex="0" aria-label="Uploads">
      ${shown.map((upload) => html`<${Entry} key=${upload.id} upload=${upload} />`)}
      ${rest > 0 && html`<li class="soft">and ${count(rest, "more", "more")}</li>`}
    </ul>`
    }
  </section>`;
}

/**
 * What is going on comes first when there are too many to show.
 * @param {Upload[]} uploads
 */
function pick(uploads) {
  /** @param {Upload} upload */
  const rank = (upload) => (upload.state === "failed" ? 0 : isActive(upload) ? 1 : 2);
  return [...uploads].sort((a, b) => rank(a) - rank(b) || a.id - b.id).slice(0, MOST_SHOWN);
}

/** @param {Upload[]} uploads @param {Upload[]} active @param {Upload[]} failed */
function title(uploads, active, failed) {
  if (active.length) return `Uploading ${count(active.length, "file")}`;
  if (failed.length) return `${count(failed.length, "file")} not uploaded`;
  const done = uploads.filter((upload) => upload.state === "done").length;
  return done ? `${count(done, "file")} uploaded` : "Nothing uploaded";
}

/** @param {{ upload: Upload }} props */
function Entry({ upload }) {
  const { name, size: total, sent, state } = upload;
  /** @param {number} bytes */
  const percent = (bytes) => (total ? (100 * bytes) / total : state === "done" ? 100 : 0);
  const now = progress(upload);
  /** @param {number} bytes */
  const part = (bytes) => ({ transform: `scaleX(${percent(bytes) / 100})` });
  return html`<li class=${`upload ${state}`}>
    <span class="upload-name" dir="auto" title=${name}>${name}</span>
    <span class="upload-acts">
      ${
        isActive(upload) &&
        html`<${IconButton} icon="close" label=${`Cancel ${name}`}
          onClick=${() => cancel(upload)} />`
      }
      ${
        (state === "failed" || state === "cancelled") &&
        html`<${IconButton} icon="again" label=${`Upload ${name} again`}
          onClick=${() => retry(upload)} />`
      }
      ${state === "done" && html`<span class="tick"><${Icon} name="check" size="18" /></span>`}
    </span>
    ${
      state === "running" &&
      html`<span class="bar" role="progressbar" aria-label=${name}
        aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.floor(percent(now))}
        title=${`${exactSize(now)} of ${exactSize(total)}`}>
        <span class="bar-sent" style=${part(sent)}></span>
        <span class="bar-stored" style=${part(now)}></span>
      </span>`
    }
    <span class="upload-state">${words(upload)}</span>
  </li>`;
}

/** @param {Upload} upload */
function words(upload) {
  const { state, size: total, error } = upload;
  if (state === "running") {
    const now = `${size(progress(upload))} of ${size(total)}`;
    if (isWaiting(upload)) return `${now} · waiting for the server`;
    const rate = speed(upload);
    return rate
      ? `${now} · ${size(rate)}/s · ${duration((total - progress(upload)) / rate)} left`
      : now;
  }
  return {
    queued: `${size(total)} · waiting its turn`,
    checking: size(total),
    clash: "A file of this name exists",
    unreachable: "Waiting for the service, then it starts again",
    done: size(total),
    failed: error,
    cancelled: "Not uploaded",
  }[state];
}
