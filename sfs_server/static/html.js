// Preact and htm, joined: components are written as html`<p>…</p>`. What is put into a template
// is text or a property, never markup.
import { h } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);
