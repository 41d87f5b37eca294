// What runs when the page opens; `data-ready` says that it has.

const TOOLS = { explorer, skips, patterns };

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

// A section that is only linked to may be folded away in the contents; the page itself shows all.
async function start() {
  colours();
  contents();
  switches();
  await library();
  document.querySelectorAll("main table").forEach(enhance);
  for (const place of document.querySelectorAll("[data-tool]")) await TOOLS[place.dataset.tool](place);
  here();
  if (!asked()) named();
  document.documentElement.dataset.ready = "";
}

start();
