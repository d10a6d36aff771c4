// An A/B/n test: a card for each candidate beside stable, and how the search for the best of them stands.

import { call, rolloutPath } from "./api.js";
import { confirmed } from "./dialogs.js";
import { h, keyed, rebuilt, say, text } from "./dom.js";
import { DASH, percent, sentence } from "./format.js";
import { guardCard } from "./guards.js";
import { chip } from "./overview.js";
import { hue } from "./shares.js";

const COLUMNS = ["Side", "Outcomes", "Sum", "Beside stable", "State"];

export function candidates(model, changed) {
  let view = null;
  const cards = h("ul", { class: "candidates" });
  const best = bestOf();
  const node = h("section", { "aria-labelledby": "candidates-title", hidden: true },
    h("h2", { id: "candidates-title", tabindex: -1 }, "Candidates"), best.node, cards);

  async function promote(target) {
    const does = `Make ${target} answer everything, whatever the evidence says. The other candidates leave.`;
    const done = await confirmed(`Promote ${target} of ${model}?`, does, "Promote", (reason) =>
      call("POST", rolloutPath(model, "/promote"), { body: { reason, target }, revision: view.revision }), { danger: true });
    if (done) {
      say("Promote: done");
      changed(done);
      node.querySelector("h2").focus(); // the button that was pressed does not apply any more
    }
  }

  const update = (now) => {
    view = now;
    node.hidden = now.candidates.length === 0;
    best.update(now);
    keyed(cards, now.candidates.map((row) => ({ ...row, view: now })), (row) => row.target, (row) => card(row, promote));
  };
  return { node, update };
}

/** One candidate: whether it is compared, where it is ready, what its guards say, and a button. */
function card(first, promote) {
  const state = h("span");
  const verdict = h("span");
  const about = h("p", { class: "sentence" });
  const why = h("p", { class: "why" });
  const guards = h("ul", { class: "guards" });
  const button = h("button", {
    type: "button", class: "danger", "data-promote": first.target, "aria-label": `Promote ${first.target}`, click: () => promote(first.target),
  }, "Promote");
  const node = h("li", { "data-candidate": first.target },
    h("div", { class: "who" }, h("h3", {}, h("i", { class: `swatch canary ${hue(first.number)}` }), first.target), state, verdict),
    about, why, guards, button);
  const update = (row) => {
    const { phase } = row.view.status;
    const ready = Object.values(row.ready);
    const found = row.view.best?.found === row.target;
    const now = row.view.serving.stable === row.target; // it was promoted
    const word = now ? "Stable now" : found ? "Best" : row.on ? "Compared" : "Off";
    chip(state, now || found ? "proven" : row.on ? "comparing" : "none", word);
    text(about, now ? "" : row.on ? `${percent(row.weight)} of the requests${row.mirror ? `, mirror ${percent(row.mirror)}` : ""}, ` +
      `ready in ${ready.filter(Boolean).length} of ${ready.length}` : `Stable has its ${percent(row.weight)}.`);
    verdict.hidden = row.judgement === null;
    if (row.judgement !== null) chip(verdict, row.judgement.verdict, sentence(row.judgement.verdict));
    text(why, row.on ? row.judgement?.hold ?? "" : sentence(row.reason));
    keyed(guards, row.judgement?.guards ?? [], (guard) => guard.guard, guardCard);
    guards.hidden = row.judgement === null;
    button.hidden = !row.on;
    button.disabled = phase === "promoting" || !row.view.actions.includes("promote");
  };
  return { node, update };
}

function bestOf() {
  const words = h("p", { class: "sentence" });
  const left = h("p", { class: "note" });
  const body = h("tbody");
  const node = h("div", { class: "best", hidden: true }, words, left,
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The best" }, h("table", {},
      h("thead", {}, h("tr", {}, COLUMNS.map((name, index) => h("th", { scope: "col", class: index && index < 4 ? "number" : null }, name)))), body)));
  const update = ({ best }) => {
    node.hidden = best === null || best.sides.length === 0;
    if (best === null) return;
    text(words, sentence(best.reason));
    text(left, best.seconds_left === null ? "" : `Ends undecided in ${duration(best.seconds_left)}.`);
    rebuilt(body, best, () => best.sides.map((side) => h("tr", { "data-side": side.target }, h("th", { scope: "row" }, side.target),
      h("td", { class: "number" }, count(side.units)), h("td", { class: "number" }, side.total ? count(side.total) : DASH),
      h("td", { class: "number" }, side.to_stable === null ? DASH : String(Number(side.to_stable.toPrecision(3)))),
      h("td", {}, standing(best, side)))));
  };
  return { node, update };
}

function standing(best, side) {
  if (side.target === best.found) return "best";
  if (!side.on) return "off";
  return best.found === null && side.target === best.leader ? "ahead, not shown" : "";
}

const count = (number) => number.toLocaleString("en", { maximumFractionDigits: 2 });

/** "13 d", "5 h", "40 min", "20 s": whole units of a time that people wait. */
function duration(left) {
  for (const [unit, size] of [["d", 86_400], ["h", 3_600], ["min", 60]]) if (left >= 2 * size) return `${Math.round(left / size)} ${unit}`;
  return `${Math.round(left)} s`;
}
