// The machines, the processes on them, and the models in the repository.

import { call } from "./api.js";
import { h, keyed, rebuilt, text } from "./dom.js";
import { bytes, cpus, percent } from "./format.js";

export function nodes() {
  const machines = h("div", { class: "machines" });
  const reports = h("tbody");
  const models = h("tbody");
  const table = (label, columns, body) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    h("table", {}, h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col" }, column)))), body));
  const node = h("div", {},
    h("h1", { tabindex: -1 }, "Nodes and models"),
    h("section", { "aria-labelledby": "load-title" }, h("h2", { id: "load-title" }, "Load"), machines),
    h("section", { "aria-labelledby": "processes-title" }, h("h2", { id: "processes-title" }, "Processes that serve"),
      table("Processes", ["Process", "Node", "Revision", "Ready", "Problems", "Heard"], reports)),
    h("section", { "aria-labelledby": "models-title" }, h("h2", { id: "models-title" }, "Models"),
      table("Models", ["Model", "Version", "Used by"], models)));

  const hear = (kind, data) => {
    if (kind === "load") {
      const said = new Map(data.processes.filter((row) => row.kind === "node").map((row) => [row.node, troubles(row)]));
      keyed(machines, data.nodes.map((row) => ({ ...row, troubles: said.get(row.node) ?? [] })), (row) => row.node, machine);
      const serving = data.processes.filter((row) => row.kind !== "node");
      keyed(reports, serving, (row) => row.instance, report);
    } else if (kind !== "needs") {
      list();
    }
  };
  async function list() {
    const found = await call("GET", "/v1/models").catch(() => []);
    rebuilt(models, found, () => found.map((row) => h("tr", {}, h("td", {}, row.name), h("td", {}, row.version),
      h("td", {}, row.rollouts.map((name, index) => [index ? ", " : "", h("a", { href: `#/rollouts/${encodeURIComponent(name)}` }, name)]).flat()))));
  }
  return { title: "Nodes and models", nav: "nodes", topics: ["needs", "load"], node, hear, opened: list };
}

/** Why a process takes no snapshot, and which targets it cannot have. */
const troubles = (row) => [...(row.refused ? [row.refused] : []), ...Object.entries(row.problems).map(([key, why]) => `${key}: ${why}`)];

function machine(first) {
  const busy = h("dd");
  const memory = h("dd");
  const figures = h("dl", { class: "figures" }, h("div", {}, h("dt", {}, "CPU busy"), busy), h("div", {}, h("dt", {}, "memory used"), memory));
  const body = h("tbody");
  const records = h("ul", { class: "records" });
  const node = h("article", { class: "machine" }, h("h3", {}, first.node), figures, records,
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Processes of ${first.node}` },
      h("table", {}, h("thead", {}, h("tr", {}, ["Kind", "Process", "CPU", "Memory"].map((name, index) => h("th", { scope: "col", class: index > 1 ? "number" : null }, name)))), body)));
  const update = (row) => {
    figures.hidden = row.machine === null;
    if (row.machine !== null) {
      const used = row.machine.memory_bytes - row.machine.available_bytes;
      text(busy, row.machine.busy === null ? "\u2013" : `${percent(100 * row.machine.busy, 0)} of ${row.machine.cpus} CPUs`);
      text(memory, `${bytes(used)} of ${bytes(row.machine.memory_bytes)}`);
    }
    const lines = [...(row.records ?? []).map(recorded), ...row.troubles];
    records.hidden = lines.length === 0;
    rebuilt(records, [lines], () => lines.map((line) => h("li", {}, line)));
    keyed(body, row.processes.toSorted((a, b) => (a.kind + a.name < b.kind + b.name ? -1 : 1)), (one) => one.pid, process);
  };
  return { node, update };
}

function recorded(row) {
  const { sampled_out: out, written, pending, ...dropped } = row.outcomes;
  const lost = Object.entries(dropped).filter(([, count]) => count > 0).map(([why, count]) => `${count.toLocaleString("en")} ${why.replace("_", " ")}`);
  const of = row.kind === "comparison" ? "comparisons" : "answers";
  return `Prediction log of ${row.model}: ${written.toLocaleString("en")} of ${row.requests.toLocaleString("en")} ${of} written, ` +
    `${out.toLocaleString("en")} sampled out, ${pending.toLocaleString("en")} pending, ${lost.length ? `dropped: ${lost.join(", ")}` : "none dropped"}`;
}

function process(first) {
  const cpu = h("td", { class: "number" });
  const memory = h("td", { class: "number" });
  const node = h("tr", { "data-kind": first.kind }, h("td", {}, first.kind), h("td", {}, `${first.name} (${first.pid})`), cpu, memory);
  const update = (row) => {
    text(cpu, cpus(row.cpu));
    text(memory, bytes(row.memory_bytes));
  };
  return { node, update };
}

function report(first) {
  const cells = Array.from({ length: 4 }, () => h("td"));
  const label = first.candidate ? `${first.kind} of ${first.candidate}` : first.kind;
  const node = h("tr", {}, h("td", { title: first.instance }, label), h("td", {}, first.node), ...cells);
  const update = (row) => {
    text(cells[0], row.revision);
    text(cells[1], row.ready.join(", ") || "nothing");
    text(cells[2], troubles(row).join("; "));
    text(cells[3], row.draining ? "draining" : row.heard_seconds_ago < 3 ? "now" : `${row.heard_seconds_ago.toFixed(0)} s ago`);
  };
  return { node, update };
}
