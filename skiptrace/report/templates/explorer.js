// The token explorer: one token as source, destination and output in every head.

import {
  asShown, chooser, constants, element, explain, firstThat, modelAndCorpus, modelNames, number, plainToken, roleName, signed, stretch,
} from "./page.js";
import { astray, hashOf, open, write } from "./address.js";
import { hint } from "./tables.js";
import { candidates, exactly, named, token } from "./tokens.js";

const ROLE_ROWS = 12; // skip-trigrams shown for each role
const NEAR = 12; // tokens offered in place of one that there is not
const { roles: ROLES } = constants;

export const explorer = { keys: ROLES, others: ["model"], make: makeExplorer };

async function makeExplorer(root) {
  const input = element("input", { type: "text", list: "tokens", id: "token", autocomplete: "off", spellcheck: "false", placeholder: "a token, or id:123" });
  const known = element("datalist", { id: "tokens" });
  const result = element("div", { class: "result", "aria-live": "polite" });
  const preferred = await firstThat((model) => model.heads.length) ?? modelNames[0];
  const models = chooser("in model", modelNames.map((n) => [n, n]), preferred, () => { suggest(); go(); });
  const roles = chooser("as", ROLES.map((r) => [r, roleName(r)]), ROLES[0], () => go());
  const model = models.querySelector("select"), role = roles.querySelector("select");
  [model.id, role.id] = ["model", "role"];
  let listed;

  async function suggest() {
    const { corpus, model: data } = await modelAndCorpus(model.value);
    if (listed === data.corpus) return;
    listed = data.corpus;
    const byCount = corpus.shown.toSorted((a, b) => corpus.counts[b] - corpus.counts[a]);
    known.replaceChildren(...byCount.map((id) => element("option", { value: corpus.tokens[id] })));
  }

  // Typing writes the address, and it is read back like one that was followed.
  function go() {
    if (!input.value) return;
    const asked = hashOf({ [role.value]: input.value, model: model.value });
    if (location.hash === asked) show(input.value);
    else location.hash = asked;
  }

  // The token that a text names; one that is typed without its blank is opened when there is but one it may be.
  async function show(text) {
    const found = await modelAndCorpus(model.value);
    const meant = exactly(found.corpus, text), near = meant.length ? [] : candidates(found.corpus, text);
    const id = meant[0] ?? (near.length === 1 ? near[0] : undefined);
    input.value = id === undefined ? text.slice(0, 200) : found.corpus.tokens[id];
    if (id === undefined) {
      result.replaceChildren(unknown(found, text, near, role.value));
      return null;
    }
    const said = [];
    if (near.length) said.push(plainToken(asShown(text)), " is no token; the only one like it is shown.");
    if (meant.length > 1) said.push(`${meant.length} tokens look the same:`, ...meant.flatMap((other) => [" ", numbered(found.name, role.value, other)]));
    result.replaceChildren(...(said.length ? [element("p", { class: "note" }, ...said)] : []), ...lookup(found, id, role.value));
    result.querySelectorAll(".scroll").forEach(hint);
    explain(root, result.querySelectorAll("th"));
    return hashOf({ [role.value]: named(found.corpus, id), model: model.value });
  }

  async function follow(given) {
    const asked = ROLES.find((r) => given.has(r)), text = given.get(asked), name = given.get("model") ?? model.value;
    if (!modelNames.includes(name)) return open(astray(root, "no model is called ", plainToken(asShown(name)), `: there are ${modelNames.join(", ")}.`));
    [model.value, role.value] = [name, asked];
    const settled = await show(text);
    // A link that was typed or sent is replaced by that of the token it led to.
    if (settled && settled !== location.hash) write(new URLSearchParams(settled.slice(1)));
    return root.closest("section").scrollIntoView();
  }

  input.addEventListener("change", go);
  input.addEventListener("focus", () => { input.select(); suggest(); });
  root.replaceChildren(element("div", { class: "controls" }, element("label", {}, "Token ", input), roles, models), known, result);
  const found = await modelAndCorpus(model.value);
  await show(named(found.corpus, opening(found)));
  return follow;
}

// What is shown before anything is asked for: the source of the best row by evidence, of those that survive and consist of
// whole words if there are any, or the commonest token.
function opening({ model, corpus }) {
  const { consistent, survives, checked, ids } = model.skips;
  const word = (id) => corpus.words[id] && corpus.tokens[id].startsWith("·");
  const reads = (i) => survives[i] && Object.values(ids).every((of) => word(of[i]));
  for (const may of [reads, (i) => consistent[i]]) {
    const worth = consistent.map((_, i) => (may(i) ? checked.p_out[i] * (1 - Math.exp(-checked.effect_nats[i] / constants.scale)) : 0));
    if (worth.some((w) => w > 0)) return ids.source[worth.indexOf(Math.max(...worth))];
  }
  return corpus.shown.reduce((a, b) => (corpus.counts[b] > corpus.counts[a] ? b : a));
}

function numbered(model, role, id) {
  return element("a", { href: hashOf({ [role]: `id:${id}`, model }) }, `id:${id}`);
}

function unknown({ name, corpus, model }, text, near, role) {
  const links = near.slice(0, NEAR).flatMap((id) => [" ", token(name, corpus, role, id)]);
  const rest = links.length ? [" Tokens that contain it:", ...links] : [" Spaces count: most words begin with one, shown as ·."];
  return element("p", { class: "note" }, plainToken(asShown(text)), ` is no single token of ${model.corpus}.`, ...rest);
}

