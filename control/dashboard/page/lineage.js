// What is claimed of where the models of a rollout come from. Whoever claims it is named: none of it is proven.

import { call, rolloutPath } from "./api.js";
import { h, rebuilt } from "./dom.js";
import { sentence } from "./format.js";

const AGAIN_MS = 30_000;
const WORDS = {
  registered_as: "Registered as", registered_by: "Registered by", registered_at: "Registered at", run: "Run", commit: "Commit",
  code: "Code", data: "Data", parent: "Parent", conversion: "Conversion", signature: "Signature",
};

export function lineage(model) {
  const body = h("div");
  const node = h("section", { "aria-labelledby": "lineage-title", hidden: true },
    h("h2", { id: "lineage-title" }, "Where its models come from"),
    h("p", { class: "note" }, "Claims, each with who makes it."), body);
  let shown = "";

  /** What is not known may be known later. */
  const again = () => setTimeout(() => { shown = ""; }, AGAIN_MS);

  /** Ask again when other models, or other bytes of them, are served. */
  async function update(targets) {
    const wanted = JSON.stringify(targets.map((target) => [target.target, target.sha256]));
    if (wanted === shown) return;
    shown = wanted;
    try {
      const found = await call("GET", rolloutPath(model, "/lineage"));
      node.hidden = found.length === 0;
      rebuilt(body, found, () => found.map(origin));
      if (found.some((one) => one.lineage.problems.length > 0)) again();
    } catch (error) {
      node.hidden = false;
      rebuilt(body, error.message, () => h("p", {}, sentence(error.message)));
      again();
    }
  }
  return { node, update };
}

function origin({ target, role, lineage: told }) {
  const claims = told.claims.filter((claim) => claim.about in WORDS);
  const unknown = told.unknown.filter((about) => about in WORDS).map((about) => WORDS[about].toLowerCase());
  return h("div", { class: "origin", "data-target": target }, h("h3", {}, `${target} ${role}`),
    claims.length === 0 ? null : h("table", {}, h("tbody", {}, claims.map(line))),
    unknown.length === 0 ? null : h("p", { class: "note" }, `Nobody says: ${unknown.join(", ")}.`),
    told.problems.map((problem) => h("p", { class: "problem" }, sentence(problem))));
}

function line(claim) {
  const value = claim.link ? h("a", { href: claim.link, rel: "noreferrer" }, claim.value) : claim.value;
  return h("tr", {}, h("th", { scope: "row" }, WORDS[claim.about]), h("td", {}, value), h("td", {}, `says ${claim.said_by}`));
}
