// Segments with errors, as the guard of segments sees them: the worst first.

import { h, keyed, text } from "./dom.js";
import { eValue } from "./format.js";

const SHOWN = 5;

export function segmentTable() {
  const rows = h("tbody");
  const more = h("p", { class: "note" });
  const head = ["Segment", "Canary", "Stable", "For harm", "Harmed"];
  const node = h("div", { class: "segments scroll", hidden: true, tabindex: "0", role: "region", "aria-label": "Segments with errors" },
    h("table", {}, h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))), rows), more);

  const update = (segments) => {
    node.hidden = segments.length === 0;
    keyed(rows, segments.slice(0, SHOWN), (segment) => segment.value, one);
    more.hidden = segments.length <= SHOWN;
    text(more, `and ${segments.length - SHOWN} more`);
  };
  return { node, update };
}

function one(first) {
  const cells = ["canary", "stable", "harm", "named"].map((name) => h("td", { "data-cell": name }));
  const node = h("tr", {}, h("th", { scope: "row" }, first.value), cells);
  const update = (segment) => {
    const values = [segment.canary, segment.stable, eValue(segment.log_harm), segment.named ? "yes" : "not shown"];
    cells.forEach((cell, index) => text(cell, values[index]));
  };
  return { node, update };
}
