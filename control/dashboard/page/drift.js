// How far inputs and answers are from the profiles of a rollout's models: numbers to look at, and no verdict.

import { call, rolloutPath } from "./api.js";
import { h, rebuilt } from "./dom.js";
import { clock, percent, sentence } from "./format.js";

const SHOWN = 8;
const AGAIN_MS = 5_000;
const HEAD = ["Feature", "PSI", "Without change", "Missing", "Outside"];

export function drift(model) {
  const body = h("div");
  const node = h("section", { "aria-labelledby": "drift-title", hidden: true },
    h("h2", { id: "drift-title" }, "Drift"),
    h("p", { class: "note" }, "Answers of the last hour against the profiles of the models that gave them. Nothing follows from it."),
    body);
  let asked = -Infinity;

  /** Ask now and then where answers are recorded: of others nothing is counted. */
  async function update(document) {
    if (!document.record || performance.now() - asked < AGAIN_MS) return;
    asked = performance.now();
    try {
      const { targets } = await call("GET", rolloutPath(model, "/drift"));
      node.hidden = targets.length === 0;
      rebuilt(body, targets, () => targets.map((target) => one(model, target)));
    } catch {
      // Control is away, which the page says; what was seen stays.
    }
  }
  return { node, update };
}

function one(model, target) {
  const more = target.features.length - SHOWN;
  return h("div", { class: "drift", "data-target": target.target }, h("h3", {}, target.target),
    target.since === null ? null : h("p", { class: "sentence" }, seen(target)),
    target.problem ? h("p", { class: "problem" }, sentence(target.problem)) : null,
    target.features.length === 0 ? null : table(target),
    more > 0 ? h("p", { class: "note" }, `and ${more} that moved less: understudy rollouts drift ${model} --most 1000`) : null);
}

/** How much was seen of how much. */
function seen({ answers, left_out: left, of, since, profile }) {
  const counted = answers - left;
  const all = Math.round(of);
  const part = all > counted ? `, of about ${all.toLocaleString("en")}` : "";
  return `${counted.toLocaleString("en")} answers since ${clock(since)}${part}, against ${profile}.`;
}

function table(target) {
  const rows = target.features.slice(0, SHOWN).map((feature) => h("tr", {},
    h("th", { scope: "row" }, feature.name),
    [feature.psi.toFixed(3), feature.noise.toFixed(3), percent(100 * feature.missing), percent(100 * feature.outside)]
      .map((cell) => h("td", {}, cell))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Features of ${target.target} that moved most` },
    h("table", {}, h("thead", {}, h("tr", {}, HEAD.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)));
}
