// The address is the state of the page: what is chosen in it is written there, and what stands there is shown.
//
//   #one-evidence                                   a section
//   #source=%20assert&model=one                     a token in the explorer, as source, destination or out
//   #skips=one&search=…&sort=…&where=…              the table of all skip-trigrams
//   #head=two.L1H1                                  the card of a head
//   #table=one-heads-1&search=…&sort=…&where=…      a table of the page
//   #patterns=two&text=…&head=L1H1&show=…&at=…      attention on the text that begins so

import { asShown, element, plainToken } from "./page.js";

const routes = [];

// Whoever owns a key of addresses says which others go with it, and how such an address is shown.
export function owns(keys, others, follow) {
  routes.push({ keys, others, follow });
}

export function hashOf(pairs) {
  // A blank is %20, since programs that find addresses in text do not take + for one.
  return `#${new URLSearchParams(pairs).toString().replaceAll("+", "%20")}`;
}

// Written as the reader goes along: no new entry in the history, and nothing is shown again.
export function write(pairs) {
  silence();
  history.replaceState(null, "", hashOf(pairs));
}

function silence() {
  document.querySelectorAll(".astray").forEach((note) => note.remove());
}

// Say beside `place` why the address cannot be shown as it stands.
export function astray(place, ...said) {
  place.before(element("p", { class: "note astray", role: "alert" }, "This address leads nowhere: ", ...said));
  return place.previousElementSibling;
}

// Show what the address names; true if it names something.
export async function route() {
  silence();
  const text = location.hash.slice(1);
  if (!text) return false;
  // Without a value it is the name of a section, which may be called as a key is.
  const given = new URLSearchParams(text.includes("=") ? text : "");
  // A key may go with those of others, as head does: then the one that knows all that is given is meant.
  const fits = routes.filter(({ keys }) => keys.some((key) => given.has(key)));
  const found = fits.find(({ keys, others }) => [...given.keys()].every((key) => keys.includes(key) || others.includes(key))) ?? fits[0];
  if (found) {
    const known = [...found.keys, ...found.others];
    const unknown = [...given.keys()].find((key) => !known.includes(key));
    if (unknown === undefined) await found.follow(given);
    else elsewhere(plainToken(asShown(unknown)), ` is no part of it. There are ${known.join(", ")}.`);
    return true;
  }
  const target = document.getElementById(decoded(text));
  if (target) open(target);
  else elsewhere("nothing on this page is called ", plainToken(asShown(decoded(text))), ".");
  return Boolean(target);
}

function elsewhere(...said) {
  open(astray(document.querySelector("main"), ...said));
}

// Scroll to an element; what it is folded away in is opened.
export function open(target) {
  target.querySelector(":scope > details.part")?.setAttribute("open", "");
  for (let at = target.parentElement; at; at = at.parentElement) {
    if (at.tagName === "DETAILS") at.open = true;
    if (at.classList.contains("panel")) at.previousElementSibling.control.checked = true; // the model's radio button
  }
  target.scrollIntoView();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
