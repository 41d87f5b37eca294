// Attention patterns: thumbnails of all heads, one of them large, and the text it reads.

import { asShown, chooser, constants, element, marked, modelAndCorpus, modelsThat, number, plain, plainToken, signed, style } from "./page.js";
import { astray, open, write } from "./address.js";
import { matrix, scale } from "./matrix.js";
import { hint } from "./tables.js";

const NAMED = 24; // characters by which a text is named at least
const SHORT = 34; // characters of a text in the list of texts
const NOTED = 4; // tokens named under a text
const SIDES = [["source", "what a token attends to"], ["destination", "what attends to a token"], ["loss", "the loss on each token"], ["depth", "what its deepest paths save"]];
const MOST = { loss: 800, depth: 400 }; // hundredths of a nat that have the full colour

export const patterns = { keys: ["patterns"], others: ["text", "head", "show", "at"], make: makePatterns };

async function makePatterns(root) {
  const reading = await modelsThat((model) => model.texts.length);
  const place = element("div"), texts = element("span");
  const state = { model: reading[0], text: 0, head: null, show: SIDES[0][0], at: null, other: null };
  const models = chooser("Model", reading.map((n) => [n, n]), state.model, (name) => choose({ model: name, text: 0, head: null, at: null }));
  const ways = chooser("Show", SIDES, state.show, (way) => choose({ show: way }));
  let drawn = null, redraw = () => {};
  root.replaceChildren(element("div", { class: "controls" }, models, texts, ways), place);
  document.addEventListener("colours", () => redraw());

  async function choose(change) {
    const { model, corpus } = await show(change);
    write({ patterns: state.model, text: beginning(model, corpus, state.text), head: model.heads[state.head], show: state.show, at: state.at + 1 });
  }

  // What is left out of a change stays; null is what a text shows at first.
  async function show(change) {
    Object.assign(state, { other: null }, change);
    const found = await modelAndCorpus(state.model), { model, corpus } = found, text = model.texts[state.text];
    state.head ??= liveliest(text);
    state.at ??= text.guesses.length - 1;
    models.querySelector("select").value = state.model;
    ways.querySelector("select").value = state.show;
    if (drawn !== text) {
      const titles = model.texts.map((other, i) => [String(i), `${i + 1}: ${short(written(corpus, other))}`]);
      texts.replaceChildren(chooser("Text", titles, String(state.text), (i) => choose({ text: Number(i), head: null, at: null })));
      redraw = draw(place, found, state, choose);
      place.querySelectorAll(".scroll").forEach(hint);
      drawn = text;
    }
    redraw();
    return found;
  }

  if (reading.length) await show({});
  return async (given) => {
    const lost = (...said) => open(astray(root, ...said));
    const name = given.get("patterns"), way = given.get("show") ?? SIDES[0][0];
    if (!reading.includes(name)) return lost("no model with attention is called ", plainToken(asShown(name)), `: there are ${reading.join(", ")}.`);
    const { model, corpus } = await modelAndCorpus(name);
    const text = given.has("text") ? beginningSo(model, corpus, given.get("text")) : [0];
    const head = given.has("head") ? model.heads.indexOf(given.get("head")) : null;
    const begins = [" of model ", name, " begins with ", plainToken(asShown(given.get("text") ?? "")), "."];
    if (text.length !== 1) return lost(text.length ? "more than one text" : "no text", ...begins);
    if (head === -1) return lost("model ", name, " has no head ", plainToken(asShown(given.get("head"))), `: there are ${model.heads.join(", ")}.`);
    if (!SIDES.some(([side]) => side === way)) return lost(`show is ${SIDES.map(([side]) => side).join(", ")}, not `, plainToken(asShown(way)), ".");
    const count = model.texts[text[0]].guesses.length, at = given.has("at") ? Number(given.get("at")) : count;
    if (!(Number.isInteger(at) && at >= 1 && at <= count)) return lost(`the text has tokens 1 to ${count}, and no `, plainToken(asShown(given.get("at"))), ".");
    await show({ model: name, text: text[0], head, show: way, at: at - 1 });
    return root.closest("section").scrollIntoView();
  };
}

