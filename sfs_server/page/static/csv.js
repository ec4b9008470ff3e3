// The cells of a CSV or TSV file (RFC 4180, and what spreadsheets make of it).

export const MOST_ROWS = 1000;
export const MOST_COLUMNS = 50;

const SEPARATORS = [",", ";", "\t", "|"];

/**
 * The rows of the text, at most MOST_ROWS of MOST_COLUMNS cells, and whether there are more of
 * either. Where the text goes on (`partial`), a row that is not whole is left out.
 * @param {string} text @param {boolean} partial
 */
export function readTable(text, partial) {
  const separator = separatorOf(text);
  /** @type {string[][]} */
  const rows = [];
  let row = [""];
  let quoted = false;
  let more = false;
  const end = () => {
    more ||= row.length > MOST_COLUMNS;
    if (row.length > 1 || row[0]) rows.push(row.slice(0, MOST_COLUMNS));
    row = [""];
  };
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at];
    if (quoted) {
      if (letter !== '"') row[row.length - 1] += letter;
      else if (text[at + 1] === '"') row[row.length - 1] += text[(at += 1)];
      else quoted = false;
    } else if (letter === '"' && row[row.length - 1] === "") quoted = true;
    else if (letter === separator) row.push("");
    else if (letter === "\n" || letter === "\r") end();
    else row[row.length - 1] += letter;
    if (rows.length > MOST_ROWS) break;
  }
  if (!partial) end();
  more ||= rows.length > MOST_ROWS;
  return { rows: rows.slice(0, MOST_ROWS), more };
}

/**
 * The one that is most often in the first line, outside of quotes.
 * @param {string} text
 */
function separatorOf(text) {
  const [line] = text.replace(/"[^"]*"/g, "").split(/[\r\n]/, 1);
  const counts = SEPARATORS.map((separator) => line.split(separator).length);
  return SEPARATORS[counts.indexOf(Math.max(...counts))];
}
