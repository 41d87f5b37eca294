// Tables that are in the page already: DataTables lets one search, sort and filter them.

let DataTable;

async function library() {
  const bytes = Uint8Array.from(atob(document.getElementById("library").textContent), (c) => c.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
  DataTable = (await import(url)).default;
  URL.revokeObjectURL(url);
}

const WORDS = {
  search: "Search",
  info: "_START_–_END_ of _TOTAL_ rows",
  infoFiltered: "(out of _MAX_)",
  infoEmpty: "no rows",
  zeroRecords: "No row matches.",
};

// A choice among the values of a column; nothing chosen lets all rows through.
function filter(name, values, apply) {
  const options = [["", "all"], ...values.map((value) => [value, value])];
  return chooser(name, options, "", apply);
}

function pick(table, column, value) {
  const exact = (text) => text.trim() === value;
  table.column(column).search.fixed("pick", value ? exact : null).draw();
}

function enhance(table) {
  const searched = table.hasAttribute("data-searched"), sortable = table.hasAttribute("data-sortable");
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
  const columns = table.dataset.filters.split(" ").filter(Boolean).map(Number);
  const filters = element("div", { class: "filters" });
  const region = table.parentElement, name = region.getAttribute("aria-label");
  const options = {
    autoWidth: false,
    order: [],
    ordering: sortable,
    paging: rows.length > 30,
    pageLength: 25,
    searching: searched || columns.length > 0,
    info: rows.length > 30,
    language: WORDS,
    columnDefs: heads.flatMap((head, i) => (head.classList.contains("number") ? [{ targets: i, type: "num" }] : [])),
    layout: {
      topStart: searched ? "search" : null,
      topEnd: columns.length ? filters : null,
      bottomStart: rows.length > 30 ? "info" : null,
      bottomEnd: rows.length > 30 ? "paging" : null,
    },
  };
  region.replaceWith(table);
  const made = new DataTable(table, options);
  for (const column of columns) {
    const values = [...new Set(rows.map((row) => row.cells[column].textContent.trim()))].sort();
    filters.append(filter(heads[column].textContent.trim(), values, (value) => pick(made, column, value)));
  }
  const inner = table.closest(".dt-layout-table");
  for (const [key, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", name]]) inner.setAttribute(key, value);
}
