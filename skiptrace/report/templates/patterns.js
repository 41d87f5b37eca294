// Attention patterns: thumbnails of all heads, one of them large, and the text it reads.

const CELL = 12; // pixels of the large pattern per token
const FRAME = "#e69f00";

// What an address such as #patterns=two&text=3&head=L1H1 names; texts count from 1.
function askedPattern(names) {
  const given = new URLSearchParams(location.hash.slice(1)), model = given.get("patterns");
  return names.includes(model) ? { model, text: Number(given.get("text")) - 1, head: given.get("head") } : null;
}

async function patterns(root) {
  const reading = [];
  for (const name of modelNames) if ((await archive("model", name)).texts.length) reading.push(name);
  const place = element("div"), textChoice = element("span");
  let direction = "source";
  const models = chooser("Model", reading.map((n) => [n, n]), reading[0], (name) => open(name, 0, null));
  const sides = [["source", "what a token attends to"], ["destination", "what attends to a token"]];
  const ways = chooser("Show", sides, direction, (value) => { direction = value; redraw(); });
  let state, redraw = () => {};
  root.replaceChildren(element("div", { class: "controls" }, models, textChoice, ways), place);
  document.addEventListener("colours", () => redraw());

  const follow = () => {
    const wanted = askedPattern(reading);
    if (!wanted) return null;
    models.querySelector("select").value = wanted.model;
    return open(wanted.model, wanted.text, wanted.head).then(() => root.closest("section").scrollIntoView());
  };
  addEventListener("hashchange", follow);

  async function open(name, wanted, head) {
    const found = await modelAndCorpus(name);
    const options = found.model.texts.map((text, i) => [String(i), `${i + 1}: ${beginning(found.corpus, text)}`]);
    const first = wanted in found.model.texts ? wanted : 0;
    textChoice.replaceChildren(chooser("Text", options, String(first), (i) => view(found, Number(i), null)));
    view(found, first, head);
  }

  function view({ name, model, corpus }, which, wanted) {
    const text = model.texts[which], n = text.ids.length;
    // The head that moves most in this text: least attention to the first token.
    const rest = text.patterns.map((p) => p.reduce((sum, v, k) => sum + (isFirst(k) ? v : 0), 0));
    const named = model.heads.indexOf(wanted);
    state = { head: named >= 0 ? named : rest.indexOf(Math.min(...rest)), at: n - 1, other: null };
    const large = element("canvas", { width: n * CELL, height: n * CELL, role: "img", "aria-label": "Attention pattern: rows are destinations, columns sources" });
    const line = element("div", { class: "text", role: "listbox", tabindex: "0", "aria-label": "Tokens of the text; move with the arrow keys" });
    const told = element("div", { class: "told", "aria-live": "polite" });
    const spans = text.ids.map((id, i) => element("span", { role: "option", onpointerenter: () => point(i, null) }, corpus.tokens[id]));
    line.append(...spans);
    const choose = (head) => {
      state.head = head;
      const address = new URLSearchParams({ patterns: name, text: which + 1, head: model.heads[head] });
      history.replaceState(null, "", `#${address}`);
      redraw();
    };
    const buttons = model.heads.map((name, h) => {
      const canvas = element("canvas", { width: n, height: n });
      return element("button", { type: "button", "data-head": name, onclick: () => choose(h) }, canvas, name);
    });
    const point = (at, other) => { Object.assign(state, { at, other }); redraw(); };
    large.addEventListener("pointermove", (event) => {
      const box = large.getBoundingClientRect(), cell = (offset, size) => Math.min(n - 1, Math.max(0, Math.floor((offset / size) * n)));
      const row = cell(event.clientY - box.top, box.height), column = cell(event.clientX - box.left, box.width);
      if (column <= row) direction === "source" ? point(row, column) : point(column, row);
    });
    line.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: state.at - 1, ArrowRight: state.at + 1, Home: 0, End: n - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      point(Math.min(n - 1, Math.max(0, moves[event.key])), null);
    });

    redraw = () => {
      const pattern = text.patterns[state.head], at = state.at;
      const weight = (i) => (direction === "source" ? value(pattern, at, i) : value(pattern, i, at));
      buttons.forEach((button, h) => {
        button.setAttribute("aria-pressed", h === state.head);
        paint(button.firstChild, text.patterns[h], n);
      });
      paint(large, pattern, n);
      frame(large, n, at, direction);
      spans.forEach((span, i) => {
        span.style.background = `rgb(${heat()} / ${weight(i)}%)`;
        span.classList.toggle("present", i === at || i === state.other);
        span.setAttribute("aria-selected", i === at);
      });
      told.replaceChildren(...tell(text, corpus, model.heads[state.head], at, state.other, direction, weight));
    };
    place.replaceChildren(
      element("div", { class: "thumbnails", role: "group", "aria-label": "Heads" }, ...buttons),
      element("div", { class: "pattern" }, large, element("div", { class: "reading" }, line, told)));
    redraw();
  }

  if (reading.length) await (follow() ?? open(reading[0], 0, null));
}

const triangle = (i) => (i * (i + 1)) / 2;
const value = (pattern, row, column) => (column > row ? 0 : pattern[triangle(row) + column]);
const isFirst = (k) => { const row = Math.floor((Math.sqrt(8 * k + 1) - 1) / 2); return triangle(row) === k; };
const heat = () => getComputedStyle(document.documentElement).getPropertyValue("--heat-now");

function beginning(corpus, text) {
  const shown = text.ids.slice(1, 12).map((id) => corpus.tokens[id]).join("");
  return shown.length > 34 ? `${shown.slice(0, 33)}…` : shown;
}

function paint(canvas, pattern, n) {
  const context = canvas.getContext("2d"), colour = heat(), cell = canvas.width / n;
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (let row = 0; row < n; row++) {
    for (let column = 0; column <= row; column++) {
      const shown = value(pattern, row, column);
      if (!shown) continue;
      context.fillStyle = `rgb(${colour} / ${shown}%)`;
      context.fillRect(column * cell, row * cell, cell, cell);
    }
  }
}

// A frame around the row of a destination, or the column of a source.
function frame(canvas, n, at, direction) {
  const context = canvas.getContext("2d");
  context.strokeStyle = FRAME;
  context.lineWidth = 2;
  if (direction === "source") context.strokeRect(1, at * CELL + 1, (at + 1) * CELL - 2, CELL - 2);
  else context.strokeRect(at * CELL + 1, at * CELL + 1, CELL - 2, (n - at) * CELL - 2);
}

function tell(text, corpus, head, at, other, direction, weight) {
  const shown = (i) => plainToken(corpus.tokens[text.ids[i]]);
  const order = text.ids.map((_, i) => i).filter((i) => weight(i) > 0).sort((a, b) => weight(b) - weight(a));
  const picked = other === null ? order.slice(0, 4) : [other];
  const verb = direction === "source" ? " attends to " : " is attended to by ";
  const parts = picked.flatMap((i, k) => [k ? ", " : "", shown(i), ` ${weight(i)}%`]);
  const said = element("p", {}, `${head}: `, shown(at), ...(parts.length ? [verb, ...parts] : [" has nothing to show"]));
  const guesses = text.guesses[at].flatMap((id, k) => [k ? ", " : "", plainToken(corpus.tokens[id]), text.chances[at][k] ? ` ${text.chances[at][k]}%` : " < 1%"]);
  return [said, element("p", {}, "The model's next token: ", ...guesses)];
}
