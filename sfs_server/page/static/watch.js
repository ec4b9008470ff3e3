// The event stream of one upload: what the service has stored, as it says itself.
import { linkToTransfer } from "./api.js";

// A browser opens six connections to a server of HTTP/1.1. Three uploads and two streams leave one
// for everything else; where connections are shared, each upload has its stream.
const nextHop = () => performance.getEntriesByType("navigation")[0]?.nextHopProtocol ?? "";
const MOST_STREAMS = /^h[23]/.test(nextHop()) ? 3 : 2;
const MOST_FAILURES = 3;
const SILENCE_MS = 3000; // before the first event

let open = 0;

// Calls stored(bytes) as the events come, and lost() when no more will. Returns a function that ends
// it, or null where there are streams enough already.
export function watch(transfer, { stored, lost }) {
  let source = null;
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
    source = new EventSource(url);
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      failures = 0;
      clearTimeout(silence);
      stored(event.bytes);
      if (event.done) end();
    };
    source.onerror = () => {
      failures += 1;
      if (source.readyState === EventSource.CLOSED || failures >= MOST_FAILURES) giveUp();
    };
  }, giveUp);
  return end;
}
