// One rollout: what it serves, where it is, what the evidence says, and what can be done.

import { actions } from "./actions.js";
import { call, rolloutPath } from "./api.js";
import { approval } from "./approval.js";
import { candidates } from "./candidates.js";
import { charts } from "./charts.js";
import { h, rebuilt, text } from "./dom.js";
import { drift } from "./drift.js";
import { examples } from "./examples.js";
import { percent, phaseWord, sentence } from "./format.js";
import { guardList } from "./guards.js";
import { history } from "./history.js";
import { lineage } from "./lineage.js";
import { needChips, needList } from "./needs.js";
import { outcomes } from "./outcomes.js";
import { chip } from "./overview.js";
import { shadowSection } from "./shadows.js";
import { shareBar } from "./shares.js";
import { track } from "./track.js";

const CHANGES = new Set(["edited", "started", "step", "paused", "resumed", "promoting", "promoted", "rolled_back", "taken_off", "best_found", "ended", "cooled", "aa_started", "aa_ended", "approval_wanted", "approved", "placed"]);

export function rollout(model) {
  let view = null;
  const phase = h("span");
  const status = h("p", { class: "lead" }, "Loading");
  const following = h("p", { class: "sentence", hidden: true });
  const chips = needChips();
  const needs = needList();
  const shadows = shadowSection();
  const bar = shareBar();
  const steps = track();
  const guards = guardList();
  const told = outcomes();
  const drawn = charts(model);
  const differences = examples(model);
  const changed = (answer) => {
    take({ view: answer, judgement: null, point: null }, true);
    past.load();
  };
  const act = actions(model, changed);
  const wanted = approval(model, changed);
  const tested = candidates(model, changed);
  const past = history(model, () => view, changed);
  const origins = lineage(model);
  const moved = drift(model);
  const targets = h("ul", { class: "targets" });
  const body = h("div", { hidden: true }, wanted.node, bar.node, act.node, steps.node, guards.node, tested.node, told.node, shadows.node,
    h("section", { "aria-labelledby": "live-title" },
      h("div", { class: "titled" }, h("h2", { id: "live-title" }, "Live"), h("span", { class: "grow" }), drawn.spans),
      drawn.grid, drawn.guards),
    differences.node, moved.node, past.node,
    h("section", { "aria-labelledby": "targets-title" }, h("h2", { id: "targets-title" }, "Targets"), targets), origins.node);
  const node = h("div", {},
    h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/" }, "Rollouts")),
    h("div", { class: "titled" }, h("h1", { tabindex: -1 }, model), phase, chips.node), needs.node, status, following, body);

  function take({ view: now, judgement, point }, alone = false) {
    view = now;
    body.hidden = false;
    chip(phase, now.status.phase, phaseWord(now.status, now.needs, now.targets.every(isReady)));
    chips.update(now.needs);
    needs.update(now.needs);
    wanted.update(now);
    shadows.update(now.shadows);
    text(status, sentence(now.status.sentence));
    following.hidden = now.follow === null;
    if (now.follow !== null) text(following, followed(now.follow));
    bar.update(now.serving, (now.document.shadows ?? []).map((shadow) => shadow.model), point?.targets ?? [], now.candidates);
    steps.update(now);
    act.update(now);
    tested.update(now);
    drawn.know(now.candidates);
    told.update(now);
    origins.update(now.targets);
    moved.update(now.document);
    rebuilt(targets, [now.targets, now.nodes], () => now.targets.map(targetRow));
    if (alone) return;
    guards.update(judgement, now);
    drawn.hear(point);
    differences.outputs(point?.agreement ?? []);
  }

  const hear = (kind, data) => {
    if (kind === "rollout" && data.view.model === model) take(data);
    if (CHANGES.has(kind) && data.model === model) past.load();
    if (kind === "deleted" && data.model === model) {
      body.hidden = true;
      needs.update([]);
      chips.update([]);
      text(status, `${model} is served no longer.`);
    }
  };
  const failed = (error) => {
    if (view === null) text(status, sentence(error.message));
  };
  const opened = async () => {
    try {
      take({ view: await call("GET", rolloutPath(model)), judgement: null, point: null }, true);
      await Promise.all([drawn.catchUp(), past.load(), differences.load()]);
    } catch (error) {
      failed(error);
    }
  };
  return { title: model, nav: "rollouts", topics: ["needs", `rollout:${model}`], node, hear, opened, stop: drawn.stop };
}

/** Which alias a rollout follows, and how that goes. */
function followed(follow) {
  const at = follow.at === null ? "no version yet" : `version ${follow.at}`;
  const seen = follow.seen === null || follow.seen === follow.at ? "" : `; the alias is at ${follow.seen}`;
  return sentence(`follows ${follow.alias} of ${follow.model}: ${at}${seen}${follow.problem && `; ${follow.problem}`}`);
}

/** In every process that is to have it, and in one at least. */
function isReady(target) {
  const states = Object.values(target.ready);
  return states.length > 0 && states.every(Boolean);
}

function targetRow(target) {
  const states = Object.values(target.ready);
  const ready = states.filter(Boolean).length;
  const where = states.length === 0 ? "in no process yet" : `ready in ${ready} of ${states.length}`;
  const problems = Object.entries(target.problems).map(([place, problem]) => h("p", { class: "problem" }, `${place}: ${problem}`));
  return h("li", {}, h("b", {}, target.target), ` ${target.role}, ${where}${onNodes(target)}`, ...problems);
}

/** The nodes on which a candidate with a placement stands, and its share of the draws there. */
function onNodes({ placed, role }) {
  if (placed === null) return "";
  if (placed.nodes.length === 0) return "; its nodes are not chosen yet";
  const drawn = role === "canary" ? `, drawn at ${percent(placed.drawn)} there` : "";
  return `; on ${placed.nodes.length} of ${placed.of} nodes${drawn}: ${placed.nodes.join(", ")}`;
}
