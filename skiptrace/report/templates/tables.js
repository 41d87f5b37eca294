// Tables: DataTables lets one search, sort and filter them; what is chosen stands in the address.

import { asShown, element, once, plainToken, unpacked } from "./page.js";
import { astray, open, owns, write } from "./address.js";
import { saver } from "./csv.js";

let DataTable;

const PAGED = 30, PAGE = 25; // rows from which a table has pages, and rows on one
export const STATE = ["search", "sort", "where"]; // the keys of an address that a table writes

// DataTables, unpacked when the first table is made.
export const library = once(async () => {
  const source = await unpacked(document.getElementById("library").textContent).text();
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  DataTable = (await import(url)).default;
  URL.revokeObjectURL(url);
  // Numbers of which some are undefined: these come last, whichever way one sorts.
  const last = (a, b) => Number.isNaN(a) - Number.isNaN(b);
  Object.assign(DataTable.ext.type.order, {
    "measure-pre": (held) => (held === null || held === "" ? NaN : Number(held)),
    "measure-asc": (a, b) => last(a, b) || a - b || 0,
    "measure-desc": (a, b) => last(a, b) || b - a || 0,
  });
});

export const MEASURE = { type: "measure", orderSequence: ["desc", "asc", ""] };

export const WORDS = {
  search: "Search",
  info: "_START_–_END_ of _TOTAL_ rows",
  infoFiltered: "(out of _MAX_)",
  infoEmpty: "no rows",
  zeroRecords: "No row matches.",
};

// A choice among the values of a column. `holds(row)` is its value for a row, as DataTables counts them.
export function choice(name, values, holds) {
  const select = element("select", {}, new Option("all", ""), ...values.map((held) => new Option(held, held)));
  return { name, field: select, takes: (held) => values.includes(held), keeps: (row) => holds(row) === select.value };
}

// The least that a number may be; rows without one are left out.
export function least(name, holds) {
  const input = element("input", { type: "number", step: "any", size: "4" });
  const takes = (held) => held !== "" && Number.isFinite(Number(held));
  const keeps = (row) => { const held = holds(row); return held !== null && held !== undefined && held >= Number(input.value); };
  return { name, field: input, takes, keeps };
}

// A table with its filters and its address: `owner` is what an address of it begins with.
export function made(table, { owner, label, filters, searched, file, rows, options }) {
  const bar = element("div", { class: "filters" }, ...filters.map(({ name, field }) => element("label", {}, `${name} `, field)));
  const many = searched || filters.length > 0;
  const paging = options.paging !== false;
  const held = new DataTable(table, {
    autoWidth: false,
    order: [],
    language: WORDS,
    searching: many,
    ...options,
    layout: { topStart: searched ? "search" : null, topEnd: many ? bar : null, bottomStart: paging ? "info" : null, bottomEnd: paging ? "paging" : null },
  });
  const titles = held.columns().titles().toArray().map((title, i, all) => (all.indexOf(title) === i ? title : `${title} ${i + 1}`));
  bar.append(saver(file, () => rows(held, titles)));

  const inner = table.closest(".dt-layout-table");
  for (const [key, given] of [["tabindex", "0"], ["role", "region"], ["aria-label", label]]) inner.setAttribute(key, given);
  table.closest(".dt-container").querySelector(".dt-paging nav")?.setAttribute("aria-label", `Pages: ${label}`);
  hint(inner);

  let shownAsAsked = false; // while an address is followed, nothing is written back
  const filter = () => {
    for (const { name, field, keeps } of filters) held.search.fixed(name, field.value ? (_text, _data, row) => keeps(row) : null);
    held.draw();
  };
  const remember = () => {
    if (shownAsAsked) return;
    const pairs = Object.entries(owner), [[column, direction] = []] = held.order();
    if (held.search()) pairs.push(["search", held.search()]);
    if (direction) pairs.push(["sort", `${titles[column]}:${direction}`]);
    for (const { name, field } of filters) if (field.value) pairs.push(["where", `${name}:${field.value}`]);
    write(pairs);
  };
  for (const { field } of filters) field.addEventListener("input", () => { filter(); remember(); });
  held.on("search order", () => remember());

  // What an address asks for; what of it the table lacks is said.
  const follow = (given) => {
    const sort = given.get("sort") ?? "", colon = sort.lastIndexOf(":"), direction = sort.slice(colon + 1);
    const column = titles.indexOf(sort.slice(0, colon)), lacks = [];
    const sorts = column >= 0 && ["asc", "desc"].includes(direction);
    if (sort && !sorts) lacks.push(sort);
    for (const { field } of filters) field.value = "";
    for (const text of given.getAll("where")) {
      const asked = filters.find(({ name }) => text.startsWith(`${name}:`)), chosen = text.slice((asked?.name.length ?? 0) + 1);
      if (asked?.takes(chosen)) asked.field.value = chosen;
      else lacks.push(text);
    }
    shownAsAsked = true;
    held.search(given.get("search") ?? "").order(sorts ? [[column, direction]] : []);
    filter();
    shownAsAsked = false;
    const place = table.closest("figure, .tool");
    open(lacks.length ? astray(place, "the table has no ", ...lacks.flatMap((l, i) => [i ? ", " : "", plainToken(asShown(l))]), ".") : place);
  };
  return { held, follow };
}

// Whether a part has more to the right than one sees.
export function hint(part) {
  const watch = new ResizeObserver(() => requestAnimationFrame(() => {
    part.toggleAttribute("data-wider", part.scrollWidth > part.clientWidth + 1);
  }));
  for (const each of [part, ...part.children]) watch.observe(each);
}

// A table that is in the page already.
function enhance(table) {
  const searched = table.hasAttribute("data-searched"), sortable = table.hasAttribute("data-sortable");
  const body = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
  const text = (cell) => cell.textContent.trim();
  const columns = table.dataset.filters.split(" ").filter(Boolean).map(Number);
  const filters = columns.map((column) => {
    const held = body.map((row) => text(row.cells[column]));
    return choice(text(heads[column]), [...new Set(held)].toSorted(), (row) => held[row]);
  });
  const region = table.parentElement, label = region.getAttribute("aria-label");
  region.replaceWith(table);
  return made(table, {
    owner: { table: table.id }, label, filters, searched, file: table.id,
    rows: (held, titles) => [titles, ...held.rows({ search: "applied" }).nodes().toArray().map((row) => [...row.cells].map(text))],
    options: {
      ordering: sortable,
      paging: body.length > PAGED,
      pageLength: PAGE,
      columnDefs: heads.flatMap((head, i) => (head.classList.contains("number") ? [{ targets: i, ...MEASURE }] : [])),
    },
  });
}

// Every table of the page that can be searched, sorted or filtered is made so when it comes near, or is asked for.
export function tables() {
  const found = new Map(), enhanced = new Map();
  const ready = async (table) => {
    near.unobserve(table);
    await library();
    if (!enhanced.has(table)) enhanced.set(table, enhance(table));
    return enhanced.get(table);
  };
  const near = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) if (isIntersecting) ready(target);
  }, { rootMargin: "800px" });
  for (const table of document.querySelectorAll("main table:is([data-sortable], [data-searched], [data-filters]:not([data-filters='']))")) {
    found.set(table.id, table);
    near.observe(table);
  }
  for (const part of document.querySelectorAll(".scroll, .drawing")) hint(part);
  owns(["table"], STATE, async (given) => {
    const table = found.get(given.get("table"));
    if (table) (await ready(table)).follow(given);
    else open(astray(document.querySelector("main"), "no table is called ", plainToken(asShown(given.get("table"))), "."));
  });
}
