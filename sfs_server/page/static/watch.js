// The event stream of one upload: what the service has stored, as it says itself.
import { linkToTransfer } from "./api.js";

// A browser opens six connections to a server of HTTP/1.1. Three uploads and two streams leave one
// for everything else; where connections are shared, each upload has its stream.
const visits = performance.getEntriesByType("navigation");
const [visit] = /** @type {PerformanceResourceTiming[]} */ (visits);
const MOST_STREAMS = /^h[23]/.test(visit?.nextHopProtocol) ? 3 : 2;
const MOST_FAILURES = 3;
const SILENCE_MS = 3000; // before the first event

let open = 0;

/**
 * Calls stored(bytes) as the events come, and lost() when no more will. Returns a function that
 * ends it, or null where there are streams enough already.
 * @param {string} transfer
 * @param {{ stored: (bytes: number) => void, lost: () => void }} handlers
 */
export function watch(transfer, { stored, lost }) {
  /** @type {EventSource | undefined} */
  let source;
  let over = false;
  let failures = 0;

  const end = () => {
    if (over) return;
    over = true;
    clearTimeout(silence);
    open -= 1;
    source?.close();
  };
  const giveUp = () => {
    if (over) return;
    end();
    lost();
  };

  if (open >= MOST_STREAMS) return null;
  open += 1;
  const silence = setTimeout(giveUp, SILENCE_MS);
  linkToTransfer(transfer).then((url) => {
    if (over) return;
    const stream = new EventSource(url);
    source = stream;
    stream.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      failures = 0;
      clearTimeout(silence);
      stored(event.bytes);
      if (event.done) end();
    };
    stream.onerror = () => {
      failures += 1;
      if (stream.readyState === EventSource.CLOSED || failures >= MOST_FAILURES) giveUp();
    };
  }, giveUp);
  return end;
}
