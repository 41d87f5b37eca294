// One panel per model: what an address names is shown, and the model that is chosen stands in the address.

// Shows an element that a panel or a fold hides.
function reveal(target) {
  for (let part = target.parentElement; part; part = part.parentElement) {
    if (part.tagName === "DETAILS") part.open = true;
    if (part.classList.contains("panel")) part.previousElementSibling.control.checked = true;
  }
}

function named() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  reveal(target);
  target.querySelector(":scope > details.part")?.setAttribute("open", "");
  target.scrollIntoView();
}

function switches() {
  for (const input of document.querySelectorAll(".switched > input")) {
    input.addEventListener("change", () => {
      const section = input.labels[0].nextElementSibling.querySelector("section");
      history.replaceState(null, "", `#${encodeURIComponent(section.id)}`);
    });
  }
  addEventListener("hashchange", named);
}
