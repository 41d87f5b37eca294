// Rows as a file that other programs read.

import { constants, element } from "./page.js";

// Text that a spreadsheet would take for a formula gets a leading apostrophe.
function inert(cell) {
  return typeof cell === "string" && constants.formula.some((sign) => cell.startsWith(sign)) ? `'${cell}` : cell;
}

function quoted(cell) {
  const text = String(inert(cell ?? ""));
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(rows) {
  return rows.map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}

// A button that saves what `rows` returns, heads first, under a name.
export function saver(name, rows) {
  const said = { type: "button", class: "save", title: "The rows that are left, in this order", "aria-label": `Save ${name}.csv` };
  return element("button", { ...said, onclick: () => save(`${name}.csv`, "text/csv", csv(rows())) }, "CSV");
}
