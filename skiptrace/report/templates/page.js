// Elements, tokens and data: what the parts below share. Text reaches the page as text nodes alone.

const dark = matchMedia("(prefers-color-scheme: dark)");

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function colours() {
  const root = document.documentElement, chooser = document.getElementById("colours");
  const apply = () => {
    const chosen = root.dataset.colours;
    root.classList.toggle("dark", chosen ? chosen === "dark" : dark.matches);
    document.dispatchEvent(new Event("colours"));
  };
  chooser.value = root.dataset.colours ?? "";
  chooser.addEventListener("change", () => {
    if (chooser.value) root.dataset.colours = chooser.value;
    else delete root.dataset.colours;
    try {
      localStorage.setItem("skiptrace-colours", chooser.value);
    } catch {
      // Kept for this visit only.
    }
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}

const archives = new Map();

// The data of a corpus or a model, unpacked when it is first asked for.
function archive(kind, name) {
  const key = `${kind} ${name}`;
  if (!archives.has(key)) {
    const held = document.querySelector(`script[data-${kind}="${CSS.escape(name)}"]`);
    const bytes = Uint8Array.from(atob(held.textContent), (c) => c.charCodeAt(0));
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    archives.set(key, new Response(unpacked).json());
  }
  return archives.get(key);
}

const modelNames = [...document.querySelectorAll("script[data-model]")].map((s) => s.dataset.model);

async function modelAndCorpus(name) {
  const model = await archive("model", name);
  return { name, model, corpus: await archive("corpus", model.corpus) };
}

const MARKS = { " ": "·", "\n": "↵", "\t": "⇥", "\r": "␍" };
const LONGEST = 40;

// What a person types, in the form in which tokens are shown.
function asShown(text) {
  const shown = [...text].map((c) => MARKS[c] ?? c);
  return (shown.length > LONGEST ? [...shown.slice(0, LONGEST - 1), "…"] : shown).join("");
}

function find(corpus, text) {
  const number = /^id:(\d+)$/.exec(text);
  if (number) return Number(number[1]) < corpus.tokens.length ? Number(number[1]) : -1;
  const tries = [text, asShown(text), asShown(text.replaceAll("\\n", "\n").replaceAll("\\t", "\t"))];
  return tries.map((t) => corpus.tokens.indexOf(t)).find((i) => i >= 0) ?? -1;
}

// The text of a token as a person would write it in an address, or its number where the text is not its alone.
function address(corpus, id) {
  let text = corpus.tokens[id];
  for (const [plain, mark] of Object.entries(MARKS)) text = text.replaceAll(mark, plain);
  return find(corpus, text) === id && text.trim() === text.trimEnd() ? text : `id:${id}`;
}

function hash(model, corpus, role, id) {
  return `#${new URLSearchParams({ [role]: address(corpus, id), model })}`;
}

function plainToken(shown) {
  return element("code", { class: "token" }, shown);
}

function token(model, corpus, role, id) {
  const link = { class: "token", href: hash(model, corpus, role, id), title: `id ${id}` };
  return element("a", link, plainToken(corpus.tokens[id]));
}

function number(hundredths, digits = 2) {
  return hundredths === null || hundredths === undefined ? "–" : (hundredths / 100).toFixed(digits);
}

function signed(hundredths) {
  return hundredths > 0 ? `+${number(hundredths)}` : number(hundredths);
}

// A stretch of text with its marked tokens.
function place(corpus, { ids, marks }) {
  const item = element("li");
  ids.forEach((id, i) => {
    if (id < 0) item.append(" … ");
    else item.append(marks.includes(i) ? element("mark", {}, corpus.tokens[id]) : corpus.tokens[id]);
  });
  return item;
}

function chooser(label, options, chosen, change) {
  const select = element("select", { onchange: () => change(select.value) });
  for (const [value, text] of options) select.append(new Option(text, value, false, value === chosen));
  return element("label", {}, `${label} `, select);
}
