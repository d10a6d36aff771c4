// What needs a person: chips beside a name, sentences under it, and a list of what is of no rollout.

import { h, rebuilt } from "./dom.js";
import { moment, sentence } from "./format.js";

const CALM = new Set(["best_found", "test_ended", "waits", "paused_by_person", "taken_off"]);

/** How soon a person should look at it: 0 first. */
export const URGENT = [
  "not_served", "not_ready", "not_promoted", "sample_ratio", "not_proven", "harm_observed", "doubtful", "keys_full", "best_found",
  "test_ended", "waits", "paused", "paused_by_person", "taken_off",
];

const chipOf = (need) => h("span", { class: `chip need ${CALM.has(need.kind) ? "calm" : "urgent"}`, "data-need": need.kind }, need.title);

/** Chips with the titles. */
export function needChips() {
  const node = h("span", { class: "needs-chips" });
  return { node, update: (needs) => rebuilt(node, needs.map((need) => [need.kind, need.title]), () => needs.map(chipOf)) };
}

/** The sentences, with since when. */
export function needList(label = "Needs a person") {
  const node = h("ul", { class: "needs", "aria-label": label, hidden: true });
  const update = (needs) => {
    node.hidden = needs.length === 0;
    rebuilt(node, needs, () => needs.map((need) => h("li", { "data-need": need.kind },
      chipOf(need), " ", sentence(need.sentence), h("span", { class: "note" }, ` (since ${moment(need.since)})`))));
  };
  return { node, update };
}
