// A namespace is made, or deleted with all that is in it.
import * as api from "./api.js";
import { close, go, loadNamespaces, notify } from "./actions.js";
import { placeIn } from "./places.js";
import { state } from "./store.js";

/** @param {string} name @param {boolean} hidden */
export async function createNamespace(name, hidden) {
  await api.createNamespace(name, hidden);
  close();
  await loadNamespaces();
  await go(placeIn(name));
}

/** @param {Namespace} ns */
export async function deleteNamespace(ns) {
  await api.deleteNamespace(ns.name);
  close();
  notify(`${ns.name} has been deleted.`);
  await loadNamespaces();
  if (state.place.namespace === ns.name) await go(placeIn("default"));
}
