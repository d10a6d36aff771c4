// Who answers which share of the requests: as it is to be, and as it was in the last ten seconds.

import { h, rebuilt, text } from "./dom.js";
import { percent } from "./format.js";

/** The colour of a candidate of an A/B/n test, everywhere the same. */
export const hue = (number) => `hue${1 + ((number - 1) % 5)}`;

export function shareBar() {
  const stable = h("span", { class: "part stable" });
  const canary = h("span", { class: "part canary" });
  const several = h("span", { class: "rest" }); // the candidates of an A/B/n test
  const bar = h("div", { class: "bar", "aria-hidden": "true" }, stable, canary, several);
  const legend = h("p", { class: "legend" });
  const node = h("div", { class: "shares" }, bar, legend);

  const update = (serving, shadows, targets, candidates) => {
    const weight = serving.canary ? serving.weight : 0;
    const tested = candidates.filter((one) => one.on)
      .map((one) => ({ role: "canary", look: `canary ${hue(one.number)}`, key: one.target, share: one.weight }));
    const left = tested.reduce((rest, one) => rest - one.share, 100 - weight);
    stable.style.width = `${left}%`;
    canary.style.width = `${weight}%`;
    canary.hidden = weight === 0;
    rebuilt(several, tested, () => tested.map((one) => {
      const part = h("span", { class: `part ${one.look}` });
      part.style.width = `${one.share}%`;
      return part;
    }));
    const entries = [{ role: "stable", look: "stable", key: serving.stable, share: left }];
    if (serving.canary) entries.push({ role: "canary", look: "canary", key: serving.canary, share: weight });
    entries.push(...tested);
    rebuilt(legend, [entries, shadows], () => [
      ...entries.map((entry) => h("span", { class: "entry" },
        h("i", { class: `swatch ${entry.look}` }), `${entry.key} `, h("b", {}, percent(entry.share)),
        h("span", { class: "served", "data-target": entry.key, "data-role": entry.role }))),
      ...shadows.map((shadow) => h("span", { class: "entry" },
        h("i", { class: "swatch shadow" }), `${shadow} shadow`)),
    ]);
    for (const slot of legend.querySelectorAll(".served")) {
      const { target, role } = slot.dataset;
      const itself = serving.canary === serving.stable; // an A/A test: told apart by the role only
      const found = serving.canary || tested.length
        ? targets.filter((one) => one.target === target && (!itself || one.role === role)) : [];
      const known = found.filter((target) => target.share !== null);
      const share = known.reduce((total, target) => total + target.share, 0);
      text(slot, known.length ? ` (served ${percent(share)})` : "");
    }
  };
  return { node, update };
}
