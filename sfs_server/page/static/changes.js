// What the service says has changed, as it comes by its event stream.

const MOST_PENDING = 65_536; // characters of one event: none of the service has as many

/**
 * Takes an event stream apart (WHATWG HTML §9.2.6, as far as this service uses it: lines end with a
 * line feed). It is called with each piece of the text, and returns the data of the events that are
 * whole since.
 */
export function eventReader() {
  let line = ""; // what has come of it
  /** @type {string[]} */
  let data = []; // of the event that is not whole yet
  let size = 0;
  /** @param {string} piece @returns {string[]} */
  return (piece) => {
    const events = [];
    const lines = (line + piece).split("\n");
    line = lines.pop() ?? "";
    for (const text of lines.map((one) => one.replace(/\r$/, ""))) {
      if (text === "") {
        if (data.length) events.push(data.join("\n"));
        data = [];
        size = 0;
      } else if (text.startsWith("data:")) {
        data.push(text.slice("data:".length).replace(/^ /, ""));
        size += text.length;
      }
    }
    if (size + line.length > MOST_PENDING) throw new RangeError("An event has no end.");
    return events;
  };
}

/**
 * null where it is none that this page knows.
 * @param {string} data @returns {Change | null}
 */
export function changeOf(data) {
  const { type, name, change } = JSON.parse(data);
  if (change === "many") return { change };
  const known = ["file", "folder"].includes(type) && ["put", "deleted"].includes(change);
  return known && typeof name === "string" ? { type, name, change } : null;
}
