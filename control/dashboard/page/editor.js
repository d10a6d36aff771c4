// The document of a rollout as text: checked while one types, tried dry, shown as a difference, then applied.

import { call, rolloutPath } from "./api.js";
import { confirmed } from "./dialogs.js";
import { difference } from "./diff.js";
import { h, text } from "./dom.js";
import { percent, sentence } from "./format.js";
import { yaml } from "./yaml.js";

const PAUSE_MS = 250;
const CONSEQUENCES = { evidence: "; its evidence begins again.", rollout: "; the rollout begins again." };
const FIRST = "stable: NAME/1\n";

export function editor(model) {
  let based = 0; // the revision that the text was made from
  let before = "";
  let proposal = null;
  let timer = null;
  let trying = null;
  let applying = false;
  const name = h("input", { id: "name", autocomplete: "off", spellcheck: "false", input: () => soon() });
  const area = h("textarea", {
    id: "document", class: "code", spellcheck: "false", rows: 24, "aria-describedby": "checked", input: () => soon(),
  });
  const checked = h("p", { id: "checked", class: "checked", role: "status" }, "Loading");
  const effects = h("ul", { class: "effects" });
  const changes = h("pre", { class: "diff", tabindex: 0, role: "region", "aria-label": "What changes in the document" });
  const apply = h("button", { type: "button", class: "primary", disabled: true, click: () => ask() }, "Apply");
  const reload = h("button", { type: "button", hidden: true, click: () => load() }, "Load the newest");
  const back = model === null ? "#/" : `#/rollouts/${encodeURIComponent(model)}`;
  const node = h("div", {},
    h("nav", { class: "crumbs", "aria-label": "Where this is" }, h("a", { href: "#/" }, "Rollouts"),
      model === null ? null : [" / ", h("a", { href: back }, model)]),
    h("h1", { tabindex: -1 }, model === null ? "New rollout" : `Edit ${model}`),
    model === null ? h("p", {}, h("label", { for: "name" }, "Public model name "), name) : null,
    h("div", { class: "editor" },
      h("div", {}, h("label", { for: "document" }, "Document (YAML or JSON)"), area),
      h("section", { "aria-labelledby": "does-title" }, h("h2", { id: "does-title" }, "What it would do"),
        checked, effects, changes)),
    h("div", { class: "buttons" }, reload, h("a", { class: "button", href: back }, "Leave"), apply));

  const target = () => model ?? name.value.trim();

  async function load() {
    try {
      if (model !== null) {
        const view = await call("GET", rolloutPath(model));
        based = view.revision;
        before = yaml(view.document);
      }
    } catch (error) {
      text(checked, error.message);
      return;
    }
    area.value = before || FIRST;
    reload.hidden = true;
    tryIt();
  }

  function soon() {
    clearTimeout(timer);
    apply.disabled = true;
    timer = setTimeout(tryIt, PAUSE_MS);
  }

  async function tryIt() {
    trying?.abort();
    trying = new AbortController();
    proposal = null;
    apply.disabled = true;
    if (!target()) return say("bad", "The rollout needs a name.");
    try {
      const path = rolloutPath(target(), "?dryRun=true");
      proposal = await call("PUT", path, { body: area.value, revision: based, signal: trying.signal });
    } catch (error) {
      if (error.name !== "AbortError") refused(error);
      return undefined;
    }
    apply.disabled = !proposal.changed;
    area.removeAttribute("aria-invalid");
    effects.replaceChildren(...effectsOf(proposal).map((words) => h("li", {}, words)),
      ...proposal.warnings.map((words) => h("li", { class: "warning" }, sentence(words))));
    show(before, yaml(proposal.document));
    return say("good", `Valid${CONSEQUENCES[proposal.begins_again] ?? (proposal.changed ? "." : "; nothing changes.")}`);
  }

  function refused(error) {
    effects.replaceChildren();
    changes.replaceChildren();
    reload.hidden = error.status !== 412;
    area.setAttribute("aria-invalid", "true");
    const place = error.line === null ? "" : `Line ${error.line}, column ${error.column}: `;
    say("bad", `${place}${error.message}`);
  }

  function say(look, words) {
    checked.className = `checked ${look}`;
    text(checked, words);
  }

  function show(old, now) {
    const rows = difference(old, now).filter(([, line], index, all) => line !== "" || index < all.length - 1);
    changes.replaceChildren(...rows.map(([kind, line]) =>
      h("span", { class: kind }, `${{ same: " ", gone: "-", new: "+" }[kind]} ${line}\n`)));
  }

  async function ask() {
    const put = async (reason) => {
      const query = new URLSearchParams({ reason });
      applying = true; // so that the news of this very change does not look like somebody else's
      try {
        return await call("PUT", rolloutPath(target(), `?${query}`), { body: area.value, revision: based });
      } catch (error) {
        applying = false;
        tryIt(); // what was not heard meanwhile
        throw error;
      }
    };
    const done = await confirmed(`Apply to ${target()}?`, sentence(proposal.status), "Apply", put);
    if (done) location.hash = `#/rollouts/${encodeURIComponent(target())}`;
  }

  const hear = (kind, data) => {
    if (kind !== "needs" && !applying && data.model === target() && data.revision !== undefined && data.revision !== based && kind !== "overview") tryIt();
  };
  load();
  return {
    title: model === null ? "New rollout" : `Edit ${model}`, nav: "rollouts", topics: ["needs"], node, hear,
    stop: () => {
      clearTimeout(timer);
      trying?.abort();
    },
  };
}

function effectsOf(proposal) {
  const shares = (found) => Object.entries(found.shares).map(([key, share]) => `${key} ${percent(share)}`).join(", ");
  const found = [sentence(proposal.status)];
  if (proposal.before !== null && shares(proposal.before) !== shares(proposal.after)) {
    found.push(`Shares: ${shares(proposal.before)} become ${shares(proposal.after)}`);
  }
  if (proposal.before === null) found.push(`Shares: ${shares(proposal.after)}`);
  if (proposal.load.length) found.push(`To load: ${proposal.load.join(", ")}`);
  return found;
}
