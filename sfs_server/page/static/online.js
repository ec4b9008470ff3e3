// Whether the service responds. While it does not, it is asked again, ever more rarely.
import { isAlive } from "./api.js";
import { set, state } from "./store.js";

const FIRST_MS = 1000;
const LONGEST_MS = 10_000;

/** @type {(() => void)[]} */
const comebacks = [];

/** @param {() => void} callback */
export const onComeback = (callback) => comebacks.push(callback);

/** @param {number} more responses that are late */
export const late = (more) => set({ late: state.late + more });

export function unreachable() {
  if (!state.reachable) return;
  set({ reachable: false });
  ask(FIRST_MS);
}

/** @param {number} wait */
function ask(wait) {
  setTimeout(async () => {
    if (!(await isAlive())) {
      ask(Math.min(wait * 1.5, LONGEST_MS));
      return;
    }
    set({ reachable: true });
    for (const callback of comebacks) callback();
  }, wait);
}
