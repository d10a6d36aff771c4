// The steps of a rollout as a track, with the one under way.

import { h, rebuilt } from "./dom.js";
import { percent } from "./format.js";

export function track() {
  const list = h("ol", { class: "track" });
  const section = h("section", { "aria-labelledby": "steps-title" }, h("h2", { id: "steps-title" }, "Steps"), list);

  const update = (view) => {
    const steps = view.document.canary?.steps ?? [];
    section.hidden = steps.length === 0;
    const { phase, step } = view.status;
    const waited = Math.floor(view.status.waited_seconds);
    const ended = phase === "promoting" || phase === "promoted";
    const under = phase === "progressing" || phase === "paused";
    const off = phase === "rolled_back";
    rebuilt(list, [steps, phase, step, waited, view.document.canary?.model], () => [
      ...steps.map((one, index) => {
        const here = index + 1 === step;
        const state = ended || index + 1 < step ? "done" : here && under ? "now" : here && off ? "stopped" : "next";
        const detail = { now: sofar(one, phase, waited), stopped: "taken off here" }[state] ?? "";
        return item(words(one), state, detail);
      }),
      item("Promote", phase === "promoted" ? "done" : phase === "promoting" ? "now" : "next", ""),
    ]);
  };
  return { node: section, update };
}

function item(label, state, detail) {
  const spoken = { done: "done", now: "under way", next: "to come", stopped: "ended" }[state];
  return h("li", { class: state, "aria-current": state === "now" ? "step" : null },
    h("span", { class: "label" }, label), h("span", { class: "hidden" }, `, ${spoken}`),
    h("span", { class: "detail" }, detail));
}

function words(step) {
  if (step.setWeight !== undefined) return `${percent(step.setWeight)}`;
  if (step.pause !== undefined) return step.pause.duration ? `Pause ${step.pause.duration}` : "Ask a person";
  if (step.approve !== undefined) return `Approved by ${step.approve.by}`;
  if (step.run !== undefined) return "Hook";
  return "Prove";
}

function sofar(step, phase, waited) {
  if (phase === "paused") return "paused";
  const limit = step.prove?.max ?? step.pause?.duration ?? step.approve?.expires ?? step.run?.timeout;
  return limit ? `${waited} s of ${limit}` : `${waited} s`;
}
