// All skip-trigrams of a model in one table that can be searched, sorted and filtered.

const SKIP_COLUMNS = ["Head", "Source", "Destination", "Out", "QK", "OV", "Score", "Effect", "Lift", "Survives", "Copying"];

async function skips(root) {
  const usable = [];
  for (const name of modelNames) if ((await archive("model", name)).heads.length) usable.push(name);
  const place = element("div");
  const pickModel = chooser("Model", usable.map((n) => [n, n]), usable[0], (name) => draw(name));
  root.replaceChildren(element("div", { class: "controls" }, pickModel), place);

  async function draw(name) {
    const found = await modelAndCorpus(name);
    const table = element("table", { class: "skips" });
    place.replaceChildren(table);
    skipsTable(table, found);
  }
  return draw(usable[0]);
}

function skipsTable(table, { name, model, corpus }) {
  const { skips } = model, checked = skips.survives.length;
  const bare = (id) => corpus.tokens[id].replaceAll("·", "").toLowerCase();
  const verdict = (i) => (i < checked ? (skips.survives[i] ? "yes" : "no") : "not checked");
  const copying = (i) => (bare(skips.ids.source[i]) === bare(skips.ids.out[i]) ? "yes" : "no");
  const named = (text) => ({ render: (i) => text(i) });
  // DataTables reads what it searches as HTML, so a token's own signs are escaped for it.
  const escaped = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  const tokens = (role) => ({
    render: (i, type) => {
      const id = skips.ids[role][i];
      return type === "display" ? token(name, corpus, role, id) : escaped(corpus.tokens[id]);
    },
  });
  const numbers = (values) => ({
    className: "number",
    type: "num",
    render: (i, type) => (type === "display" ? number(values[i]) : values[i] ?? -1e308),
  });
  const columns = [
    named((i) => model.heads[skips.head[i]]), tokens("source"), tokens("destination"), tokens("out"),
    numbers(skips.mined.qk), numbers(skips.mined.ov), numbers(skips.mined.score),
    numbers(skips.checked.effect_nats), numbers(skips.checked.corpus_lift), named(verdict), named(copying),
  ].map((column, k) => ({ ...column, title: SKIP_COLUMNS[k], data: null }));
  const filters = element("div", { class: "filters" });
  const made = new DataTable(table, {
    data: skips.head.map((_, i) => i), columns, autoWidth: false, deferRender: true, order: [], pageLength: 15,
    language: { ...WORDS, emptyTable: "No skip-trigram was mined from this model." },
    layout: { topStart: "search", topEnd: filters, bottomStart: "info", bottomEnd: "paging" },
  });
  for (const [column, label, values] of [[0, "Head", model.heads], [9, "Survives", ["yes", "no", "not checked"]], [10, "Copying", ["yes", "no"]]]) {
    filters.append(filter(label, values, (value) => pick(made, column, value)));
  }
  const inner = table.closest(".dt-layout-table");
  for (const [key, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", "All skip-trigrams"]]) inner.setAttribute(key, value);
}
