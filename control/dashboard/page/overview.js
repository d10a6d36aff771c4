// All rollouts at a glance: what is served, in which phase, and what the evidence says.

import { h, keyed, text } from "./dom.js";
import { phaseWord, rate, seconds, sentence } from "./format.js";
import { needChips, needList, URGENT } from "./needs.js";
import { shadowLines } from "./shadows.js";
import { shareBar } from "./shares.js";

const ORDER = ["rolled_back", "paused", "promoting", "progressing", "comparing", "aa", "ended", "promoted", "idle"];

/** What stands in place of a verdict while stable is its own canary. */
export const SELF = "Stable against itself: whatever alarms is false, and nothing follows from it.";

/** How soon a person should look at it: the least first. */
function urgency(row) {
  if (row.verdict === "harmful" && row.status.phase !== "aa") return -1;
  if (row.needs.length) return URGENT.indexOf(row.needs[0].kind);
  return URGENT.length + ORDER.indexOf(row.status.phase);
}

export function overview() {
  const count = h("p", { class: "lead" }, "Loading");
  const list = h("ul", { class: "glance", "aria-label": "Rollouts" });
  const node = h("div", {},
    h("div", { class: "titled" }, h("h1", { tabindex: -1 }, "Rollouts"), h("span", { class: "grow" }),
      h("a", { class: "button", href: "#/new" }, "New rollout")),
    count, list);

  let general = []; // what needs a person and is of no rollout: shown above every view
  const hear = (kind, rows) => {
    if (kind === "needs") general = rows.filter((need) => need.model === null);
    if (kind !== "overview") return;
    const sorted = rows.toSorted((a, b) => urgency(a) - urgency(b) || (a.model < b.model ? -1 : 1));
    keyed(list, sorted, (row) => row.model, glance);
    text(count, counted(rows, general));
  };
  return { title: "Rollouts", nav: "rollouts", topics: ["needs", "overview"], node, hear };
}

function counted(rows, general) {
  if (rows.length === 0) return general.length ? "No rollout is in force here, see above." : "Nothing is served yet.";
  const needy = rows.filter((row) => row.needs.length).length;
  const inOrder = rows.toSorted((a, b) => ORDER.indexOf(a.status.phase) - ORDER.indexOf(b.status.phase)).map(word);
  const parts = [...new Set(inOrder)].map((one) => `${inOrder.filter((other) => other === one).length} ${one.toLowerCase()}`);
  const needs = needy ? `; ${needy} ${needy === 1 ? "needs" : "need"} a person` : "";
  return `${rows.length} ${rows.length === 1 ? "rollout" : "rollouts"}: ${parts.join(", ")}${needs}`;
}

const word = (row) => phaseWord(row.status, row.needs, row.ready);

function glance(first) {
  const href = `#/rollouts/${encodeURIComponent(first.model)}`;
  const phase = h("span");
  const chips = needChips();
  const needs = needList();
  const shadows = shadowLines();
  const bar = shareBar();
  const status = h("p", { class: "sentence" });
  const verdict = h("span");
  const why = h("span", { class: "why" });
  const figures = { rps: h("dd"), failures: h("dd"), p99: h("dd") };
  const node = h("li", {},
    h("div", { class: "who" }, h("h2", {}, h("a", { href }, first.model)), phase, chips.node),
    h("div", { class: "what" }, bar.node, needs.node, status, shadows.node),
    h("p", { class: "judged" }, verdict, " ", why),
    h("dl", { class: "figures" },
      h("div", {}, h("dt", {}, "requests/s"), figures.rps),
      h("div", {}, h("dt", {}, "failed/s"), figures.failures),
      h("div", {}, h("dt", {}, "p99"), figures.p99)));

  const update = (row) => {
    chip(phase, row.status.phase, word(row));
    chips.update(row.needs);
    needs.update(row.needs);
    shadows.update(row.shadows);
    bar.update(row.serving, row.shadows.map((shadow) => shadow.target), row.targets, row.candidates);
    text(status, sentence(row.status.sentence) + (row.ready ? "" : ". Not ready everywhere yet."));
    const failures = sum(row.targets, "failures_per_second");
    text(figures.rps, rate(sum(row.targets, "requests_per_second")));
    text(figures.failures, rate(failures));
    figures.failures.classList.toggle("bad", failures > 0);
    text(figures.p99, seconds(slowest(row.targets)));
    judged(verdict, why, row);
  };
  return { node, update };
}

/** A verdict in a word and a sentence. */
function judged(verdict, why, row) {
  if (row.status.phase === "aa") {
    chip(verdict, "none", "A/A");
    text(why, SELF);
    return;
  }
  if (row.verdict !== null) {
    chip(verdict, row.verdict, sentence(row.verdict));
    text(why, row.verdict_reason.replaceAll(/: undecided: /g, ": "));
    return;
  }
  const tried = row.serving.canary || row.candidates.some((candidate) => candidate.on);
  chip(verdict, "none", row.best?.found ? "Best found" : tried && !row.best ? "Not judged: it has no guards" : "");
  text(why, "");
}

export function chip(element, kind, words) {
  element.className = `chip ${kind}`;
  text(element, words);
}

const sum = (targets, key) => targets.reduce((total, target) => total + target[key], 0);
const slowest = (targets) => {
  const known = targets.map((target) => target.p99_seconds).filter((value) => value !== null);
  return known.length ? Math.max(...known) : null;
};

