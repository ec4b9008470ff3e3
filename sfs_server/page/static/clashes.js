// An upload whose name is taken: what the person wants.
import { findFile } from "./api.js";
import { state } from "./store.js";
import { change, isActive, pump } from "./uploads.js";

const MOST_COPIES = 99; // "name (2).txt" … "name (99).txt"

/** @param {Upload} upload @param {"replace" | "keep" | "skip"} how */
export async function resolve(upload, how) {
  if (how === "skip") change(upload, { state: "cancelled" });
  if (how === "replace") change(upload, { state: "queued", replace: true });
  if (how === "keep") {
    change(upload, { state: "checking" });
    try {
      const name = await freeName(upload.namespace, upload.name);
      if (upload.state === "checking") change(upload, { name, state: "queued" });
    } catch (error) {
      change(upload, { state: "failed", error: error.message });
    }
  }
  pump();
}

/** @param {string} namespace @param {string} name */
async function freeName(namespace, name) {
  const dot = name.lastIndexOf(".");
  const [stem, extension] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
  const queued = new Set(state.uploads.filter(isActive).map((upload) => upload.name));
  for (let n = 2; n <= MOST_COPIES; n += 1) {
    const candidate = `${stem} (${n})${extension}`;
    if (!queued.has(candidate) && !(await findFile(namespace, candidate))) return candidate;
  }
  throw new Error("There are too many copies of this file already.");
}