function lookup(found, id, role) {
  const { name, model, corpus } = found;
  const title = element("h3", {}, plainToken(corpus.tokens[id]), ` in model ${name}`);
  const count = element("p", { class: "note" }, `Token ${id}, ${corpus.counts[id].toLocaleString("en")} times in the training text of ${model.corpus}.`);
  const row = model.shown.indexOf(id);
  const heads = row < 0 ? element("p", { class: "note" }, "Too rare to be looked up head by head.") : headTable(found, row, role);
  return [title, count, heads, ...skipTrigrams(found, id, role), ...inText(found, id)];
}

function entries({ name, corpus }, list, row, role) {
  const shown = element("ul", { class: "entries" });
  for (let i = row * list.count; i < (row + 1) * list.count; i++) {
    shown.append(element("li", {}, token(name, corpus, role, list.ids[i]), element("span", { class: "value" }, signed(list.values[i]))));
  }
  return shown;
}

function headTable(found, row, chosen) {
  const { model } = found;
  const columns = [
    ["destinations", "source", "As source: attended to by", "destination"],
    ["outs", "source", "As source: raises", "out"],
    ["attended", "destination", "As destination: attends to", "source"],
    ["sources", "out", "As output: raised by", "source"],
  ];
  const body = element("tbody");
  model.entries.forEach((head, i) => {
    // Entries begin with the direct path, which is no head.
    const kinds = i === 0 ? ["no head"] : [model.copies[i - 1] && "copies", model.positional[i - 1] && "positional"];
    const badge = kinds.filter(Boolean).join(", ");
    const cells = columns.map(([key, as, title, role]) =>
      element("td", { class: as === chosen ? "chosen" : undefined, "data-label": title }, head[key] ? entries(found, head[key], row, role) : "–"));
    body.append(element("tr", {}, element("td", {}, head.name, element("span", { class: "badge" }, badge)), ...cells));
  });
  const heads = ["Head", ...columns.map((c) => c[2])].map((text) => element("th", { scope: "col" }, text));
  const table = element("table", { class: "lookup" }, element("thead", {}, element("tr", {}, ...heads)), body);
  return region("The token in every head", table);
}

function region(label, table) {
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
}

function skipTrigrams(found, id, chosen) {
  const { model } = found, ordered = [chosen, ...ROLES.filter((r) => r !== chosen)];
  return ordered.flatMap((role) => {
    const rows = [];
    model.skips.ids[role].forEach((other, i) => { if (other === id) rows.push(i); });
    if (!rows.length) return [element("p", { class: "note" }, `No mined skip-trigram has it as ${roleName(role)}.`)];
    const shown = rows.slice(0, ROLE_ROWS);
    const more = rows.length > shown.length ? `, the first ${shown.length} shown` : "";
    const title = element("h3", {}, `Skip-trigrams with it as ${roleName(role)} (${rows.length.toLocaleString("en")}${more})`);
    return [title, region(`Skip-trigrams with the token as ${roleName(role)}`, skipTable(found, shown))];
  });
}

// Evidence has columns only where a row was checked.
function skipTable({ name, model, corpus }, rows) {
  const { skips } = model, checked = skips.survives.length, c = skips.checked;
  const evidence = [
    ["Effect (nats)", (i) => `${signed(c.effect_nats[i])} ± ${number(c.effect_se[i])}`],
    ["Random rows", (i) => `${number(c.null_mean[i])} ± ${number(c.null_sd[i])}`],
    ["p(out)", (i) => number(c.p_out[i])],
    ["A … B C", (i) => skips.corpus_count[i].toLocaleString("en")],
    ["Lift", (i) => c.corpus_lift[i] === null ? "–" : `${number(c.corpus_lift[i], 1)} [${number(c.lift_low[i], 1)}, ${number(c.lift_high[i], 1)}]`],
  ];
  const shown = rows.some((i) => i < checked) ? evidence : [];
  const body = element("tbody");
  for (const i of rows) {
    const tokens = ROLES.flatMap((r, k) => [k === 1 ? " … " : " ", token(name, corpus, r, skips.ids[r][i])]);
    const numbers = [number(skips.mined.qk[i]), number(skips.mined.ov[i]), ...shown.map(([, text]) => (i < checked ? text(i) : "–"))];
    const yes = (held) => (held[i] ? "yes" : "no");
    const verdicts = i < checked ? [yes(skips.consistent), skips.use[i], skips.support[i], yes(skips.survives)] : ["not checked", "–", "–", "–"];
    body.append(element("tr", {},
      element("td", {}, model.heads[skips.head[i]]), element("td", { class: "example" }, ...tokens),
      ...numbers.map((text) => element("td", { class: "number" }, text.replaceAll(" ± ", "\u00a0±\u00a0"))), ...verdicts.map((text) => element("td", {}, text))));
    if (i < checked && skips.places[i].length) {
      const places = element("ul", { class: "places" }, ...skips.places[i].map((p) => element("li", {}, ...stretch(corpus, p))));
      body.append(element("tr", {}, element("td"), element("td", { colspan: String(numbers.length + 1 + verdicts.length) }, places)));
    }
  }
  const numeric = ["QK", "OV", ...shown.map(([title]) => title)].map((text) => element("th", { scope: "col", class: "number" }, text));
  const words = ["Head", "Skip-trigram", "Consistent", "On text", "Corpus", "Survives"].map((text) => element("th", { scope: "col" }, text));
  return element("table", {}, element("thead", {}, element("tr", {}, ...words.slice(0, 2), ...numeric, ...words.slice(2))), body);
}

function inText({ model, corpus }, id) {
  const places = corpus.places[corpus.shown.indexOf(id)] ?? [];
  if (!places.length) return [element("p", { class: "note" }, "It does not occur in the validation text.")];
  const shown = places.map((p) => element("li", {}, ...stretch(corpus, p)));
  return [element("h3", {}, `In the validation text of ${model.corpus}`), element("ul", { class: "places" }, ...shown)];
}
