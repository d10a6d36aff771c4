// What each guard says: a verdict, a sentence, and how far its evidence is.

import { h, keyed, text } from "./dom.js";
import { eValue, sentence } from "./format.js";
import { chip, SELF } from "./overview.js";
import { segmentTable } from "./segments.js";

export function guardList() {
  const verdict = h("span");
  const why = h("span", { class: "sentence" });
  const list = h("ul", { class: "guards" });
  const section = h("section", { "aria-labelledby": "guards-title" }, h("h2", { id: "guards-title" }, "Verdict"),
    h("p", { class: "judged" }, verdict, " ", why), list);

  const update = (judgement, view) => {
    section.hidden = view.serving.canary === null && judgement === null;
    if (view.status.phase === "aa") {
      chip(verdict, "none", "A/A");
      text(why, SELF);
    } else if (judgement === null) {
      chip(verdict, "none", "Not judged");
      text(why, "This rollout has no guards, so nothing is decided by itself.");
    } else {
      chip(verdict, judgement.verdict, sentence(judgement.verdict));
      text(why, overall(judgement));
    }
    keyed(list, judgement?.guards ?? [], (guard) => guard.guard, guardCard);
  };
  return { node: section, update };
}

function overall(judgement) {
  if (judgement.hold !== null) return judgement.hold;
  const names = (verdict) => judgement.guards
    .filter((guard) => guard.verdict === verdict && guard.mode === "enforce" && (guard.proves || verdict === "harmful"))
    .map((guard) => title(guard.guard));
  if (judgement.verdict === "harmful") return `By ${names("harmful").join(" and ") || "what it did before"}.`;
  if (judgement.verdict === "proven") return "Every guard that can prove it says that the canary is no worse.";
  const waiting = [...names("undecided"), ...names("harmful")];
  return waiting.length ? `Waiting for ${waiting.join(", ")}.` : "Nothing is enforced.";
}

/** One guard: its verdict, its gauges, and why. */
export function guardCard(first) {
  const verdict = h("span");
  const effect = h("p", { class: "effect" });
  const reason = h("p", { class: "why" });
  const harm = gauge("for harm", "harm");
  const safe = gauge("for no worse", "safe");
  const gauges = h("div", { class: "gauges" }, harm.node, safe.node);
  const segments = segmentTable();
  const node = h("li", {}, h("div", { class: "who" }, h("h3", {}, title(first.guard)), verdict), effect, gauges, reason, segments.node);
  const update = (guard) => {
    chip(verdict, guard.verdict, sentence(guard.verdict) + (guard.mode === "observe" ? ", observed only" : ""));
    text(reason, sentence(guard.reason.replace(/^(harmful|proven|undecided): /, "")));
    effect.hidden = !guard.effect; // there is none, or control is older
    if (guard.effect) text(effect, `Canary: ${effectWords(guard.effect)}`);
    gauges.hidden = guard.log_line === null;
    harm.update(guard.log_harm, guard.log_line);
    safe.node.hidden = !guard.proves;
    safe.update(guard.log_safe, guard.log_proof_line);
    segments.update(guard.segments ?? []);
  };
  return { node, update };
}

const BESIDE = { change: " of stable's", difference: " points", ratio: " times stable's", share: "" };

/** How far the canary is from stable: "-3.1% of stable's (-6.2% to +0.4%)". */
function effectWords({ unit, estimate, least, greatest, asymptotic }) {
  const number = (value) => (unit === "ratio" ? String(Number(value.toPrecision(3)))
    : `${unit !== "share" && value >= 0 ? "+" : ""}${Number((100 * value).toPrecision(3))}${unit === "difference" ? "" : "%"}`);
  const found = `${estimate === null ? "?" : number(estimate)}${BESIDE[unit]}`;
  if (least === null) return found;
  const about = asymptotic ? "about " : "";
  return `${found} (${about}${greatest === null ? "at least " : ""}${number(least)}${greatest === null ? "" : ` to ${number(greatest)}`})`;
}

/** Latency has two rows: what the model computes, and what clients wait. */
function title(name) {
  return { "latency": "latency: model", "latency:clients": "latency: clients" }[name] ?? name;
}

/** How much of the way to its line an e-value is, as logarithms go. */
function gauge(label, look) {
  const fill = h("span", { class: `fill ${look}` });
  const value = h("span", { class: "value" });
  const node = h("div", { class: "gauge" }, h("span", {}, label), h("span", { class: "rail", "aria-hidden": "true" }, fill), value);
  const update = (log, line) => {
    const part = log === null || line === null ? 0 : Math.min(Math.max(log / line, 0), 1);
    fill.style.width = `${(100 * part).toFixed(1)}%`;
    text(value, `${eValue(log)} of ${eValue(line)}`);
  };
  return { node, update };
}
