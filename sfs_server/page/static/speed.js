// What the last seconds of an upload lead one to expect.

/** @param {Upload} upload */
export function speed({ samples }) {
  const [first, latest] = [samples[0], samples.at(-1)];
  if (!first || !latest || latest[0] - first[0] < 0.3) return 0;
  return Math.max(0, (latest[1] - first[1]) / (latest[0] - first[0]));
}

/**
 * The browser has sent far more than the service has stored, or all of it.
 * @param {Upload} upload
 */
export const isWaiting = ({ state: now, sent, stored, size }) =>
  now === "running" &&
  (sent >= size || (stored !== null && sent - stored > Math.max(16e6, size / 10)));
