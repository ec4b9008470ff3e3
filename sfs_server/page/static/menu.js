// A menu of actions next to the button that opened it.
import { useEffect, useLayoutEffect, useRef } from "./vendor/hooks.js";
import { html } from "./html.js";
import { set } from "./store.js";
import { Icon } from "./ui.js";

const GAP = 4;

/** @param {{ menu: OpenMenu }} props */
export function Menu({ menu }) {
  const list = useRef(/** @type {any} */ (null));
  /** @param {boolean} focus */
  const shut = (focus) => {
    set({ menu: null });
    if (focus && menu.from.isConnected) menu.from.focus();
  };

  // Under the button and flush with its right side, or above it where there is no space.
  useLayoutEffect(() => {
    const { box } = menu;
    const { offsetWidth: width, offsetHeight: height } = list.current;
    const below = box.bottom + GAP + height <= innerHeight;
    const left = Math.min(box.right - width, innerWidth - width - 8);
    list.current.style.left = `${Math.max(8, left)}px`;
    list.current.style.top = `${Math.max(8, below ? box.bottom + GAP : box.top - GAP - height)}px`;
    list.current.querySelector("button").focus({ preventScroll: true });
  }, [menu]);

  useEffect(() => {
    /** @param {Event} event */
    const away = (event) => list.current?.contains(event.target) || shut(false);
    const moved = () => shut(false);
    addEventListener("pointerdown", away);
    addEventListener("scroll", moved, { passive: true });
    addEventListener("resize", moved);
    return () => {
      removeEventListener("pointerdown", away);
      removeEventListener("scroll", moved);
      removeEventListener("resize", moved);
    };
  }, [menu]);

  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    const buttons = [...list.current.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    /** @type {Record<string, number>} */
    const places = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 };
    const to = places[event.key];
    if (event.key === "Escape" || event.key === "Tab") shut(true);
    else if (to === undefined) return;
    else buttons[(to + buttons.length) % buttons.length].focus();
    event.preventDefault();
  };

  return html`<div ref=${list} class="menu" role="menu" aria-label="Actions" onKeyDown=${onKeyDown}>
    ${menu.items.map(
      ({ icon, label, act, danger }) => html`<button
        key=${label}
        type="button"
        role="menuitem"
        tabindex="-1"
        class=${danger ? "danger" : ""}
        onClick=${() => {
          shut(true);
          act();
        }}
      >
        <${Icon} name=${icon} size="18" />${label}
      </button>`,
    )}
  </div>`;
}
