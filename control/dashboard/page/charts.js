// The charts of one rollout, from the points that control keeps of it.

import { call, rolloutPath } from "./api.js";
import { below100, chart, evidence, fromZero, halves, powers, shares } from "./chart.js";
import { h, keyed } from "./dom.js";
import { eValue, percent, rate, seconds } from "./format.js";
import { hue } from "./shares.js";

const KEPT = 900;
const SPANS = [[60, "1 min"], [300, "5 min"], [900, "15 min"]];

const served = (target, key) => (point) => {
  const found = point.targets.find((row) => row.target === target.target && row.role === target.role);
  return found ? found[key] : null;
};

export function charts(model) {
  const traffic = {
    share: chart({ title: "Share served", note: "over 10 s", format: percent, range: shares, ticks: halves }),
    rps: chart({ title: "Requests per second", format: rate, range: fromZero(1), ticks: halves }),
    failures: chart({ title: "Failures per second", note: "as each target gave them", format: rate, range: fromZero(1), ticks: halves }),
    latency: chart({ title: "Latency", note: "p50 and p99 over 10 s", format: seconds, range: fromZero(1e-4), ticks: halves }),
    agreement: chart({ title: "Agreement", note: "over 10 s", format: (value) => percent(value, 2), range: below100, ticks: halves }),
  };
  const grid = h("div", { class: "charts" }, Object.values(traffic).map((one) => one.node));
  const guards = h("div", { class: "charts" });
  const spans = h("div", { class: "spans", role: "group", "aria-label": "How far back the charts go" },
    SPANS.map(([length, words]) => h("button", {
      type: "button", "aria-pressed": String(length === 300), click: (event) => choose(length, event.target),
    }, words)));
  let hues = new Map(); // of the candidates of an A/B/n test
  let span = 300;
  let points = [];
  let newest = 0; // when the last point was taken
  let complete = 0; // nothing is missing before this

  function choose(length, button) {
    span = length;
    for (const other of spans.children) other.setAttribute("aria-pressed", other === button);
    draw();
  }

  /** What was missed: everything at first, and what came while the stream was broken. */
  async function catchUp() {
    const found = await call("GET", rolloutPath(model, `/series?since=${complete}`));
    if (found.length > 0) {
      // Live points may have come while it was on its way.
      const [first, last] = [found[0].at, found[found.length - 1].at];
      points = [...points.filter((point) => point.at < first), ...found, ...points.filter((point) => point.at > last)];
      points = points.slice(-KEPT);
      complete = last;
      newest = points[points.length - 1].at;
    }
    draw();
  }

  function take(point) {
    if (point.at <= newest) return;
    newest = point.at;
    points.push(point);
    if (points.length > KEPT) points = points.slice(-KEPT);
  }

  function draw() {
    if (points.length === 0) return;
    const { targets, outputs } = seen(points.filter((point) => point.at > newest - span), hues);
    const lines = (key) => targets.map((target) =>
      ({ name: target.name, look: target.look, value: served(target, key) }));
    const asked = { name: "canary's weight", look: "weight", value: (point) => point.weight };
    const canaries = targets.filter((target) => target.role === "canary").length;
    traffic.share.update(points, span, canaries === 1 ? [...lines("share"), asked] : lines("share"));
    traffic.rps.update(points, span, lines("requests_per_second"));
    traffic.failures.update(points, span, lines("failures_per_second"));
    traffic.latency.update(points, span, targets.flatMap((target) => [
      { name: `${target.name} p50`, look: `${target.look} thin`, value: served(target, "p50_seconds") },
      { name: `${target.name} p99`, look: target.look, value: served(target, "p99_seconds") },
    ]));
    traffic.agreement.node.hidden = outputs.length === 0;
    traffic.agreement.update(points, span, outputs.map((output, index) => output.ruled
      ? { name: `${output.target} ${output.output}`, look: `hue${index % 6}`, value: agreed(output) }
      : { name: `${output.target} ${output.output} (not ruled)`, look: "unruled", value: () => null }));
    const last = points[points.length - 1];
    keyed(guards, last.guards.filter((guard) => guard.log_line !== null), (guard) => guard.guard, guardChart);
  }

  function guardChart(first) {
    const one = chart({ title: `Evidence: ${first.guard}`, note: "e-values, log scale", format: eValue, range: evidence, ticks: powers });
    const value = (key) => (point) => point.guards.find((guard) => guard.guard === first.guard)?.[key] ?? null;
    const lines = [
      { name: "for harm", look: "harm", value: value("log_harm") },
      { name: "for no worse", look: "safe", value: value("log_safe") },
    ];
    const update = (guard) => one.update(points, span, lines, [
      { name: "harm acts", value: guard.log_line }, { name: "proven", value: guard.log_proof_line },
    ]);
    return { node: one.node, update };
  }

  return {
    spans, grid, guards, catchUp,
    know: (candidates) => { hues = new Map(candidates.map((one) => [one.target, hue(one.number)])); },
    hear: (point) => {
      if (point === null) return;
      take(point);
      draw();
    },
    stop: () => Object.values(traffic).forEach((one) => one.stop()),
  };
}

const agreed = (output) => (point) => {
  const found = point.agreement.find((row) => row.target === output.target && row.output === output.output);
  return found && found.agreement !== null ? 100 * found.agreement : null;
};

/** Every target and output that a stretch of points speaks of, in a steady order. */
function seen(points, hues) {
  const targets = new Map();
  const outputs = new Map();
  for (const point of points) {
    for (const row of point.targets) targets.set(`${row.role} ${row.target}`, row);
    for (const row of point.agreement) outputs.set(`${row.target} ${row.output}`, row);
  }
  const roles = ["stable", "canary"];
  const rows = [...targets.values()].sort((a, b) =>
    roles.indexOf(a.role) - roles.indexOf(b.role) || (a.target < b.target ? -1 : 1));
  const twice = (row) => rows.some((other) => other !== row && other.target === row.target);
  return {
    targets: rows.map((row) => ({
      target: row.target, role: row.role, look: hues.get(row.target) ?? row.role, name: twice(row) ? `${row.target} as ${row.role}` : row.target,
    })),
    outputs: [...outputs.keys()].sort().map((key) => outputs.get(key)),
  };
}
