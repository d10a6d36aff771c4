// Who changed a rollout, when and why; each row leads back to its document.

import { undoTo } from "./actions.js";
import { call, rolloutPath, save } from "./api.js";
import { h, rebuilt, say } from "./dom.js";
import { moment } from "./format.js";

export function history(model, viewNow, changed) {
  const body = h("tbody");
  const more = h("button", { type: "button", click: () => load(500) }, "Show more");
  const node = h("section", { "aria-labelledby": "history-title" },
    h("h2", { id: "history-title" }, "History"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "History" }, h("table", { class: "history" },
      h("thead", {}, h("tr", {}, ["Revision", "When", "Who", "Why", ""].map((name) =>
        h("th", { scope: "col" }, name || h("span", { class: "hidden" }, "Undo"))))), body)), more,
    h("p", {}, "For auditors, all of it: ", exported("page", "html", "a page to print"), " ",
      exported("json", "json", "JSON")));
  let limit = 10;

  function exported(form, ending, words) {
    const file = () => save(rolloutPath(model, `/export?as=${form}`), `${model}-audit.${ending}`);
    return h("button", { type: "button", class: "quiet", click: () => file().catch((error) => say(error.message)) }, words);
  }

  async function load(atMost = limit) {
    limit = atMost;
    const rows = await call("GET", rolloutPath(model, `/history?limit=${limit}`));
    more.hidden = rows.length < limit;
    const present = JSON.stringify(viewNow()?.document);
    rebuilt(body, [rows, present], () => rows.map((row) => line(row, present)));
  }

  function line(row, present) {
    const other = row.document !== null && JSON.stringify(row.document) !== present;
    const back = h("button", {
      type: "button", class: "quiet", "aria-label": `Go back to revision ${row.revision}`,
      click: () => undoTo(model, viewNow(), row.revision, changed),
    }, "Go back");
    return h("tr", {}, h("td", {}, row.revision), h("td", {}, moment(row.at)),
      h("td", {}, row.actor === row.kind ? row.actor : `${row.actor} (${row.kind})`),
      h("td", { class: "why" }, row.reason, origins(row.lineage)), h("td", {}, other ? back : ""));
  }
  return { node, load };
}

/** What was claimed of the models that a revision accepted, a line for each. */
function origins(lineage) {
  return Object.entries(lineage).map(([target, told]) => {
    const claims = Object.entries(told).map(([about, claim]) => `${about.replace("_", " ")} ${claim}`);
    return h("p", { class: "note" }, `${target}: ${claims.join("; ")}`);
  });
}
