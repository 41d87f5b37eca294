// All skip-trigrams of a model in one table that can be searched, sorted and filtered.

import { chooser, constants, element, explain, modelsThat, modelAndCorpus, number, plain, stretch } from "./page.js";
import { astray, open, write } from "./address.js";
import { MEASURE, STATE, WORDS, choice, least, library, made } from "./tables.js";
import { token } from "./tokens.js";

const AROUND = 2; // tokens of an example beside each of those it is about

export const skips = { keys: ["skips"], others: STATE, make: makeSkips };

async function makeSkips(root) {
  await library();
  const usable = await modelsThat((model) => model.heads.length);
  const place = element("div");
  const pickModel = chooser("Model", usable.map((n) => [n, n]), usable[0], async (name) => { await draw(name); write({ skips: name }); });
  root.replaceChildren(element("div", { class: "controls" }, pickModel), place);
  let shown, table;

  async function draw(name) {
    const found = await modelAndCorpus(name);
    const node = element("table", { class: "skips" });
    pickModel.querySelector("select").value = shown = name;
    place.replaceChildren(node, element("p", { class: "note" }, `More rows and columns: ${found.model.files.join(", ")}`));
    table = skipsTable(node, found);
    explain(root, node.tHead.rows[0].cells);
  }

  await draw(usable[0]);
  return async (given) => {
    const name = given.get("skips");
    if (!usable.includes(name)) return open(astray(root, `there is no model ${name}, only ${usable.join(", ")}.`));
    if (shown !== name) await draw(name);
    return table.follow(given);
  };
}

function skipsTable(table, { name, model, corpus }) {
  const { skips: mined } = model, checked = mined.survives.length, { ids } = mined;
  const bare = (id) => plain(corpus.tokens[id]).replaceAll(" ", "").toLowerCase();
  const head = (i) => model.heads[mined.head[i]];
  const known = (value) => (i) => (i < checked ? value(i) : "not checked");
  const yes = (held) => known((i) => (held[i] ? "yes" : "no"));
  const seen = (held) => [...new Set(held), "not checked"];
  const verdicts = [
    ["Consistent", yes(mined.consistent), ["yes", "no", "not checked"]],
    ["On text", known((i) => mined.use[i]), seen(mined.use)],
    ["Corpus", known((i) => mined.support[i]), seen(mined.support)],
    ["Survives", yes(mined.survives), ["yes", "no", "not checked"]],
  ];
  const copying = (i) => (bare(ids.source[i]) === bare(ids.out[i]) ? "yes" : "no");
  const words = (i) => (constants.roles.every((role) => corpus.words[ids[role][i]]) ? "yes" : "no");
  const scaled = (whole) => (whole === null || whole === undefined ? null : whole / constants.scale);
  // DataTables reads what it searches as HTML, so a token's own signs are escaped for it.
  const escaped = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

  // Every column has its type: DataTables would look for one in every cell of every row.
  const said = (title, text) => ({ title, csv: [[title, text]], type: "string", render: text });
  const tokens = (title, role) => ({
    title,
    type: "string",
    csv: [[`${title} id`, (i) => ids[role][i]], [title, (i) => plain(corpus.tokens[ids[role][i]])]],
    render: (i, type) => (type === "display" ? token(name, corpus, role, ids[role][i]) : escaped(corpus.tokens[ids[role][i]])),
  });
  const numbers = (title, held) => ({
    title,
    csv: [[title, (i) => scaled(held[i])]],
    className: "number",
    searchable: false,
    ...MEASURE,
    render: (i, type) => (type === "display" ? number(held[i]) : held[i] ?? null),
  });
  const example = (i, type) => {
    const place = type === "display" && i < checked && mined.places[i][0];
    return place ? element("span", { class: "place" }, ...stretch(corpus, place, AROUND)) : "";
  };
  const columns = [
    said("Head", head), tokens("Source", "source"), tokens("Destination", "destination"), tokens("Output", "out"),
    { title: "Mined", csv: [["Mined", (i) => mined.rank[i]]], className: "number", searchable: false, type: "num", render: (i) => mined.rank[i] },
    numbers("Saves", mined.saves),
    numbers("QK", mined.mined.qk), numbers("OV", mined.mined.ov), numbers("Score", mined.mined.score),
    numbers("Effect", mined.checked.effect_nats), numbers("Lift", mined.checked.corpus_lift),
    {
      title: "Evidence", // one column for three words
      className: "evidence",
      type: "string",
      csv: verdicts.slice(0, 3).map(([title, verdict]) => [title, verdict]),
      render: (i) => (i < checked ? `${mined.consistent[i] ? "" : "not "}consistent<br>text: ${mined.use[i]}<br>corpus: ${mined.support[i]}` : "not checked"),
    },
    said("Survives", yes(mined.survives)),
    { title: "Example", csv: [], type: "string", render: example, orderable: false, searchable: false },
  ];
  const saved = [...columns.flatMap((column) => column.csv), ["Copying", copying]];
  return made(table, {
    owner: { skips: name },
    label: "All skip-trigrams",
    searched: true,
    file: `skip-trigrams-${name}`,
    filters: [
      choice("Head", model.heads, head),
      ...verdicts.map(([title, verdict, values]) => choice(title, values, verdict)),
      choice("Copying", ["yes", "no"], copying),
      choice("Words", ["yes", "no"], words),
      least("Effect ≥", (i) => scaled(mined.checked.effect_nats[i])),
      least("Lift ≥", (i) => scaled(mined.checked.corpus_lift[i])),
    ],
    rows: (held) => [
      saved.map(([title]) => title),
      ...held.rows({ search: "applied" }).data().toArray().map((i) => saved.map(([, value]) => value(i))),
    ],
    options: {
      data: mined.head.map((_, i) => i),
      columns: columns.map(({ csv, ...column }) => ({ ...column, data: null })),
      deferRender: true, pageLength: 15,
      language: { ...WORDS, emptyTable: "No skip-trigram was mined from this model." },
    },
  });
}
