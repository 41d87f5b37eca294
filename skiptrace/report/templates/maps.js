// Corners of the QK and OV circuits of a head, with tokens on both axes and the value under the pointer.

import { asShown, chooser, constants, element, modelAndCorpus, modelsThat, plainToken, roleName, signed } from "./page.js";
import { astray, open, write } from "./address.js";
import { scale } from "./matrix.js";
import { hint } from "./tables.js";
import { token } from "./tokens.js";

// Of each circuit: what its rows and columns are, and its unit.
const CIRCUITS = {
  ov: { title: "OV", rows: "source", columns: "out", unit: "logits" },
  qk: { title: "QK", rows: "destination", columns: "source", unit: "attention score" },
};

export const maps = { keys: ["maps"], others: ["head"], make: makeMaps };

async function makeMaps(root) {
  const usable = await modelsThat((model) => model.corners.length);
  const place = element("div"), headChoice = element("span"), state = { model: usable[0], head: null };
  const models = chooser("Model", usable.map((n) => [n, n]), state.model, (name) => choose({ model: name, head: null }));
  root.replaceChildren(element("div", { class: "controls" }, models, headChoice), place);

  async function choose(change) {
    const { model } = await show(change);
    write({ maps: state.model, head: model.heads[state.head] });
  }

  async function show(change) {
    Object.assign(state, change);
    const found = await modelAndCorpus(state.model), { model } = found;
    state.head ??= Math.max(0, model.copies.indexOf(true));
    models.querySelector("select").value = state.model;
    headChoice.replaceChildren(chooser("Head", model.heads.map((head, h) => [String(h), head]), String(state.head), (h) => choose({ head: Number(h) })));
    const both = Object.entries(CIRCUITS).map(([key, circuit]) => map(found, model.heads[state.head], circuit, model.corners[state.head][key]));
    place.replaceChildren(element("div", { class: "maps" }, ...both));
    place.querySelectorAll(".scroll").forEach(hint);
    return found;
  }

  if (usable.length) await show({});
  return async (given) => {
    const lost = (...said) => open(astray(root, ...said)), name = given.get("maps");
    if (!usable.includes(name)) return lost("no model with heads is called ", plainToken(asShown(name)), `: there are ${usable.join(", ")}.`);
    const { model } = await modelAndCorpus(name), head = given.has("head") ? model.heads.indexOf(given.get("head")) : null;
    if (head === -1) return lost("model ", name, " has no head ", plainToken(asShown(given.get("head"))), `: there are ${model.heads.join(", ")}.`);
    await show({ model: name, head });
    return root.closest("section").scrollIntoView();
  };
}

// With one digit, as much as a cell holds.
const rounded = (whole) => (whole / constants.scale).toFixed(1).replace("-0.0", "0.0");

function map({ name, corpus }, head, { title, rows, columns, unit }, { row_ids: down, column_ids: across, values }) {
  const largest = Math.max(...values.map(Math.abs), 1), said = element("p", { class: "note", "aria-live": "polite" });
  const first = "Point at a cell, or choose a token to look it up.";
  said.textContent = first;
  const held = (i, j) => values[i * across.length + j];
  const cell = (i, j) => {
    const share = Math.round((Math.abs(held(i, j)) / largest) * 100);
    const tint = `color-mix(in srgb, var(${held(i, j) < 0 ? "--minus" : "--plus"}) ${share}%, var(--paper))`;
    const made = element("td", { "data-row": String(i), "data-column": String(j) }, rounded(held(i, j)));
    made.style.background = tint;
    return made;
  };
  const body = element("tbody", {}, ...down.map((id, i) =>
    element("tr", {}, element("th", { scope: "row" }, token(name, corpus, rows, id)), ...across.map((_, j) => cell(i, j)))));
  const heads = across.map((id) => element("th", { scope: "col" }, token(name, corpus, columns, id)));
  const table = element("table", { class: "map" }, element("thead", {}, element("tr", {}, element("td"), ...heads)), body);
  body.addEventListener("pointerover", ({ target }) => {
    const { row, column } = target.closest("td")?.dataset ?? {};
    if (row === undefined) return;
    said.replaceChildren(`${title}, ${roleName(rows)} `, plainToken(corpus.tokens[down[row]]), `, ${roleName(columns)} `, plainToken(corpus.tokens[across[column]]), `: ${signed(held(Number(row), Number(column)))} (${unit})`);
  });
  const label = `${title} circuit of ${head}`;
  return element("div", {},
    element("h3", {}, label), element("p", { class: "note" }, `Rows: ${roleName(rows)} tokens; columns: ${roleName(columns)} tokens; entries: ${unit}, centred.`),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table), said,
    scale(signed(-largest), "var(--minus)", "var(--paper)", "var(--plus)", signed(largest)));
}
