// A matrix drawn with the tokens of its rows and columns on its axes, and the scale of its colours.

import { element, style } from "./page.js";

const CELL = 14, MARGIN = 92; // pixels of a cell, and of the tokens beside them
const LETTERS = 12; // of a token on an axis
const SHARP = 2; // dots per pixel

const label = (text) => (text.length > LETTERS ? `${text.slice(0, LETTERS - 1)}…` : text);

// `shade(row, column)` is the colour of a cell, null where there is none; `point(row, column)` follows the pointer.
export function matrix({ label: said, rows, columns, shade, point }) {
  const width = MARGIN + columns.length * CELL, height = MARGIN + rows.length * CELL;
  const canvas = element("canvas", { width: width * SHARP, height: height * SHARP, role: "img", "aria-label": said });
  canvas.style.width = `${width}px`;
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect(), pixel = width / box.width;
    const column = Math.floor(((event.clientX - box.left) * pixel - MARGIN) / CELL);
    const row = Math.floor(((event.clientY - box.top) * pixel - MARGIN) / CELL);
    if (row >= 0 && row < rows.length && column >= 0 && column < columns.length) point(row, column);
  });

  // With a frame around a row or a column, from one place in it to another.
  function draw({ row = null, column = null, from, to }) {
    const context = canvas.getContext("2d");
    context.setTransform(SHARP, 0, 0, SHARP, 0, 0);
    context.clearRect(0, 0, width, height);
    for (let i = 0; i < rows.length; i++) {
      for (let j = 0; j < columns.length; j++) {
        const colour = shade(i, j);
        if (!colour) continue;
        context.fillStyle = colour;
        context.fillRect(MARGIN + j * CELL, MARGIN + i * CELL, CELL, CELL);
      }
    }
    context.font = `10px ${style("--mono")}`;
    context.textBaseline = "middle";
    const ink = (chosen) => { context.fillStyle = style(chosen ? "--ink-now" : "--soft-now"); };
    context.textAlign = "right";
    rows.forEach((text, i) => { ink(i === row); context.fillText(label(text), MARGIN - 4, MARGIN + (i + 0.5) * CELL); });
    context.textAlign = "left";
    columns.forEach((text, j) => {
      context.save();
      context.translate(MARGIN + (j + 0.5) * CELL, MARGIN - 4);
      context.rotate(-Math.PI / 2);
      ink(j === column);
      context.fillText(label(text), 0, 0);
      context.restore();
    });
    context.strokeStyle = style("--frame");
    context.lineWidth = 2;
    const start = MARGIN + from * CELL, length = (to - from) * CELL;
    if (row !== null) context.strokeRect(start, MARGIN + row * CELL, length, CELL);
    else context.strokeRect(MARGIN + column * CELL, start, CELL, length);
  }
  return { canvas, draw };
}

// The two ends of a scale of colours, and what they stand for.
export function scale(low, ...colours) {
  const high = colours.pop();
  const bar = element("span", { class: "scale", "aria-hidden": "true" });
  bar.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
  return element("p", { class: "note" }, `${low} `, bar, ` ${high}`);
}