// Puts a text of a model in place; returns what shows the state as it is.
function draw(place, { model, corpus }, state, choose) {
  const text = model.texts[state.text], { ids, earlier } = shown(text), n = ids.length;
  const tokens = ids.map((id) => corpus.tokens[id]);
  const weight = (row, column) => attention(text.patterns[state.head], row, column);
  const point = (at, other) => { Object.assign(state, { at, other }); redraw(); };
  const large = matrix({
    label: "Attention pattern: rows are destinations, columns sources",
    rows: tokens, columns: tokens,
    shade: (row, column) => (column > row ? null : `rgb(${style("--heat-now")} / ${weight(row, column)}%)`),
    point: (row, column) => { if (column <= row) point(...(state.show === "destination" ? [column, row] : [row, column])); },
  });
  const line = element("div", { class: "text", role: "listbox", tabindex: "0", "aria-label": "Tokens of the text; move with the arrow keys" });
  const said = element("div", { class: "said", "aria-live": "polite" });
  // Not pointerenter, which also comes when the text moves below a pointer at rest.
  const spans = tokens.map((token, i) =>
    element("span", { role: "option", id: `text-${i}`, onpointermove: () => { if (state.at !== i) point(i, null); }, onclick: () => choose({ at: i }) }, token));
  line.append(...spans);
  line.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: state.at - 1, ArrowRight: state.at + 1, Home: 0, End: n - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    choose({ at: Math.min(n - 1, Math.max(0, moves[event.key])) });
  });
  const buttons = model.heads.map((head, h) =>
    element("button", { type: "button", "data-head": head, onclick: () => choose({ head: h }) }, element("canvas", { width: n, height: n }), head));

  function redraw() {
    const bySource = state.show !== "destination", { at } = state;
    const given = (i) => (bySource ? weight(at, i) : weight(i, at));
    buttons.forEach((button, h) => {
      button.setAttribute("aria-pressed", h === state.head);
      thumbnail(button.firstChild, text.patterns[h], n);
    });
    large.draw(bySource ? { row: at, from: 0, to: at + 1 } : { column: at, from: at, to: n });
    spans.forEach((span, i) => {
      span.style.background = state.show in MOST ? lossColour(text, state.show, i) : `rgb(${style("--heat-now")} / ${given(i)}%)`;
      span.classList.toggle("present", i === at || i === state.other);
      span.setAttribute("aria-selected", i === at);
    });
    line.setAttribute("aria-activedescendant", `text-${at}`);
    key.replaceChildren(coloured(state.show));
    said.replaceChildren(...sentences(text, corpus, model.heads[state.head], state, given));
  }

  const key = element("div");
  const before = element("details", { class: "earlier" },
    element("summary", {}, `${earlier.length} earlier tokens, which the model reads too`), ...earlier.map((id) => corpus.tokens[id]));
  place.replaceChildren(
    element("div", { class: "thumbnails", role: "group", "aria-label": "Heads" }, ...buttons),
    element("div", { class: "pattern" },
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Attention pattern" }, large.canvas),
      element("div", { class: "reading" }, ...(earlier.length ? [before] : []), line, said, key)));
  return redraw;
}

// The loss on a token, or what of it the deepest paths save; null where that is not known.
function lossOf({ losses, shallow }, show, i) {
  if (show === "loss") return losses[i];
  return losses[i] === null || shallow[i] === null ? null : shallow[i] - losses[i];
}

function lossColour(text, show, i) {
  const held = lossOf(text, show, i) ?? 0, share = Math.min(100, Math.round((100 * Math.abs(held)) / MOST[show]));
  const colour = show === "loss" ? "rgb(var(--heat-now))" : held < 0 ? "var(--minus)" : "var(--plus)";
  return `color-mix(in srgb, ${colour} ${share}%, transparent)`;
}

function coloured(show) {
  const most = `${(MOST[show] ?? 0) / constants.scale} nats`;
  if (show === "loss") return scale("0", "rgb(var(--heat-now) / 0%)", "rgb(var(--heat-now))", `${most} or more on the token`);
  if (show === "depth") return scale(`costs ${most}`, "var(--minus)", "var(--paper)", "var(--plus)", `saves ${most}`);
  return scale("0%", "rgb(var(--heat-now) / 0%)", "rgb(var(--heat-now))", "100% of the attention of a destination");
}

// The tokens whose attention the page has, and those before them.
function shown(text) {
  const first = text.ids.length - text.guesses.length;
  return { earlier: text.ids.slice(0, first), ids: text.ids.slice(first) };
}

const triangle = (i) => (i * (i + 1)) / 2;
const attention = (pattern, row, column) => (column > row ? 0 : pattern[triangle(row) + column]);

// The head that moves most in a text: the one with the least attention to its first token, or to what is before that.
function liveliest({ guesses, patterns: heads }) {
  const away = heads.map((pattern) => guesses.reduce((sum, _, row) => sum + within(pattern, row, 1), 0));
  return away.indexOf(Math.max(...away));
}

