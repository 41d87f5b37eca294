// Tokens by their text: what a text may mean, and the text by which a token is linked to.

import { constants, asShown, element, plain, plainToken } from "./page.js";
import { hashOf } from "./address.js";

const indices = new WeakMap();

// For each text as it is shown, the ids of the tokens that are shown so.
function index(corpus) {
  if (!indices.has(corpus)) {
    const made = new Map();
    corpus.tokens.forEach((shown, id) => made.set(shown, [...(made.get(shown) ?? []), id]));
    indices.set(corpus, made);
  }
  return indices.get(corpus);
}

function bare(text) {
  return Object.entries(constants.marks).flat().reduce((left, sign) => left.replaceAll(sign, ""), text);
}

// The ids of the tokens that are written or shown so, or that have the number of `id:123`.
export function exactly(corpus, text) {
  const id = /^id:(\d+)$/.exec(text);
  if (id) return Number(id[1]) < corpus.tokens.length ? [Number(id[1])] : [];
  const spelled = text.replaceAll("\\n", "\n").replaceAll("\\t", "\t");
  return [text, asShown(text), asShown(spelled)].map((shown) => index(corpus).get(shown)).find(Boolean) ?? [];
}

// What a text that is no token may stand for: the tokens that are it but for blanks, or else those that contain it.
export function candidates(corpus, text) {
  const part = bare(text);
  if (!part) return [];
  const same = [...index(corpus)].flatMap(([shown, ids]) => (bare(shown) === part ? ids : []));
  if (same.length) return same;
  return corpus.shown.filter((id) => corpus.tokens[id].toLowerCase().includes(part.toLowerCase()));
}

// The text of a token as a person would write it, or its number where the text is not its alone.
export function named(corpus, id) {
  const text = plain(corpus.tokens[id]), meant = exactly(corpus, text);
  return meant.length === 1 && meant[0] === id ? text : `id:${id}`;
}

export function token(model, corpus, role, id) {
  const href = hashOf({ [role]: named(corpus, id), model });
  return element("a", { class: "token", href, title: `id ${id}` }, plainToken(corpus.tokens[id]));
}
