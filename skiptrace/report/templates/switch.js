// One panel per model: the model that is chosen stands in the address, as the first section of its panel.

export function switches() {
  for (const input of document.querySelectorAll(".switched > input")) {
    const section = input.labels[0].nextElementSibling.querySelector("section");
    input.addEventListener("change", () => history.replaceState(null, "", `#${encodeURIComponent(section.id)}`));
  }
}
