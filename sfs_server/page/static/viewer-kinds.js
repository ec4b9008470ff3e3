// How a file is shown. The service knows a file's type by its name alone, and has none for many
// names; the name is looked at as well.

const NONE = /$^/;

// The first row of which the name or the type fits. Whatever fits none is looked into: it may be
// text.
/** @type {[ViewKind, RegExp, RegExp][]} */
const KINDS = [
  // names whose types mean something else: sounds of AAC, templates of PowerPoint, films, 3D models
  ["text", /\.([mc]?ts|ass|ssa|sub|pot|mod|obj|gltf|php)$/i, NONE],
  ["markdown", /\.(md|markdown|mdown|mkd)$/i, /^text\/(x-)?markdown/],
  ["table", /\.(csv|tsv|tab)$/i, /^text\/(csv|tab-separated-values)/],
  ["page", NONE, /html/],
  ["pdf", NONE, /^application\/pdf/],
  ["image", NONE, /^image\//],
  ["video", NONE, /^video\//],
  ["audio", NONE, /^audio\//],
  [
    "text",
    /\.(srt|sbv|lrc|env|properties|tex|bib|eml|[chm]pp|cc|java|rb|pas|bas|vbs?|cmd|ps1|sh)$/i,
    /^(text|message)\/|json|xml$|yaml|toml|sql|script|x-sh|x-tex/,
  ],
  [
    "none",
    NONE,
    /^(font|model)\/|zip|tar|compressed|archive|debian|rpm|rar|wasm|word|excel|powerpoint|office|opendocument/,
  ],
];

/** @param {string} name @param {string} type @returns {ViewKind} */
export function viewKind(name, type) {
  const found = KINDS.find(([, names, types]) => names.test(name) || types.test(type));
  return found ? found[0] : "unknown";
}
