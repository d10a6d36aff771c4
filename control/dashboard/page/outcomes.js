// What was told of a rollout's answers: how much was taken, what waits and until when, what was left out and why.

import { h, rebuilt } from "./dom.js";
import { DASH, moment } from "./format.js";

const REASONS = {
  duplicate: "told before", late: "too late", early: "of a time to come", not_drawn: "nobody was drawn",
  ambiguous: "at a change of weights", receipt: "no receipt of ours", rollout: "rollout not known", outcome: "no such outcome",
  value: "no value of it",
};
const COLUMNS = ["Outcome", "Kind", "Taken", "Waiting", "Left out"];

export function outcomes() {
  const body = h("tbody");
  const scored = h("ul", { class: "labels" });
  const node = h("section", { "aria-labelledby": "outcomes-title", hidden: true },
    h("h2", { id: "outcomes-title" }, "Outcomes"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Outcomes" }, h("table", {},
      h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col", class: name === "Taken" ? "number" : null }, name)))), body)),
    scored);
  const update = (view) => {
    node.hidden = view.outcomes.length === 0;
    rebuilt(body, view.outcomes, () => view.outcomes.map(line));
    rebuilt(scored, view.labels, () => (view.labels?.guards ?? []).map((guard) => h("li", { "data-labels": guard.guard }, labels(guard))));
  };
  return { node, update };
}

function line(row) {
  return h("tr", { "data-outcome": row.name }, h("td", {}, row.name), h("td", {}, row.kind),
    h("td", { class: "number" }, count(row.taken)), h("td", {}, waiting(row)),
    h("td", {}, counted(row.left_out, REASONS) || DASH));
}

/** Labels count as they come; the others when their time is over. */
function waiting(row) {
  if (row.kind === "label") return DASH;
  if (row.waiting === 0) return "none";
  return `${count(row.waiting)}, the first until ${row.first_until === null ? "the next look" : moment(row.first_until)}`;
}

function labels(guard) {
  const left = counted(guard.unscored, {});
  return `${guard.guard}: ${count(guard.scored)} labels held against both answers: only the canary right ${count(guard.gained)}, ` +
    `only stable ${count(guard.lost)}, alike ${count(guard.same)}${left ? `; not held: ${left}` : ""}`;
}

const count = (number) => number.toLocaleString("en");

function counted(by, words) {
  return Object.entries(by).filter(([, number]) => number > 0)
    .map(([reason, number]) => `${count(number)} ${words[reason] ?? reason.replaceAll("_", " ")}`).join(", ");
}
