// The token explorer: one token as source, destination and out in every head.

const ROLES = ["source", "destination", "out"];
const ROLE_ROWS = 12;

function asked() {
  const given = new URLSearchParams(location.hash.slice(1));
  const role = ROLES.find((r) => given.has(r));
  return role ? { role, text: given.get(role), model: given.get("model") } : null;
}

function explorer(root) {
  const input = element("input", { type: "text", list: "tokens", id: "token", autocomplete: "off", spellcheck: "false", placeholder: "a token, or id:123" });
  const known = element("datalist", { id: "tokens" });
  const result = element("div", { class: "result", "aria-live": "polite" });
  const preferred = modelNames.find((n) => n === "one") ?? modelNames[0];
  const model = element("select", { id: "model" }, ...modelNames.map((n) => new Option(n, n, false, n === preferred)));
  const role = element("select", { id: "role" }, ...ROLES.map((r) => new Option(r, r)));
  let listed;

  async function suggest() {
    const { corpus, model: data } = await modelAndCorpus(model.value);
    if (listed === data.corpus) return;
    listed = data.corpus;
    const byCount = [...corpus.shown].sort((a, b) => corpus.counts[b] - corpus.counts[a]);
    known.replaceChildren(...byCount.map((id) => element("option", { value: corpus.tokens[id] })));
  }

  // The address is the state: typing writes it, and it is read back like one that was followed.
  function go() {
    if (!input.value) return;
    const wanted = `#${new URLSearchParams({ [role.value]: input.value, model: model.value })}`;
    if (location.hash !== wanted) location.hash = wanted;
    else show();
  }

  async function show() {
    const wanted = asked();
    if (wanted) {
      if (wanted.model && !modelNames.includes(wanted.model)) {
        result.replaceChildren(element("p", { class: "note" }, "No model is called ", plainToken(asShown(wanted.model)), `: there are ${modelNames.join(", ")}.`));
        return;
      }
      model.value = wanted.model ?? model.value;
      role.value = wanted.role;
    }
    const found = await modelAndCorpus(model.value);
    const text = wanted?.text ?? address(found.corpus, opening(found));
    const id = find(found.corpus, text);
    if (wanted || !input.value) input.value = id < 0 ? text.slice(0, 200) : found.corpus.tokens[id];
    result.replaceChildren(...(id < 0 ? unknown(found, text) : lookup(found, id, role.value)));
    if (wanted) root.closest("section").scrollIntoView();
  }

  model.addEventListener("change", () => { suggest(); go(); });
  role.addEventListener("change", go);
  input.addEventListener("change", go);
  input.addEventListener("focus", () => { input.select(); suggest(); });
  addEventListener("hashchange", () => { if (asked()) show(); });
  root.replaceChildren(
    element("div", { class: "controls" },
      element("label", {}, "Token ", input), element("label", {}, "as ", role), element("label", {}, "in model ", model)),
    known, result);
  return show();
}

// What is shown before anything is asked for: the source of the best row by evidence, or the commonest token.
function opening({ model, corpus }) {
  const { consistent, checked, ids } = model.skips;
  const worth = consistent.map((v, i) => (v ? checked.p_out[i] * (1 - Math.exp(-checked.effect_nats[i] / 100)) : 0));
  if (worth.some((w) => w > 0)) return ids.source[worth.indexOf(Math.max(...worth))];
  return corpus.shown.reduce((a, b) => (corpus.counts[b] > corpus.counts[a] ? b : a));
}

function unknown({ name, corpus, model }, text) {
  const shown = asShown(text).slice(0, LONGEST), part = shown.replace(/…$/, "").toLowerCase();
  const near = corpus.shown.filter((id) => part && corpus.tokens[id].toLowerCase().includes(part.replace(/^·/, "")));
  const some = near.slice(0, 12).flatMap((id) => [" ", token(name, corpus, "source", id)]);
  const rest = some.length ? [" Tokens that contain it:", ...some] : [" Spaces count: most words begin with one, shown as ·."];
  return [element("p", { class: "note" }, plainToken(shown), ` is no single token of ${model.corpus}.`, ...rest)];
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
    ["sources", "out", "As out: raised by", "source"],
  ];
  const body = element("tbody");
  model.entries.forEach((head, place) => {
    // Entries begin with the direct path, which is no head.
    const kinds = place === 0 ? ["no head"] : [model.copies[place - 1] && "copies", model.positional[place - 1] && "positional"];
    const badge = kinds.filter(Boolean).join(", ");
    const cells = columns.map(([key, as, title, role]) =>
      element("td", { class: as === chosen ? "chosen" : undefined, "data-label": title }, head[key] ? entries(found, head[key], row, role) : "–"));
    body.append(element("tr", {}, element("td", {}, head.name, element("span", { class: "badge" }, badge)), ...cells));
  });
  const heads = ["Head", ...columns.map((c) => c[2])].map((text) => element("th", { scope: "col" }, text));
  const table = element("table", { class: "lookup" }, element("thead", {}, element("tr", {}, ...heads)), body);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The token in every head" }, table);
}

function skipTrigrams(found, id, chosen) {
  const { model } = found, ordered = [chosen, ...ROLES.filter((r) => r !== chosen)];
  return ordered.flatMap((role) => {
    const rows = [];
    model.skips.ids[role].forEach((other, i) => { if (other === id) rows.push(i); });
    if (!rows.length) return [element("p", { class: "note" }, `No mined skip-trigram has it as ${role}.`)];
    const shown = rows.slice(0, ROLE_ROWS);
    const more = rows.length > shown.length ? `, the first ${shown.length} shown` : "";
    const title = element("h3", {}, `Skip-trigrams with it as ${role} (${rows.length.toLocaleString("en")}${more})`);
    return [title, skipTable(found, shown)];
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
  const told = rows.some((i) => i < checked) ? evidence : [];
  const body = element("tbody");
  for (const i of rows) {
    const tokens = ROLES.flatMap((r, k) => [k === 1 ? " … " : " ", token(name, corpus, r, skips.ids[r][i])]);
    const numbers = [number(skips.mined.qk[i]), number(skips.mined.ov[i]), ...told.map(([, text]) => (i < checked ? text(i) : "–"))];
    const verdict = i < checked ? (skips.survives[i] ? "yes" : "no") : "not checked";
    body.append(element("tr", {},
      element("td", {}, model.heads[skips.head[i]]), element("td", { class: "example" }, ...tokens),
      ...numbers.map((text) => element("td", { class: "number" }, text)), element("td", { class: "example" }, verdict)));
    if (i < checked && skips.places[i].length) {
      const places = element("ul", { class: "places" }, ...skips.places[i].map((p) => place(corpus, p)));
      body.append(element("tr", {}, element("td"), element("td", { colspan: String(numbers.length + 2) }, places)));
    }
  }
  const numeric = ["QK", "OV", ...told.map(([title]) => title)].map((text) => element("th", { scope: "col", class: "number" }, text));
  const words = ["Head", "Skip-trigram", "Survives"].map((text) => element("th", { scope: "col" }, text));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...words.slice(0, 2), ...numeric, words[2])), body);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Skip-trigrams with the token" }, table);
}

function inText({ model, corpus }, id) {
  const places = corpus.places[corpus.shown.indexOf(id)] ?? [];
  if (!places.length) return [element("p", { class: "note" }, "It does not occur in the validation text.")];
  return [element("h3", {}, `In the validation text of ${model.corpus}`), element("ul", { class: "places" }, ...places.map((p) => place(corpus, p)))];
}
