// Sign in, also as somebody else, and make a namespace.
import { useState } from "./vendor/hooks.js";
import { become } from "./actions.js";
import { getSession } from "./api.js";
import { html } from "./html.js";
import { createFolder } from "./moving.js";
import { createNamespace } from "./namespaces.js";
import { placeName } from "./places.js";
import { rename } from "./queue.js";
import { Button, Dialog } from "./ui.js";

/**
 * Runs `act` on submit; what goes wrong is shown in the form.
 * @param {(form: FormData) => Promise<unknown>} act
 */
function useForm(act) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  /** @param {SubmitEvent & { target: HTMLFormElement }} event */
  const onSubmit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      await act(new FormData(event.target));
    } catch (failure) {
      setError(failure.message);
      setBusy(false);
    }
  };
  return { busy, error, onSubmit };
}

/** @param {{ expired?: boolean, link?: boolean, onClose: () => void }} props */
export function SignIn({ expired, link, onClose }) {
  const { busy, error, onSubmit } = useForm(async (form) => {
    const token = String(form.get("token")).trim();
    await become(token, await getSession(token));
  });
  return html`<${Dialog} title="Sign in" onClose=${onClose}>
    <form onSubmit=${onSubmit}>
      ${
        expired &&
        html`<p><strong>
          You were signed out: your token has expired, or is not accepted any more.
        </strong></p>`
      }
      ${
        link &&
        html`<p><strong>
          The link that you opened does not sign you in: it has expired, or a part of it is missing.
          Ask the person who sent it to you for a new one.
        </strong></p>`
      }
      <p>
        You sign in with a token: a long line of letters and digits that stands for your name and
        password. You get one from the person who runs this service. Paste it here:
      </p>
      <label class="input">
        <span>Token</span>
        <input type="password" name="token" required autofocus autocomplete="off" spellcheck="false"
          aria-invalid=${error ? "true" : undefined}
          aria-describedby=${error ? "wrong" : undefined} />
      </label>
      ${error && html`<p class="wrong" id="wrong" role="alert">${error}</p>`}
      <p class="soft small">
        It is kept in this tab only, and forgotten when you close it. If you run the service: it
        prints a token when it starts, and <code>sfs-server token -user NAME</code> prints more.
      </p>
      <div class="buttons">
        <${Button} onClick=${onClose}>Cancel<//>
        <button type="submit" class="button primary" disabled=${busy}>Sign in</button>
      </div>
    </form>
  <//>`;
}

/**
 * Somebody is signed in, and a link brought the token of somebody else.
 * @param {object} props
 * @param {string} props.token
 * @param {Session} props.next
 * @param {Session | null} props.session
 * @param {() => void} props.onClose
 */
export function SwitchUser({ token, next, session, onClose }) {
  const [now, then] = [session, next].map(called);
  return html`<${Dialog} title="Sign in as somebody else?" onClose=${onClose}>
    <p>
      You are signed in as <strong class="break" dir="auto">${now}</strong>. This link would sign you in
      as <strong class="break" dir="auto">${then}</strong>, who can see what you do here then. If it is
      not yours, stay.
    </p>
    <div class="buttons">
      <${Button} onClick=${() => become(token, next)}>Sign in by the link<//>
      <${Button} look="primary" autofocus onClick=${onClose}>Stay as you are<//>
    </div>
  <//>`;
}

/**
 * A display name need not be one's own.
 * @param {Session | null} who
 */
const called = (who) =>
  !who ? "somebody else" : who.username === who.user ? who.user : `${who.username} (${who.user})`;

/**
 * The service does not take the path of a file that is to be uploaded.
 * @param {{ upload: Upload, onClose: () => void }} props
 */
export function RenameUpload({ upload, onClose }) {
  const { error, onSubmit } = useForm(async (form) => {
    rename(upload, String(form.get("path")));
    onClose();
  });
  return html`<${Dialog} title="Upload under another name" onClose=${onClose}>
    <form onSubmit=${onSubmit}>
      <p>${upload.error}</p>
      <label class="input">
        <span>${upload.path.includes("/") ? "Folders and name" : "Name"}</span>
        <input name="path" required autofocus autocomplete="off" autocapitalize="off"
          spellcheck="false" dir="auto" defaultValue=${allowed(upload.path)} />
      </label>
      ${error && html`<p class="wrong" role="alert">${error}</p>`}
      <div class="buttons">
        <${Button} onClick=${onClose}>Cancel<//>
        <button type="submit" class="button primary">Upload</button>
      </div>
    </form>
  <//>`;
}

/**
 * A path that the service takes, as near as can be to this one.
 * @param {string} path
 */
const allowed = (path) =>
  path
    .split("/")
    .map((name) => name.replace(/[\\\p{Cc}]/gu, "_").trim() || "_")
    .join("/");

/**
 * `then` is called with the folder, or with nothing; else its row is shown.
 * @param {{ where: Where, then?: (made?: Where) => void, onClose: () => void }} props
 */
export function NewFolder({ where, then, onClose }) {
  const leave = () => (then ?? onClose)();
  const { busy, error, onSubmit } = useForm(async (form) => {
    const { namespace, path } = await createFolder(where, String(form.get("name")).trim());
    then?.({ namespace, folder: path });
  });
  return html`<${Dialog} title="New folder" onClose=${leave}>
    <form onSubmit=${onSubmit}>
      <p>In <span class="break" dir="auto">${placeName(where)}</span></p>
      <label class="input">
        <span>Name of the new folder</span>
        <input name="name" required autofocus pattern="[^\\/]+" title="No slash" dir="auto"
          autocomplete="off" autocapitalize="off" spellcheck="false"
          aria-invalid=${error ? "true" : undefined} />
      </label>
      ${error && html`<p class="wrong" role="alert">${error}</p>`}
      <div class="buttons">
        <${Button} onClick=${leave}>Cancel<//>
        <button type="submit" class="button primary" disabled=${busy}>Create</button>
      </div>
    </form>
  <//>`;
}

/** @param {{ onClose: () => void }} props */
export function CreateNamespace({ onClose }) {
  const { busy, error, onSubmit } = useForm((form) =>
    createNamespace(String(form.get("name")), form.get("hidden") === "on"),
  );
  return html`<${Dialog} title="New namespace" onClose=${onClose}>
    <form onSubmit=${onSubmit}>
      <label class="input">
        <span>Name</span>
        <input name="name" required autofocus maxlength="63" pattern="[A-Za-z0-9._\\-]+"
          title="Letters, digits, dots, underscores and hyphens"
          autocomplete="off" autocapitalize="off" spellcheck="false"
          aria-describedby="rule" aria-invalid=${error ? "true" : undefined} />
      </label>
      <p class="soft small" id="rule">Up to 63 letters, digits, dots, underscores and hyphens.</p>
      <label class="check">
        <input type="checkbox" name="hidden" />
        <span>Hidden<small>For others it does not exist. You can change this later.</small></span>
      </label>
      ${error && html`<p class="wrong" role="alert">${error}</p>`}
      <div class="buttons">
        <${Button} onClick=${onClose}>Cancel<//>
        <button type="submit" class="button primary" disabled=${busy}>Create</button>
      </div>
    </form>
  <//>`;
}
