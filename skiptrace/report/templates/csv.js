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

// A button that saves what `rows` returns, heads first, under a name.
export function saver(name, rows) {
  const save = () => {
    const url = URL.createObjectURL(new Blob([csv(rows())], { type: "text/csv" }));
    element("a", { href: url, download: `${name}.csv` }).click();
    URL.revokeObjectURL(url);
  };
  return element("button", { type: "button", class: "save", title: "The rows that are left, in this order", onclick: save }, "CSV");
}
