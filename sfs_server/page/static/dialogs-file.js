// Share a file.
import { useEffect, useState } from "./vendor/hooks.js";
import { credential, linkTo } from "./api.js";
import { exactTime } from "./format.js";
import { html } from "./html.js";
import { Button, Dialog, Icon } from "./ui.js";

/** @type {[number, string][]} */
const LIVES = [
  [300, "5 minutes"],
  [3600, "1 hour"],
  [86_400, "1 day"],
  [604_800, "7 days"],
];

/** @param {{ file: Entry, session: Session | null, onClose: () => void }} props */
export function Share({ file, session, onClose }) {
  const [ttl, setTtl] = useState(86_400);
  const [link, setLink] = useState(/** @type {FileLink | null} */ (null));
  const [error, setError] = useState("");
  useEffect(() => {
    let wanted = true;
    setLink(null);
    setError("");
    linkTo(file, ttl).then(
      (made) => wanted && setLink(made),
      (failure) => wanted && setError(failure.message),
    );
    return () => (wanted = false);
  }, [ttl]);
  const command = link ? `curl -OJ '${link.download.replaceAll("'", "%27")}'` : "";
  return html`<${Dialog} title=${`Link to this ${file.type}`} onClose=${onClose}>
    <p class="break" dir="auto">${file.name}</p>
    ${
      session
        ? html`<fieldset class="choices">
          <legend>It opens it, for everyone who has it, for</legend>
          ${LIVES.map(
            ([seconds, label]) => html`<label key=${seconds}>
              <input type="radio" name="ttl" value=${seconds} checked=${ttl === seconds}
                onChange=${() => setTtl(seconds)} />
              <span>${label}</span>
            </label>`,
          )}
        </fieldset>`
        : html`<p class="soft">Anybody may read it, at this address.</p>`
    }
    ${error && html`<p class="wrong" role="alert">${error}</p>`}
    <${Copy} label="Address" text=${link ? link.url : ""} />
    <${Copy} label="On a command line" text=${command} />
    ${link?.expires && html`<p class="soft small">${goodUntil(link.expires)}</p>`}
  <//>`;
}

/**
 * No link outlives the token that made it: its `exp` is the link's end then.
 * @param {number} end
 */
function goodUntil(end) {
  const until = `Good until ${exactTime(end)}`;
  return end === Math.floor(claims().exp)
    ? `${until}: your token expires then, and the link with it.`
    : `${until}.`;
}

function claims() {
  try {
    const [, payload] = String(credential.get()).split(".");
    return JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return {}; // a token of another kind says nothing
  }
}

/**
 * The clipboard is there only under TLS and on localhost; the older way works everywhere.
 * @param {string} text
 */
export async function copy(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const from = /** @type {HTMLElement} */ (document.activeElement);
  const input = document.createElement("textarea");
  input.value = text;
  from.after(input); // a dialog lets nothing out of it have the focus
  input.select();
  const done = document.execCommand("copy");
  input.remove();
  from.focus();
  return done;
}

/** @param {{ label: string, text: string }} props */
function Copy({ label, text }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => setCopied(false), [text]);
  /** @param {ElementEvent} event */
  const onClick = async (event) => {
    event.currentTarget.parentElement?.querySelector("input")?.select();
    setCopied(await copy(text));
  };
  return html`<div class="copy">
    <label class="input"><span>${label}</span>
      <input readonly value=${text} placeholder="…"
        onFocus=${(/** @type {InputEventOf} */ event) => event.target.select()} />
    </label>
    <${Button} disabled=${!text} onClick=${onClick} aria-live="polite">
      <${Icon} name=${copied ? "check" : "copy"} size="18" />${copied ? "Copied" : "Copy"}
      <span class="unseen"> ${label}</span>
    <//>
  </div>`;
}
