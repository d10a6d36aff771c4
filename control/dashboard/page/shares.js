// Who answers which share of the requests: as it is to be, and as it was in the last ten seconds.

import { h, rebuilt, text } from "./dom.js";
import { percent } from "./format.js";

export function shareBar() {
  const stable = h("span", { class: "part stable" });
  const canary = h("span", { class: "part canary" });
  const bar = h("div", { class: "bar", "aria-hidden": "true" }, stable, canary);
  const legend = h("p", { class: "legend" });
  const node = h("div", { class: "shares" }, bar, legend);

  const update = (serving, shadows, targets) => {
    const weight = serving.canary ? serving.weight : 0;
    stable.style.width = `${100 - weight}%`;
    canary.style.width = `${weight}%`;
    canary.hidden = weight === 0;
    const entries = [{ role: "stable", key: serving.stable, share: 100 - weight }];
    if (serving.canary) entries.push({ role: "canary", key: serving.canary, share: weight });
    rebuilt(legend, [entries, shadows], () => [
      ...entries.map((entry) => h("span", { class: "entry" },
        h("i", { class: `swatch ${entry.role}` }), `${entry.key} `, h("b", {}, percent(entry.share)),
        h("span", { class: "served", "data-target": entry.key, "data-role": entry.role }))),
      ...shadows.map((shadow) => h("span", { class: "entry" },
        h("i", { class: "swatch shadow" }), `${shadow} shadow`)),
    ]);
    for (const slot of legend.querySelectorAll(".served")) {
      const { target, role } = slot.dataset;
      const itself = serving.canary === serving.stable; // an A/A test: told apart by the role only
      const found = serving.canary
        ? targets.filter((one) => one.target === target && (!itself || one.role === role)) : [];
      const known = found.filter((target) => target.share !== null);
      const share = known.reduce((total, target) => total + target.share, 0);
      text(slot, known.length ? ` (served ${percent(share)})` : "");
    }
  };
  return { node, update };
}
