// The namespaces, and who is signed in. On a narrow screen it is a bar that opens.
import { follow, open, signOut } from "./actions.js";
import { number } from "./format.js";
import { html } from "./html.js";
import { addressOf, placeIn } from "./places.js";
import { mayCreateNamespace } from "./rights.js";
import { set, state as store } from "./store.js";
import { Button, Icon, IconButton } from "./ui.js";
import { isActive } from "./uploads.js";

/** @param {{ state: State }} props */
export function Rail({ state }) {
  const { session, namespaces, railOpen } = state;
  const current = state.place.namespace;
  const toggle = () => set({ railOpen: !railOpen });
  return html`<header class=${railOpen ? "rail open" : "rail"}>
    <div class="brand">
      <a href="/" onClick=${(/** @type {MouseEvent} */ event) => follow(event, placeIn("default"))} class="mark">
        <${Icon} name="mark" size="28" /><span>SFS</span>
      </a>
      <button type="button" class="rail-toggle" aria-expanded=${String(railOpen)}
        aria-controls="rail" onClick=${toggle}>
        <span>${current}</span><${Icon} name="chevron" size="16" />
      </button>
    </div>
    <div class="rail-body" id="rail">
      <nav aria-labelledby="rail-title">
        <div class="rail-title">
          <h2 id="rail-title">Namespaces</h2>
          ${
            mayCreateNamespace(session) &&
            html`<${IconButton} icon="plus" label="New namespace"
              onClick=${() => open("create-namespace")} />`
          }
        </div>
        ${
          namespaces === null
            ? [9, 6, 8].map(
                (width) => html`<div class="bone" style=${{ width: `${width}rem` }}></div>`,
              )
            : html`<ul>
                ${namespaces.map(
                  (ns) => html`<${Entry} key=${ns.name} ns=${ns} here=${ns.name === current} />`,
                )}
              </ul>`
        }
      </nav>
      ${state.ready && html`<${Person} session=${session} />`}
    </div>
  </header>`;
}

/** @param {{ ns: Namespace, here: boolean }} props */
const Entry = ({ ns, here }) => html`<li>
  <a
    href=${addressOf(placeIn(ns.name))}
    aria-current=${here ? "page" : undefined}
    onClick=${(/** @type {MouseEvent} */ event) => follow(event, placeIn(ns.name))}
  >
    <span class="ns-name" title=${ns.name}>${ns.name}</span>
    ${ns.hidden && html`<${Icon} name="hidden" size="16" /><span class="unseen">hidden</span>`}
    <span class="ns-count">${ns.count === null ? "?" : number(ns.count)}<span class="unseen"> files</span></span>
  </a>
</li>`;

const leave = () => (store.uploads.some(isActive) ? open("sign-out") : signOut());

/** @param {{ session: Session | null }} props */
const Person = ({ session }) =>
  session === null
    ? html`<div class="person">
        <p class="soft">Visitor</p>
        <${Button} onClick=${() => open("sign-in")}>Sign in<//>
      </div>`
    : html`<div class="person">
        <p>
          <strong dir="auto">${session.username || session.user}</strong>
          ${session.admin && html`<span class="tag">admin</span>`}
        </p>
        <button type="button" class="quiet" onClick=${leave}>Sign out</button>
      </div>`;
