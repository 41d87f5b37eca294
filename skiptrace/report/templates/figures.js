// A figure as a file of its own: the drawing with its caption below it.

import { element } from "./page.js";
import { save } from "./csv.js";

const LETTER = 8, LINE = 11; // points of a caption's letters, and from line to line
const WIDTH = 0.52; // of a letter, on average, in parts of its height

function wrapped(text, most) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1);
    if (line && line.length + word.length >= most) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines;
}

function captioned(drawing, caption) {
  const made = drawing.cloneNode(true), [left, top, width, height] = made.getAttribute("viewBox").split(" ").map(Number);
  const lines = wrapped(caption, Math.floor(width / (LETTER * WIDTH))), whole = height + LINE * (lines.length + 1);
  const drawn = (name, attributes, text) => {
    const part = document.createElementNS(made.namespaceURI, name);
    for (const [key, given] of Object.entries(attributes)) part.setAttribute(key, given);
    part.textContent = text;
    return part;
  };
  made.setAttribute("viewBox", [left, top, width, whole].join(" "));
  made.setAttribute("width", `${width}pt`);
  made.setAttribute("height", `${whole}pt`);
  made.removeAttribute("style");
  made.prepend(drawn("desc", {}, caption), drawn("style", {}, document.getElementById("drawings").textContent));
  lines.forEach((line, i) => {
    made.append(drawn("text", { x: left + LETTER, y: top + height + LINE * (i + 1), "font-size": LETTER, "font-family": "DejaVu Sans, sans-serif" }, line));
  });
  return new XMLSerializer().serializeToString(made);
}

export function figures() {
  for (const figure of document.querySelectorAll("figure[data-name]")) {
    const drawing = figure.querySelector("svg"), caption = figure.querySelector("figcaption");
    const text = caption.textContent.trim(), { name } = figure.dataset;
    caption.append(" ", element("button", {
      type: "button", class: "save", title: "The drawing with its caption, as a file", "aria-label": `Save ${name}.svg`,
      onclick: () => save(`${name}.svg`, "image/svg+xml", captioned(drawing, text)),
    }, "SVG"));
  }
}
