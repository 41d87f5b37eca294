// What runs when the page opens. `data-ready` says that it can be used and shows what its address names; tools that
// were not asked for are made after that, one at a time, whenever nothing else is waiting.

import { colours, idle, once } from "./page.js";
import { owns, route } from "./address.js";
import { tables } from "./tables.js";
import { explorer } from "./explorer.js";
import { skips } from "./skips.js";
import { maps } from "./maps.js";
import { patterns } from "./patterns.js";
import { cards } from "./cards.js";
import { figures } from "./figures.js";
import { switches } from "./switch.js";

const TOOLS = { explorer, skips, cards, maps, patterns };

function contents() {
  const narrow = matchMedia("(max-width: 60rem)");
  const details = document.getElementById("contents");
  const fold = () => { details.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();
}

function here() {
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      for (const link of links.values()) link.classList.remove("here");
      links.get(target.id)?.classList.add("here");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  for (const section of document.querySelectorAll("main > section")) watch.observe(section);
}

// What makes each tool of the page, in their order.
function tools() {
  return [...document.querySelectorAll("[data-tool]")].map((place) => {
    const { keys, others, make } = TOOLS[place.dataset.tool], made = once(() => make(place));
    owns(keys, others, async (given) => (await made())(given));
    return made;
  });
}

async function start() {
  colours();
  contents();
  switches();
  tables();
  figures();
  const [first, ...later] = tools();
  await first?.();
  here();
  addEventListener("hashchange", route);
  await route();
  delete document.documentElement.dataset.opening;
  document.documentElement.dataset.ready = "";
  performance.mark("ready"); // so that how long this took can be measured from outside
  for (const make of later) {
    await idle();
    await make();
  }
}

start();
