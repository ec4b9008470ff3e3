// The namespaces, and who is signed in. On a narrow screen it is a bar that opens.
import { useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import { follow, open, signOut } from "./actions.js";
import { number } from "./format.js";
import { html } from "./html.js";
import { addressOf, placeIn } from "./places.js";
import { mayCreateNamespace } from "./rights.js";
import { set } from "./store.js";
import { Button, Icon, IconButton } from "./ui.js";
import { isBusy } from "./uploads.js";

const FEW = 12; // namespaces that are found without a filter
const MOST = 1000; // that are shown at once

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
        <span>${current && html`<span class="unseen">Namespace: </span>`}${current || "Namespaces"}</span>
        <${Icon} name="chevron" size="16" />
      </button>
    </div>
    <nav id="rail" aria-labelledby="rail-title">
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
          : html`<${Namespaces} namespaces=${namespaces} current=${current} shown=${railOpen} />`
      }
    </nav>
    ${state.ready && html`<${Person} session=${session} />`}
  </header>`;
}

/**
 * All of them, with a filter where there are many. Many are one stop for the Tab key: the arrows
 * move among them.
 * @param {{ namespaces: Namespace[], current: string, shown: boolean }} props
 */
function Namespaces({ namespaces, current, shown }) {
  const list = useRef(/** @type {any} */ (null));
  const [filter, setFilter] = useState("");
  const many = namespaces.length > FEW;
  const part = many ? filter.trim().toLowerCase() : "";
  const found = useMemo(
    () => namespaces.filter(({ name }) => name.toLowerCase().includes(part)),
    [namespaces, part],
  );
  const listed = found.some(({ name }) => name === current);
  // Drawn once for each list: a thousand of them are not compared at each change of the page.
  const items = useMemo(() => {
    const stop = listed ? current : found[0]?.name;
    return found
      .slice(0, MOST)
      .map(
        (ns) => html`<${Entry} key=${ns.name} ns=${ns} here=${ns.name === current}
          tab=${many && ns.name !== stop ? -1 : undefined} />`,
      );
  }, [found, current, many]);
  useLayoutEffect(() => {
    if (part) list.current.scrollTop = 0;
    else list.current.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }, [current, listed, part, shown]);

  /** @param {KeyboardEvent & ElementEvent} event */
  const onKeyDown = (event) => {
    /** @type {NodeListOf<HTMLElement>} */
    const reached = event.currentTarget.querySelectorAll("input, a");
    const stops = [...reached];
    const at = stops.indexOf(event.target);
    if (event.key === "Escape" && filter) setFilter("");
    else if (event.key === "Enter" && at === 0 && part) stops[1]?.click();
    else if (event.key === "ArrowDown") stops[at + 1]?.focus();
    else if (event.key === "ArrowUp") stops[at - 1]?.focus();
    else return;
    event.preventDefault();
  };

  return html`<div class="namespaces" onKeyDown=${onKeyDown}>
    ${
      many &&
      html`<label class="field">
        <${Icon} name="search" size="16" />
        <input aria-label="Filter namespaces by a part of the name"
          placeholder="Filter" autocomplete="off" autocapitalize="off" spellcheck="false"
          value=${filter}
          onInput=${(/** @type {InputEventOf} */ event) => setFilter(event.target.value)} />
      </label>`
    }
    <ul ref=${list} tabindex="-1">${items}</ul>
    <p class="soft small" role="status">${
      found.length > MOST
        ? `and ${number(found.length - MOST)} more: filter to see them`
        : found.length === 0 && part && `No name has “${filter.trim()}” in it.`
    }</p>
  </div>`;
}

/** @param {{ ns: Namespace, here: boolean, tab?: number }} props */
const Entry = ({ ns, here, tab }) => html`<li>
  <a
    href=${addressOf(placeIn(ns.name))}
    aria-current=${here ? "page" : undefined}
    tabindex=${tab}
    onClick=${(/** @type {MouseEvent} */ event) => follow(event, placeIn(ns.name))}
  >
    <span class="ns-name" title=${ns.name}>${ns.name}</span>
    ${ns.hidden && html`<${Icon} name="hidden" size="16" /><span class="unseen">hidden</span>`}
    <span class="ns-count">${ns.count === null ? "?" : number(ns.count)}<span class="unseen"> files</span></span>
  </a>
</li>`;

const leave = () => (isBusy() ? open("sign-out") : signOut());

/** @param {{ session: Session | null }} props */
const Person = ({ session }) =>
  session === null
    ? html`<div class="person visitor">
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
