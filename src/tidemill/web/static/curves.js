// Says what a curve's value is where the pointer is. The drawings are whole without it.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function value(pixel, axis, log) {
  const [low, high, start, end] = axis.split(" ").map(Number);
  const found = low + ((pixel - start) / (end - start || 1)) * (high - low);
  return log ? 10 ** found : found;
}

function place(x, across) {
  if (across === "step") return `step ${Math.round(x)}`;
  if (across === "time") return `${Number(x.toPrecision(5))} s`;
  return new Date(x * 1000).toISOString().slice(0, 19).replace("T", " ");
}

function nearest(svg, x, y) {
  let best = null;
  for (const path of svg.querySelectorAll("path.line")) {
    if (path.classList.contains("raw")) continue;
    for (const point of path.getAttribute("d").slice(1).split("L")) {
      const [px, py] = point.split(" ").map(Number);
      const far = Math.abs(px - x) * 3 + Math.abs(py - y); // first of all where the pointer is along the axis
      if (best === null || far < best.far) best = { far, px, py, path };
    }
  }
  return best;
}

function read(event) {
  const svg = event.target.closest?.("svg[data-y]");
  if (!svg) return;
  const at = svg.createSVGPoint();
  [at.x, at.y] = [event.clientX, event.clientY];
  const { x, y } = at.matrixTransform(svg.getScreenCTM().inverse());
  const found = nearest(svg, x, y);
  if (found === null) return;
  let mark = svg.querySelector("circle.here");
  if (!mark) {
    mark = svg.appendChild(document.createElementNS(SVG, "circle"));
    mark.setAttribute("class", "here");
    mark.setAttribute("r", "4");
  }
  mark.setAttribute("cx", found.px);
  mark.setAttribute("cy", found.py);
  let told = svg.nextElementSibling;
  if (!told?.classList.contains("here")) {
    told = document.createElement("p");
    told.className = "here note";
    svg.after(told);
  }
  const number = Number(value(found.py, svg.dataset.y, svg.dataset.log === "yes").toPrecision(4));
  const name = found.path.querySelector("title")?.textContent ?? "";
  told.textContent = `${name} about ${number} at ${place(value(found.px, svg.dataset.x, false), svg.dataset.across)}`;
}

document.addEventListener("pointermove", read);
document.addEventListener("pointerdown", read);
