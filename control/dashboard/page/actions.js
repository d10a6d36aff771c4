// What a person may do to a rollout; each is confirmed and gives its reason.

import { call, rolloutPath } from "./api.js";
import { confirmed } from "./dialogs.js";
import { h, say } from "./dom.js";
import { moment } from "./format.js";

const WORDS = {
  pause: { label: "Pause", atOnce: true, does: () => "Hold the rollout at its step. The canary keeps its share." },
  resume: {
    label: "Resume",
    does: (view) => (["rolled_back", "ended"].includes(view.status.phase)
      ? "Start the rollout again from its beginning."
      : "Let the rollout go on from its step."),
  },
  promote: {
    label: "Promote", danger: true,
    does: (view) => `Make ${view.serving.canary} answer everything, whatever the evidence says.`,
  },
  abort: {
    label: "Abort", danger: true, atOnce: true,
    does: (view) => (view.status.phase === "aa" ? "End the A/A: stable answers everything by itself again."
      : view.status.phase === "promoted" ? `Take back the promotion: ${view.document.stable.model ?? view.document.stable} answers everything again.`
      : `Take ${view.serving.canary ?? "every candidate"} off at once; ${view.serving.stable} answers everything.`),
  },
};

export function actions(model, changed) {
  let view = null;
  const buttons = Object.entries(WORDS).map(([name, words]) =>
    h("button", { type: "button", "data-action": name, class: words.danger ? "danger" : "", click: () => ask(name, words) }, words.label));
  const undo = h("button", { type: "button", "data-action": "undo", click: () => undoTo(model, view, null, changed) }, "Undo");
  const edit = h("a", { class: "button", href: `#/rollouts/${encodeURIComponent(model)}/edit` }, "Edit");
  const node = h("div", { class: "actions", role: "group", "aria-label": "Actions" }, ...buttons, undo, edit);

  async function ask(name, words) {
    const done = await confirmed(`${words.label} ${model}?`, words.does(view), words.label, (reason) => {
      // Whoever holds a canary or takes it off must not lose a race against the step that it takes just now.
      const revision = words.atOnce ? null : view.revision;
      return call("POST", rolloutPath(model, `/${name}`), { body: { reason }, revision });
    }, { danger: words.danger });
    if (done) {
      say(`${words.label}: done`);
      changed(done);
      node.querySelector("button:not(:disabled):not([hidden])").focus(); // the one that was pressed may not apply any more
    }
  }

  const update = (now) => {
    view = now;
    for (const button of buttons) button.disabled = !now.actions.includes(button.dataset.action);
    node.querySelector("[data-action=promote]").hidden = now.candidates.length > 0; // each has a button of its own
  };
  return { node, update };
}

/** Go back to the document of a revision; asks which one when none is given. */
export async function undoTo(model, view, revision, changed) {
  const rows = await call("GET", rolloutPath(model, "/history?limit=200"));
  const present = JSON.stringify(view.document);
  const options = rows
    .filter((row) => row.document !== null && JSON.stringify(row.document) !== present)
    .map((row) => [String(row.revision), `revision ${row.revision}, ${moment(row.at)}, ${row.actor}`]);
  const wanted = revision === null ? options : options.filter(([value]) => value === String(revision));
  if (wanted.length === 0) {
    nothingToUndo(model);
    return;
  }
  const choice = { label: "Document of", options: wanted, selected: wanted[0][0] };
  const explanation = "Put an earlier document in force again. It says who is stable, whatever was promoted since, and a rollout that it describes starts anew.";
  const done = await confirmed(`Undo ${model}?`, explanation, "Go back", (reason, to) =>
    call("POST", rolloutPath(model, `/undo?to=${to}`), { body: { reason }, revision: view.revision }), { choice });
  if (done) {
    say("Undo: done");
    changed(done);
  }
}

function nothingToUndo(model) {
  say(`${model} never had another document.`);
  const note = document.querySelector(".actions + .note") ?? h("p", { class: "note" });
  note.textContent = "There is no other document to go back to.";
  document.querySelector(".actions")?.after(note);
}
