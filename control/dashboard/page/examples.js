// The differences themselves: what the reference and the candidate answered to the same request.

import { call, rolloutPath } from "./api.js";
import { h, rebuilt, text } from "./dom.js";
import { moment } from "./format.js";

const FIRST = 5;
const MORE = 50;

export function examples(model) {
  const output = h("select", { id: "output", change: () => load() });
  const order = h("select", { id: "order", change: () => load() },
    h("option", { value: "distance" }, "largest first"), h("option", { value: "recent" }, "latest first"));
  const more = h("button", { type: "button", hidden: true, click: () => load(MORE) }, "Show more");
  const again = h("button", { type: "button", click: () => load() }, "Look again");
  const state = h("p", { class: "note", role: "status" });
  const list = h("ol", { class: "examples" });
  const node = h("section", { "aria-labelledby": "examples-title" },
    h("h2", { id: "examples-title" }, "Differences"),
    h("div", { class: "filters" },
      h("label", { for: "output" }, "Output"), output, h("label", { for: "order" }, "Order"), order, again),
    state, list, more);
  let names = "";

  /** The outputs that may be asked for: those of which anything was compared. */
  function outputs(found) {
    const wanted = ["", ...new Set(found.map((row) => row.output))];
    if (names === wanted.join("\n")) return;
    names = wanted.join("\n");
    const chosen = output.value;
    output.replaceChildren(...wanted.map((name) => h("option", { value: name }, name || "all outputs")));
    output.value = wanted.includes(chosen) ? chosen : "";
  }

  async function load(limit = FIRST) {
    const query = new URLSearchParams({ order: order.value, limit });
    if (output.value) query.set("output", output.value);
    let found;
    try {
      found = await call("GET", rolloutPath(model, `/examples?${query}`));
    } catch (error) {
      text(state, error.message);
      list.replaceChildren();
      return;
    }
    text(state, found.examples.length === 0
      ? `No examples are kept (of ${found.seen} comparisons seen).`
      : `${found.examples.length} of ${found.seen.toLocaleString("en")} comparisons seen.`);
    more.hidden = limit > FIRST || found.examples.length < limit;
    rebuilt(list, found.examples.map((example) => example.id), () => found.examples.map(shown));
  }
  return { node, load, outputs };
}

function shown(example) {
  const head = h("div", { class: "who" }, h("h3", {}, `${example.target} ${example.output}`),
    h("span", { class: `chip ${example.verdict}` }, example.verdict),
    h("span", { class: "note" }, `distance ${distance(example.distance)}, ${example.datatype} [${example.shape.join(", ")}], ${moment(Date.parse(example.at) / 1000)}`));
  if (example.redacted) {
    return h("li", {}, head, h("p", { class: "note" }, "The document keeps the values back."), recorded(example.receipt));
  }
  const rows = Math.max(example.reference.length, example.candidate.length);
  const differs = (index) => example.reference[index] !== example.candidate[index];
  const line = (name, values, look) => h("tr", {}, h("th", { scope: "row" }, name),
    Array.from({ length: rows }, (_, index) =>
      h("td", { class: differs(index) ? look : "" }, index < values.length ? value(values[index]) : "")));
  const table = h("table", { class: "pair" },
    h("caption", { class: "hidden" }, "Reference and candidate, value by value"),
    line("reference", example.reference, "differs"), line("candidate", example.candidate, "differs"));
  const scroll = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Values of ${example.output}` }, table);
  const request = example.request && h("details", {}, h("summary", {}, "Request"),
    h("pre", { tabindex: 0, role: "region", "aria-label": "Request" }, JSON.stringify(example.request, null, 1)));
  const cut = example.cut ? h("p", { class: "note" }, "There are more values than these.") : null;
  return h("li", {}, head, scroll, cut, request, recorded(example.receipt));
}

/** How to look the answer up and run it again, where it carries a receipt; one click selects the command. */
function recorded(receipt) {
  return receipt ? h("p", { class: "note" }, "Again, with --records of the node: ", h("code", { class: "whole" }, `understudy replay ${receipt}`)) : null;
}

const distance = (number) => (number === null ? "infinite" : Number(number.toPrecision(4)));
const value = (one) => (typeof one === "number" && !Number.isInteger(one) ? one.toPrecision(5) : String(one));
