// What a person copies. The browser's clipboard is there only under TLS and on localhost; the older
// way, from an input that is selected, works everywhere.

/**
 * Whether that went well.
 * @param {string} text
 */
export async function copy(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const from = /** @type {HTMLElement} */ (document.activeElement);
  const input = document.createElement("textarea");
  input.value = text;
  input.className = "unseen";
  (from.closest("dialog") ?? document.body).append(input); // nothing else may have the focus
  input.select();
  const done = document.execCommand("copy");
  input.remove();
  from.focus({ preventScroll: true });
  return done;
}
