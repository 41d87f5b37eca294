// Elements, tokens and data: what the other modules share. Text reaches the page as text nodes alone.

const dark = matchMedia("(prefers-color-scheme: dark)");

export const constants = JSON.parse(document.getElementById("constants").textContent);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, given] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), given);
    else if (given === true) made.setAttribute(key, "");
    else if (given !== false && given !== undefined) made.setAttribute(key, given);
  }
  made.append(...children);
  return made;
}

export function colours() {
  const root = document.documentElement, select = document.getElementById("colours");
  const apply = () => {
    const chosen = root.dataset.colours;
    root.classList.toggle("dark", chosen ? chosen === "dark" : dark.matches);
    document.dispatchEvent(new Event("colours"));
  };
  select.value = root.dataset.colours ?? "";
  select.addEventListener("change", () => {
    if (select.value) root.dataset.colours = select.value;
    else delete root.dataset.colours;
    try {
      localStorage.setItem("skiptrace-colours", select.value);
    } catch {
      // Kept for this visit only.
    }
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}

// Made when somebody first asks for it.
export function once(make) {
  let made;
  return () => (made ??= make());
}

// A moment in which nothing else is waiting.
export function idle() {
  return new Promise((resolve) => ("requestIdleCallback" in globalThis ? requestIdleCallback(resolve) : setTimeout(resolve)));
}

const archives = new Map();

// What `packing.compressed` packed.
export function unpacked(text) {
  const held = atob(text), made = new Uint8Array(held.length);
  for (let i = 0; i < held.length; i++) made[i] = held.charCodeAt(i);
  return new Response(new Blob([made]).stream().pipeThrough(new DecompressionStream("gzip")));
}

// The data of a corpus or a model, unpacked when it is first asked for.
export function archive(kind, name) {
  const key = `${kind} ${name}`;
  if (!archives.has(key)) {
    const held = document.querySelector(`script[data-${kind}="${CSS.escape(name)}"]`);
    archives.set(key, unpacked(held.textContent).json());
  }
  return archives.get(key);
}

export const modelNames = [...document.querySelectorAll("script[data-model]")].map((s) => s.dataset.model);

export async function modelAndCorpus(name) {
  const model = await archive("model", name);
  return { name, model, corpus: await archive("corpus", model.corpus) };
}

// The models of which `holds` is true.
export async function modelsThat(holds) {
  const all = await Promise.all(modelNames.map((name) => archive("model", name)));
  return modelNames.filter((_, i) => holds(all[i]));
}

// The first of them, for which no other model after it is unpacked.
export async function firstThat(holds) {
  for (const name of modelNames) if (holds(await archive("model", name))) return name;
  return undefined;
}

// What a person types, in the form in which tokens are shown: controls, and blanks but the plain one, are spelled out.
export function marked(text) {
  return Array.from(text, (c) => constants.marks[c] ?? (/[\p{C}\p{Z}]/u.test(c) ? spelled(c) : c)).join("");
}

function spelled(character) {
  const place = character.codePointAt(0), digits = place.toString(16);
  return place > 0xff ? `\\u${digits.padStart(4, "0")}` : `\\x${digits.padStart(2, "0")}`;
}

// What is shown, as a person would write it.
export function plain(shown) {
  return Object.entries(constants.marks).reduce((text, [sign, mark]) => text.replaceAll(mark, sign), shown);
}

// Marked, and as short as tokens are shown.
export function asShown(text) {
  const shown = Array.from(marked(text));
  return (shown.length > constants.longest ? [...shown.slice(0, constants.longest - 1), "…"] : shown).join("");
}

// What a custom property of the style sheet holds.
export function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

// Puts what the columns of a tool hold on their heads, for a pointer that rests there.
export function explain(root, heads) {
  const help = JSON.parse(root.dataset.help);
  for (const head of heads) {
    const said = help[head.textContent.trim()];
    if (said) head.title = said;
  }
}

export function plainToken(shown) {
  return element("code", { class: "token" }, shown);
}

export function number(whole, digits = 2) {
  return whole === null || whole === undefined ? "–" : (whole / constants.scale).toFixed(digits);
}

export function signed(whole) {
  return whole > 0 ? `+${number(whole)}` : number(whole);
}

// What readers call a token's role in a skip-trigram.
export function roleName(role) {
  return role === "out" ? "output" : role;
}

// A stretch of text with its marked tokens; with `around`, no more than so many tokens beside each of them.
export function stretch(corpus, { ids, marks }, around = Infinity) {
  const parts = [];
  ids.forEach((id, i) => {
    if (id === constants.left_out || !marks.some((m) => Math.abs(m - i) <= around)) {
      if (parts.at(-1) !== " … ") parts.push(" … ");
    } else {
      parts.push(marks.includes(i) ? element("mark", {}, corpus.tokens[id]) : corpus.tokens[id]);
    }
  });
  return parts;
}

export function chooser(label, options, chosen, change) {
  const select = element("select", { onchange: () => change(select.value) });
  for (const [held, text] of options) select.append(new Option(text, held, false, held === chosen));
  return element("label", {}, `${label} `, select);
}
