"use strict";
// The course of the run: the norm of its state and its loss, the stretches in which something was done to it shaded.

const PLOTS = [
  ["norm", "length of the state", 2],
  ["loss", "training loss, nats", 1],
];

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Draws the plots into `root` and sets `input` up as their pointer; calls `moved(point)` as it moves. */
function makeTimeline(root, input, { steps, windows, first, last, ...courses }, moved) {
  const share = (step) => (step - first) / (last - first);
  const numbers = Object.assign(document.createElement("div"), { className: "numbered" });
  windows.forEach(({ start, end }, at) => {
    const number = Object.assign(document.createElement("span"), { textContent: at + 1 });
    number.style.left = `${50 * (share(start) + share(end))}%`;
    numbers.append(number);
  });
  root.append(numbers);
  const pointers = PLOTS.map(([name, title, digits]) => {
    const values = courses[name];
    const low = name === "norm" ? 0 : Math.min(...values);
    const high = Math.max(...values) || 1;
    const plot = document.createElement("div");
    plot.className = "plot";
    const drawing = svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", role: "img", "aria-label": title });
    for (const { start, end } of windows)
      drawing.append(svg("rect", { x: share(start), width: share(end) - share(start), y: 0, height: 1, class: "window" }));
    const points = values.map((value, at) => `${share(steps[at])},${0.97 - 0.94 * ((value - low) / (high - low || 1))}`);
    drawing.append(svg("polyline", { points: points.join(" ") }));
    const pointer = Object.assign(document.createElement("span"), { className: "pointer" });
    const told = Object.assign(document.createElement("p"), { textContent: `${title}: ${plain(low, digits)} to ${plain(high, digits)}` });
    plot.append(drawing, pointer);
    root.append(told, plot);
    return pointer;
  });
  Object.assign(input, { min: 0, max: steps.length - 1, step: 1, value: steps.length - 1 });

  function show() {
    const at = Number(input.value);
    const acting = windows.find(({ start, end }) => start <= steps[at] && steps[at] < end);
    for (const pointer of pointers) pointer.style.left = `${100 * share(steps[at])}%`;
    const told = `step ${steps[at]}: length ${plain(courses.norm[at], 2)}, loss ${plain(courses.loss[at], 2)}${acting ? `, ${acting.label}` : ""}`;
    input.setAttribute("aria-valuetext", told);
    document.getElementById("moment-told").textContent = told;
  }

  input.addEventListener("input", () => {
    show();
    moved(Number(input.value));
  });
  show();
}
