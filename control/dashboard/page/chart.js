// A line chart of one number or several over time, and the same numbers as a table.
// The picture is for the eye; the table says everything that the picture does, to everyone.

import { h, rebuilt, s, text } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 150;
const LEFT = 52;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;
const ROWS = 60;
const GAP_SECONDS = 5; // without points for so long the line is interrupted

/**
 * A chart. `options`: title, note, format(value) for people, range(values) -> [low, high],
 * ticks([low, high]) -> values.
 * update(points, seconds, lines, marks): the last `seconds` of `points` ({at, ...}); each line is
 * {name, look, value(point) -> number or null}; marks are [{value, name}], drawn across.
 */
export function chart(options) {
  const plot = s("svg", { class: "plot", role: "img" });
  const legend = h("ul", { class: "lines" });
  const table = h("table", {});
  const numbers = h("details", { toggle: () => fill() }, h("summary", {}, "Numbers"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${options.title}, numbers` }, table));
  const note = options.note ? h("span", { class: "note" }, ` ${options.note}`) : null;
  const node = h("figure", { class: "chart", "data-chart": options.title },
    h("figcaption", {}, h("h3", {}, options.title), note), plot, legend, numbers);
  let last = null;

  const update = (points, seconds, lines, marks = []) => {
    const end = points.length ? points[points.length - 1].at : 0;
    const shown = points.filter((point) => point.at > end - seconds);
    last = { shown, lines, end, seconds, marks };
    draw(plot, options, last);
    name(legend, plot, options, last);
    fill();
  };
  const fill = () => {
    if (numbers.open && last) tabulate(table, options, last);
  };
  const redraw = () => last && draw(plot, options, last);
  const sized = new ResizeObserver(redraw);
  sized.observe(node);
  return { node, update, stop: () => sized.disconnect() };
}

function name(legend, plot, options, { shown, lines, marks }) {
  const latest = shown[shown.length - 1];
  const values = lines.map((line) => (latest ? line.value(latest) : null));
  rebuilt(legend, lines.map((line) => [line.name, line.look]), () => lines.map((line) => h("li", {},
    s("svg", { class: "swatch-line", viewBox: "0 0 18 6", "aria-hidden": "true" },
      s("path", { class: `line ${line.look}`, d: "M0 3H18" })), `${line.name} `, h("b", {}))));
  [...legend.children].forEach((entry, index) => text(entry.lastChild, options.format(values[index])));
  const now = lines.map((line, index) => `${line.name} ${options.format(values[index])}`);
  const across = marks.map((mark) => `${mark.name} ${options.format(mark.value)}`);
  plot.setAttribute("aria-label", `${options.title}. Now: ${[...now, ...across].join(", ") || "nothing yet"}`);
}

function draw(plot, options, { shown, lines, end, seconds, marks }) {
  const width = Math.max(plot.parentNode?.clientWidth ?? 0, 200);
  const across = width - LEFT - RIGHT;
  const up = HEIGHT - TOP - BOTTOM;
  const values = lines.map((line) => shown.map(line.value));
  const known = values.flat().filter((value) => value !== null && Number.isFinite(value));
  const [low, high] = options.range([...known, ...marks.map((mark) => mark.value)], marks);
  const x = (at) => LEFT + across * (1 - (end - at) / seconds);
  const y = (value) => TOP + up * (1 - (Math.min(Math.max(value, low), high) - low) / (high - low));
  const grid = options.ticks([low, high]).map((value) => s("g", {},
    s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    s("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, options.format(value))));
  const drawn = lines.map((line, index) => s("path", {
    class: `line ${line.look}`,
    d: path(shown, values[index], x, y),
  }));
  const crossing = marks.map((mark) =>
    s("line", { class: "mark", x1: LEFT, x2: width - RIGHT, y1: y(mark.value), y2: y(mark.value) }));
  const ago = seconds >= 60 ? `${seconds / 60} min ago` : `${seconds} s ago`;
  const axis = [
    s("text", { class: "tick", x: LEFT, y: HEIGHT - 4 }, ago),
    s("text", { class: "tick", x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, "now"),
  ];
  plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  plot.setAttribute("height", HEIGHT);
  plot.replaceChildren(...grid, ...crossing, ...drawn, ...axis);
}

/** Straight lines between points; none across a gap, a dot where a point stands alone. */
function path(shown, values, x, y) {
  const parts = [];
  let before = null;
  shown.forEach((point, index) => {
    const value = values[index];
    if (value === null || value === undefined) return;
    const joined = before !== null && index - before === 1 && point.at - shown[before].at < GAP_SECONDS;
    parts.push(`${joined ? "L" : "M"}${x(point.at).toFixed(1)} ${y(value).toFixed(1)}`);
    if (!joined) parts.push("h0.01");
    before = index;
  });
  return parts.join("");
}

function tabulate(table, options, { shown, lines, marks }) {
  const latest = shown.slice(-ROWS).reverse();
  const head = h("tr", {}, h("th", { scope: "col" }, "Time"),
    lines.map((line) => h("th", { scope: "col" }, line.name)),
    marks.map((mark) => h("th", { scope: "col" }, mark.name)));
  const body = latest.map((point) => h("tr", { "data-at": point.at },
    h("th", { scope: "row" }, clock(point.at)),
    lines.map((line) => cell(line.value(point), options)),
    marks.map((mark) => cell(mark.value, options))));
  table.replaceChildren(h("caption", {}, `${options.title}, the last ${latest.length} seconds`),
    h("thead", {}, head), h("tbody", {}, ...body));
}

const cell = (value, options) => h("td", { "data-value": value }, options.format(value));

// ------------------------------------------------------------------ ranges and ticks

/** From zero to a round number above everything. */
export function fromZero(least) {
  return (values) => [0, roundUp(Math.max(least, ...values))];
}

/** Percentages: all of it when most is used, else from zero to above the highest. */
export function shares(values) {
  const high = Math.max(0, ...values);
  return [0, high > 50 ? 100 : roundUp(Math.max(high, 1))];
}

/** Agreement: from a round number below the lowest to 100. */
export function below100(values) {
  const low = Math.min(99, ...values);
  return [low >= 99 ? 98 : low >= 90 ? 90 : low >= 50 ? 50 : 0, 100];
}

/** Logarithms of e-values: from a hundredth to some way above the line, which is what matters. */
export function evidence(values, marks) {
  const line = Math.max(...marks.map((mark) => mark.value), Math.LN10);
  const low = Math.max(Math.min(0, ...values), -2 * Math.LN10);
  return [Math.min(low, -0.5 * Math.LN10), Math.min(Math.max(line * 1.2, ...values), line * 2)];
}

export const halves = ([low, high]) => [low, (low + high) / 2, high];

/** Whole powers of ten, at most five of them; values are natural logarithms. */
export function powers([low, high]) {
  const first = Math.ceil(low / Math.LN10);
  const last = Math.floor(high / Math.LN10);
  const step = Math.max(1, Math.ceil((last - first + 1) / 5));
  const found = [];
  for (let power = first; power <= last; power += step) found.push(power * Math.LN10);
  return found;
}

function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  const steps = [1, 2, 4, 5, 6, 8, 10];
  return unit * steps.find((step) => step * unit >= value * 0.999999);
}
