// How fast bytes leave the browser, over the last seconds: those of one upload, and of all.

const SECONDS = 10;
const APART = 0.2; // seconds between two samples

const now = () => performance.now() / 1000;

/**
 * Bytes in a second; 0 where too little is known.
 * @param {[number, number][]} samples
 */
export function speed(samples, at = now()) {
  const recent = samples.filter(([then]) => at - then < SECONDS);
  const [first, latest] = [recent[0], recent.at(-1)];
  if (!first || !latest || latest[0] - first[0] < 0.3) return 0;
  return Math.max(0, (latest[1] - first[1]) / (at - first[0]));
}

/**
 * With one more sample, and without those that are too old.
 * @param {[number, number][]} samples @param {number} bytes
 * @returns {[number, number][]}
 */
export function sampled(samples, bytes, at = now()) {
  const latest = samples.at(-1);
  if (latest && at - latest[0] < APART) return samples;
  return [...samples.filter(([then]) => at - then < SECONDS), [at, bytes]];
}

/**
 * How many bytes it was `seconds` ago; 0 where that is not known.
 * @param {[number, number][]} samples @param {number} seconds
 */
export const before = (samples, seconds, at = now()) =>
  samples.findLast(([then]) => at - then >= seconds)?.[1] ?? 0;

// All uploads together. What is sent once more counts once more: it takes its time.

let total = 0;
/** @type {[number, number][]} */
let samples = [];

/** @param {number} bytes */
export const moved = (bytes) => (total += Math.max(0, bytes));
export const tick = () => (samples = sampled(samples, total));
export const together = () => speed(samples);
