// Preact and htm, joined: components are written as html`<p>…</p>`. What is put into a template
// is text or a property, never markup. What is read, as text or as one of READ, is what is there.
import { h } from "./vendor/preact.js";
import htm from "./vendor/htm.js";
import { visible } from "./format.js";

const READ = ["title", "aria-label", "alt"];

/** @param {any} type @param {Record<string, any> | null} props @param {any[]} children */
function create(type, props, ...children) {
  if (typeof type === "string") {
    for (const name of READ) if (props?.[name]) props[name] = visible(props[name]);
  }
  return h(type, props, ...children.map((it) => (typeof it === "string" ? visible(it) : it)));
}

export const html = htm.bind(create);
