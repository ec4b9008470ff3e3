// The one place where the state of the page lives. Views read it, actions change it through set().
import { useEffect, useState } from "./vendor/hooks.js";

export const NO_FILES = { entries: [], next: null, loading: false, error: null };

export const state = {
  ready: false, // the session is known
  reachable: true, // the service answers
  session: null, // {user, username, admin}, null for an anonymous visitor
  namespaces: null, // as the service lists them, null until it has
  current: "default", // the namespace that is shown
  files: NO_FILES, // what has been loaded of it, by name
  prefix: "", // the filter, applied by the service
  sort: { key: "name", down: false },
  selected: new Set(), // names
  dialog: null, // {kind, …}: one at a time
  menu: null, // {items, x, y, from}
  railOpen: false, // on a narrow screen
  uploads: [], // see uploads.js
  notices: [], // {id, text, error}
  said: "", // for screen readers, politely
};

const listeners = new Set();

export function set(patch) {
  Object.assign(state, patch);
  for (const listener of listeners) listener();
}

export function useStore() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = () => redraw((n) => n + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return state;
}
