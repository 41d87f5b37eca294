// Head cards: all that is known of one head, in one place.

import { asShown, chooser, constants, element, modelAndCorpus, modelsThat, plainToken, roleName, signed } from "./page.js";
import { astray, hashOf, open, write } from "./address.js";
import { beginning } from "./patterns.js";
import { hint } from "./tables.js";
import { token } from "./tokens.js";

const ROWS = 6; // skip-trigrams of a card
const GROWN = 0.1; // by how much a score has to rise in training to be said to have formed
const TOKENS = 5; // tokens at each end of a direction
const SCORES = {
  copying: ["Copying", "random heads"],
  position_share: ["Position share", "random heads"],
  previous_token: ["Attention to the token before", "spread evenly"],
  prefix_matching: ["Prefix matching", "spread evenly"],
  bos_attention: ["Attention to the start token", ""],
};
const FORMED = { previous_token: "attention to the token before", prefix_matching: "prefix matching", copying: "copying" };
const ENDS = { ov: ["OV", "reads sources", "raises outputs"], qk: ["QK", "reads destinations", "attends to sources"] };
const NOT_MEASURED = "–";

const fixed = (value, digits) => (value === null ? NOT_MEASURED : value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1"));

// A number with its error, and what it stands beside.
function measured({ value, error, beside, spread }, digits, than = "") {
  const within = (middle, around) => (around === null ? fixed(middle, digits) : `${fixed(middle, digits)}\u00a0±\u00a0${fixed(around, digits)}`);
  return [within(value, error), beside === null ? "" : `${than} ${within(beside, spread)}`.trim()];
}

export const cards = { keys: ["head"], others: [], make: makeCards };

async function makeCards(root) {
  const usable = await modelsThat((model) => model.cards.length);
  const inducing = await modelsThat((model) => model.cards.some((each) => each.induces));
  const place = element("div"), headChoice = element("span"), state = { model: inducing.at(-1) ?? usable.at(-1), head: null };
  const models = chooser("Model", usable.map((n) => [n, n]), state.model, (name) => choose({ model: name, head: null }));
  root.replaceChildren(element("div", { class: "controls" }, models, headChoice), place);

  async function choose(change) {
    const { model } = await show(change);
    write({ head: `${state.model}.${model.heads[state.head]}` });
  }

  async function show(change) {
    Object.assign(state, change);
    const found = await modelAndCorpus(state.model), { model } = found;
    state.head ??= [model.cards.findIndex((each) => each.induces), model.copies.indexOf(true), 0].find((h) => h >= 0);
    models.querySelector("select").value = state.model;
    headChoice.replaceChildren(chooser("Head", model.heads.map((head, h) => [String(h), head]), String(state.head), (h) => choose({ head: Number(h) })));
    place.replaceChildren(card(found, state.head));
    place.querySelectorAll(".scroll").forEach(hint);
    return found;
  }

  if (usable.length) await show({});
  return async (given) => {
    const lost = (...said) => open(astray(root, ...said)), asked = given.get("head"), dot = asked.lastIndexOf(".");
    const name = asked.slice(0, Math.max(0, dot)), head = asked.slice(dot + 1);
    if (!usable.includes(name)) return lost("no model with heads is called ", plainToken(asShown(name)), `: a head is one of ${usable.join(", ")}, a point, and its name.`);
    const { model } = await modelAndCorpus(name), number = model.heads.indexOf(head);
    if (number === -1) return lost("model ", name, " has no head ", plainToken(asShown(head)), `: there are ${model.heads.join(", ")}.`);
    await show({ model: name, head: number });
    return root.closest("section").scrollIntoView();
  };
}

function card(found, h) {
  const { name, model } = found, held = model.cards[h], head = model.heads[h];
  const kinds = [model.copies[h] && "copies", model.positional[h] && "primarily positional", held.induces && "induction"].filter(Boolean);
  const [loss] = measured(held.removed, 4), removed = held.removed.value === null ? [] : [element("p", {}, "The loss on held-out text without it: ", element("strong", {}, `${held.removed.value > 0 ? "+" : ""}${loss}`), " nats per token.")];
  const title = element("h3", {}, `${head} of ${name}`, " ", element("span", { class: "badge" }, kinds.join(", ") || "of no kind by these scores"));
  return element("div", { class: "card" },
    title, ...removed,
    element("div", { class: "facts" }, part("What kind it is", scores(held)), part("Where it attends on text", distances(held)),
      part("What it works with", pairs(name, head, held)), part("When it formed", formation(held)), part("In models of other seeds", twins(held)), part("In text", links(found, head))),
    part("What it reads and writes", directions(found, held)), part("Its skip-trigrams", supportedRows(found, h)));
}

function part(title, ...inside) {
  return element("section", {}, element("h4", {}, title), ...inside.flat());
}

function note(...said) {
  return element("p", { class: "note" }, ...said);
}

function rows(label, heads, body) {
  const cells = (row) => row.map((cell, i) => element("td", { class: heads[i]?.number ? "number" : undefined }, ...[cell].flat()));
  const head = element("thead", {}, element("tr", {}, ...heads.map(({ title, number: numeric }) => element("th", { scope: "col", class: numeric ? "number" : undefined }, title))));
  const table = element("table", {}, head, element("tbody", {}, ...body.map((row) => element("tr", {}, ...cells(row)))));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
}

const words = (...titles) => titles.map((title) => ({ title, number: false }));
const numbers = (...titles) => titles.map((title) => ({ title, number: true }));

function scores({ scores: held, ranks }) {
  const lines = Object.entries(SCORES).map(([key, [title, than]]) => [title, ...measured(held[key], 2, than)]);
  const used = Object.entries(ranks).map(([circuit, rank]) => [`Directions of ${ENDS[circuit][0]}`, ...measured(rank, 1, "random heads")]);
  return rows("Scores of the head", [...words("Score"), ...numbers("Here"), ...words("For comparison")], [...lines, ...used]);
}

// Bars by distance, with a line where even attention would reach.
function distances({ attention: seen, even }) {
  const attention = seen.map((share) => share ?? 0); // a damaged table has gaps
  const top = Math.max(...attention, ...even), best = attention.indexOf(Math.max(...attention));
  const bars = attention.map((share, back) => {
    const bar = element("span", { title: `${back} back: ${fixed(share, 3)} (evenly ${fixed(even[back], 3)})` }, element("i"), element("b"));
    bar.firstChild.style.height = `${(100 * share) / top}%`;
    bar.lastChild.style.bottom = `${(100 * even[back]) / top}%`;
    return bar;
  });
  const most = best === 0 ? "to the token itself" : `${best} back`;
  const said = `Mean attention by distance, 0 to ${attention.length - 1} tokens back; the line is attention spread evenly. Most: ${most}, ${fixed(attention[best], 2)} (evenly ${fixed(even[best], 2)}).`;
  return [element("div", { class: "bars", role: "img", "aria-label": said }, ...bars), note(said)];
}

function pairs(name, head, { pairs: held }) {
  if (!held.length) return note("No other head, beyond chance.");
  const link = (other) => (other === head ? other : element("a", { href: hashOf({ head: `${name}.${other}` }) }, other));
  return rows("Heads that it composes with", [...words("By", "From", "To"), ...numbers("Score"), ...words("For comparison")],
    held.map(({ kind, earlier, later, score }) => [kind, link(earlier), link(later), ...measured(score, 3, "random")]));
}

function formation({ steps, formed }) {
  if (!steps.length) return note("No checkpoints of its training were kept.");
  return Object.entries(formed).flatMap(([score, along]) => {
    const bars = steps.map((step, i) => {
      const bar = element("span", { title: `step ${step}: ${fixed(along[i], 2)}` }, element("i"));
      bar.firstChild.style.height = `${100 * Math.max(0, along[i])}%`;
      return bar;
    });
    const half = along.at(-1) - along[0] < GROWN ? "" : `; half of that at step ${steps[along.findIndex((value) => value >= along.at(-1) / 2)]}`;
    const said = `${FORMED[score] ?? score}: ${fixed(along[0], 2)} at step ${steps[0]}, ${fixed(along.at(-1), 2)} at step ${steps.at(-1)}${half}.`;
    return [element("div", { class: "bars low", role: "img", "aria-label": said }, ...bars), note(said)];
  });
}

function twins({ twins: held }) {
  if (!held.length) return note("No other seed of this model was trained.");
  const lines = held.map(({ number: seed, head, ov, qk, runner_up: next }) => [`${head} of twin ${seed}`, fixed(ov, 2), fixed(qk, 2), fixed((ov + qk) / 2, 2), next === null ? NOT_MEASURED : fixed(next, 2)]);
  return [rows("The head that does the same", [...words("Its match"), ...numbers("OV", "QK", "Mean", "Next best")], lines),
    note("Cosines of the circuits, 1 for the same. A mean below the next best says that the head has no clear counterpart.")];
}

function links({ name, model, corpus }, head) {
  const texts = model.texts.map((_, i) => beginning(model, corpus, i)).map((text) =>
    element("li", {}, element("a", { href: hashOf({ patterns: name, text, head }) }, asShown(text))));
  return [note("Where it attends in ", element("a", { href: hashOf({ patterns: name, head }) }, "texts with its attention"), "; its ", element("a", { href: hashOf({ maps: name, head }) }, "QK and OV maps"), "."), element("ul", { class: "places" }, ...texts)];
}

function directions({ name, corpus }, { directions: held }) {
  const lines = held.flatMap((group) => {
    const [title, reads, writes] = ENDS[group.circuit];
    const [from, to] = group.circuit === "ov" ? ["source", "out"] : ["destination", "source"];
    const [loss, random] = measured(group.loss, 4, "random direction"), [share, chance] = measured({ ...group.share, error: null }, 2, "random heads");
    return group.poles.map((pole, i) => [
      i ? "" : [title, element("span", { class: "badge" }, group.size > 1 ? `${group.size} directions that cannot be told apart` : `${reads}, ${writes}`)],
      listed(name, corpus, from, group.reads[i]), listed(name, corpus, to, group.writes[i]),
      i ? "" : share, i ? "" : chance, i ? "" : measured({ ...group.copying, error: null }, 2)[0], i ? "" : loss, i ? "" : random]);
  });
  return [rows("Directions of the head", [...words("Circuit", "Reads", "Writes"), ...numbers("Share"), ...words("For comparison"), ...numbers("Copying", "Loss without it"), ...words("For comparison")], lines),
    note("Two lines are the two poles of a direction: what is read at one raises, or attends to, what stands beside it, and lowers what stands at the other.")];
}

function listed(name, corpus, role, ids) {
  return ids.slice(0, TOKENS).flatMap((id, i) => [i ? " " : "", token(name, corpus, role, id)]);
}

// Those that the corpus supports, in the order of the table: worth most first.
function supportedRows({ name, model, corpus }, h) {
  const { skips } = model, checked = skips.survives.length, supported = [];
  for (let i = 0; i < checked && supported.length < ROWS; i++) if (skips.head[i] === h && skips.support[i] === "supported") supported.push(i);
  const all = element("a", { href: hashOf([["skips", name], ["where", `Head:${model.heads[h]}`]]) }, "All of this head");
  if (!supported.length) return note("None that was checked is supported by the corpus. ", all, ".");
  const heads = [...words("Skip-trigram"), ...numbers("Effect", "Lift"), ...words("Consistent", "On text", "Survives")];
  const yes = (held) => (held ? "yes" : "no");
  const body = supported.map((i) => [
    constants.roles.flatMap((role, k) => [["", " … ", " → "][k], token(name, corpus, role, skips.ids[role][i])]),
    signed(skips.checked.effect_nats[i]), (skips.checked.corpus_lift[i] / constants.scale).toFixed(1), yes(skips.consistent[i]), skips.use[i], yes(skips.survives[i])]);
  const [source, destination, out] = constants.roles.map(roleName);
  return [rows("Its supported skip-trigrams", heads, body), note(`${source} … ${destination} → ${out}, those that the corpus supports, worth most first. `, all, ".")];
}
