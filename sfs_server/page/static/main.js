// The start: who is there, where, and what is listened to.
import { render } from "./vendor/preact.js";
import { getSession, credential, onTrouble } from "./api.js";
import { arrive, close, loadNamespaces, notify, open, tokenRefused } from "./actions.js";
import { App } from "./app.js";
import { html } from "./html.js";
import { keepTrue } from "./live.js";
import { late, onComeback, unreachable } from "./online.js";
import { placeOf } from "./places.js";
import { set, state } from "./store.js";
import { isBusy, resume } from "./uploads.js";

// A link with a token signs in. The token leaves the address at once: it is not to be seen, kept in
// the history or copied with the address.
function tokenOfAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

/** @param {string} token */
const welcome = (token) =>
  import("./welcome.js").then((module) => module.welcome(token), unreachable);

async function whoIsThere() {
  if (credential.get() === null) return;
  try {
    set({ session: await getSession() });
  } catch (error) {
    if (error.status !== 401) return notify(error.message, { error: true });
    credential.clear();
    open("sign-in", { expired: true });
  }
}

async function start() {
  const token = tokenOfAddress();
  onTrouble({ refused: tokenRefused, unreachable, late });
  onComeback(async () => {
    await whoIsThere();
    await Promise.all([loadNamespaces(), arrive(state.place)]);
    resume();
  });
  history.scrollRestoration = "manual"; // the list does it, once it is loaded
  addEventListener("popstate", () => {
    close(); // a dialog is about what was shown
    arrive(placeOf(location));
  });
  addEventListener("hashchange", () => {
    const another = tokenOfAddress();
    if (another) welcome(another);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) loadNamespaces();
  });
  addEventListener("beforeunload", (event) => {
    if (isBusy()) event.preventDefault();
  });
  render(html`<${App} />`, /** @type {Element} */ (document.getElementById("page")));
  await whoIsThere();
  if (token) await welcome(token);
  set({ ready: true });
  resume();
  keepTrue();
  await Promise.all([loadNamespaces(), arrive(placeOf(location))]);
}

start();
