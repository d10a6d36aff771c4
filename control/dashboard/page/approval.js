// What a rollout waits for at an `approve` or `run` step, and the answer of who may give one.

import { call, rolloutPath } from "./api.js";
import { confirmed } from "./dialogs.js";
import { h, rebuilt, say } from "./dom.js";

export function approval(model, changed) {
  const body = h("div");
  const node = h("section", { "aria-labelledby": "approval-title", class: "approval", hidden: true },
    h("h2", { id: "approval-title" }, "Waits for"), body);

  async function ask(wanted, action, label, does) {
    const done = await confirmed(`${label} ${model}?`, does, label, (reason) =>
      call("POST", rolloutPath(model, `/${action}`), { body: action === "approve" ? { reason, seen: wanted.seen } : { reason } }),
      { danger: action === "reject" });
    if (done) {
      say(`${label}: done`);
      changed(done);
    }
  }

  const update = (view) => {
    const waiting = view.waiting_for ?? null; // of a control that is older, nothing
    node.hidden = waiting === null;
    if (waiting === null) return;
    const { approval: wanted, run } = waiting;
    const shown = [run?.url, wanted?.seen, wanted?.given, view.guards.map((row) => [row.guard, row.verdict, row.reason])];
    rebuilt(body, shown, () => (run ? [h("p", {}, `the hook ${run.url}`)] : asked(view, wanted, ask)));
  };
  return { node, update };
}

function asked(view, wanted, ask) {
  const given = wanted.given.map((one) => h("li", {}, `${one.person} (${one.role}) approved`));
  const targets = Object.entries(wanted.evidence.targets).map(([target, digest]) =>
    h("li", {}, `${target} `, h("code", {}, digest)));
  const guards = view.guards.map((row) => h("li", {}, `${row.guard}: ${row.reason}`));
  const does = `You looked at ${Object.keys(wanted.evidence.targets).join(" and ")}, step ${wanted.evidence.step}. Your answer is kept with what you saw.`;
  return [
    h("p", {}, `Approval by ${wanted.missing} more of ${wanted.from.join(" or ")}${wanted.not_by.length ? `, but not by ${wanted.not_by.join(" or ")}` : ""}.`),
    h("ul", {}, ...given, ...targets, ...(guards.length ? guards : [h("li", {}, "no guard has judged it")])),
    h("div", { class: "actions", role: "group", "aria-label": "Approval" },
      h("button", { type: "button", "data-action": "approve", click: () => ask(wanted, "approve", "Approve", does) }, "Approve"),
      h("button", { type: "button", class: "danger", "data-action": "reject", click: () => ask(wanted, "reject", "Reject", "The rollout is paused, with your reason.") }, "Reject")),
  ];
}
