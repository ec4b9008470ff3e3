// Something is done to many entries, a few at a time. What takes long shows in a notice how far it is,
// and can be stopped there, or with Escape.
import { amend, dismiss, notify } from "./actions.js";
import { number } from "./format.js";
import { state } from "./store.js";

const AT_ONCE = 4;
const LONG_MS = 1000;

/**
 * `act` returns whether it was done; what it throws is collected.
 * @template Item
 * @param {Item[]} items @param {string} doing such as "Deleting"
 * @param {(item: Item) => Promise<boolean>} act
 */
export async function eachOf(items, doing, act) {
  const left = items.toReversed();
  /** @type {Item[]} */
  const done = [];
  /** @type {Error[]} */
  const failures = [];
  const work = async () => {
    for (let item = left.pop(); item; item = left.pop()) {
      try {
        if (await act(item)) done.push(item);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  let stopped = 0;
  const stop = () => {
    stopped += left.length;
    left.length = 0;
  };
  const text = () => `${doing} ${number(items.length)}: ${number(done.length)} done`;
  let id = 0;
  const timer = setInterval(() => {
    if (id) amend(id, text());
    else id = notify(text(), { stay: true, offer: { label: "Stop", act: stop } });
  }, LONG_MS);
  /** @param {KeyboardEvent} event */
  const onKey = (event) => event.key === "Escape" && !state.dialog && !state.renaming && stop();
  addEventListener("keydown", onKey);
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  removeEventListener("keydown", onKey);
  clearInterval(timer);
  dismiss(id);
  return { done, failures, stopped };
}