// The attention of a row to the tokens from `from` on, in percent.
function within(pattern, row, from) {
  return pattern.slice(triangle(row) + from, triangle(row + 1)).reduce((sum, held) => sum + held, 0);
}

function written(corpus, text) {
  const { ids, earlier } = shown(text);
  // The token that every text begins with is no part of its name.
  return (earlier.length ? ids : ids.slice(1)).map((id) => corpus.tokens[id]).join("");
}

function short(text) {
  return text.length > SHORT ? `${text.slice(0, SHORT - 1)}…` : text;
}

// The texts that begin as it is written.
function beginningSo(model, corpus, text) {
  return [...model.texts.keys()].filter((i) => text && written(corpus, model.texts[i]).startsWith(marked(text)));
}

// So much of a text as no other begins with.
export function beginning(model, corpus, which) {
  const whole = Array.from(plain(written(corpus, model.texts[which])));
  for (let length = NAMED; length < whole.length; length++) {
    const text = whole.slice(0, length).join("");
    if (beginningSo(model, corpus, text).length === 1) return text;
  }
  return whole.join("");
}

function thumbnail(canvas, pattern, n) {
  const context = canvas.getContext("2d"), colour = style("--heat-now");
  context.clearRect(0, 0, n, n);
  for (let row = 0; row < n; row++) {
    for (let column = 0; column <= row; column++) {
      const held = attention(pattern, row, column);
      if (!held) continue;
      context.fillStyle = `rgb(${colour} / ${held}%)`;
      context.fillRect(column, row, 1, 1);
    }
  }
}

function sentences(text, corpus, head, { at, other, show, head: h }, given) {
  const { ids, earlier } = shown(text), named = (i) => plainToken(corpus.tokens[ids[i]]);
  const order = [...ids.keys()].filter((i) => given(i) > 0).toSorted((a, b) => given(b) - given(a));
  const picked = other === null ? order.slice(0, NOTED) : [other];
  const verb = show === "destination" ? " is attended to by " : " attends to ";
  const parts = picked.map((i) => [named(i), ` ${given(i)}%`]);
  const rest = 100 - within(text.patterns[h], at, 0);
  if (show !== "destination" && other === null && earlier.length && rest > 1) parts.push([`tokens before these ${rest}%`]);
  const joined = parts.flatMap((part, k) => [k ? ", " : "", ...part]);
  const said = element("p", {}, `${head}: `, named(at), ...(joined.length ? [verb, ...joined] : [" has nothing to show"]));
  const guesses = text.guesses[at].flatMap((id, k) => [k ? ", " : "", plainToken(corpus.tokens[id]), text.chances[at][k] ? ` ${text.chances[at][k]}%` : " < 1%"]);
  const why = other === null ? paths(text, corpus, at, earlier.length) : terms(text, h, Math.max(at, other), Math.min(at, other));
  const saved = lossOf(text, "depth", at);
  const without = saved === null ? "" : `; ${number(text.shallow[at])} without the deepest paths of the model`;
  const lost = text.losses[at] === null ? [] : [element("p", {}, "The loss on ", named(at), `, given what stands before it: ${number(text.losses[at])} nats${without}.`)];
  return [said, ...lost, element("p", {}, "The model's next token: ", ...guesses), ...why];
}

// The largest terms of one attention score, as `skiptrace explain --why` has them.
function terms({ patterns: heads, reasons }, head, row, column) {
  const found = reasons[head];
  if (!found) return [];
  const kept = found.which.length / heads[head].length, first = (triangle(row) + column) * kept;
  const lines = [...Array(kept).keys()].map((i) => [signed(found.above[first + i]), found.terms[found.which[first + i]]]);
  return reasonList("Why: what the destination holds × what the source holds, in attention scores above the mean over all sources", lines);
}

// The paths that add most to the likeliest next token, as `skiptrace explain` has them.
function paths({ ids, paths: every }, corpus, at, before) {
  const found = every[at];
  if (!found) return [];
  const lines = found.names.map((name, i) => {
    const back = before + at - found.sources[i];
    return [signed(found.logits[i]), name, " mostly from ", plainToken(corpus.tokens[ids[found.sources[i]]]), back ? ` ${back} back` : ""];
  });
  return reasonList("Paths that add most to it, in logits above the mean over all tokens", lines);
}

function reasonList(title, lines) {
  return [element("p", {}, `${title}:`), element("ul", { class: "reasons" }, ...lines.map(([value, ...said]) => element("li", {}, element("span", {}, value), " ", ...said)))];
}
