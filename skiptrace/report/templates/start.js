// What runs when the page opens; `data-ready` says that it has.

import { colours } from "./page.js";
import { route } from "./address.js";
import { library, tables } from "./tables.js";
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

async function start() {
  colours();
  contents();
  switches();
  await library();
  tables();
  figures();
  for (const place of document.querySelectorAll("[data-tool]")) await TOOLS[place.dataset.tool](place);
  here();
  addEventListener("hashchange", route);
  await route();
  delete document.documentElement.dataset.opening;
  document.documentElement.dataset.ready = "";
}

start();
