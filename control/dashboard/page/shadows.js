// What the comparisons with each shadow say. It answers nobody, so nothing follows from it.

import { h, rebuilt } from "./dom.js";
import { sentence } from "./format.js";

const WORDS = { harmful: "Differs", proven: "Agrees", undecided: "Undecided" };

/** A line for each shadow. */
export function shadowLines() {
  const node = h("ul", { class: "shadow-lines", "aria-label": "Shadows" });
  const update = (shadows) => {
    node.hidden = shadows.length === 0;
    rebuilt(node, shadows, () => shadows.map((shadow) => h("li", { "data-shadow": shadow.target },
      h("span", { class: `chip ${shadow.verdict ?? "none"}` }, WORDS[shadow.verdict] ?? "Not judged"),
      ` shadow ${shadow.target}: `, h("span", { class: "why" }, sentence(shadow.sentence)))));
  };
  return { node, update };
}

/** The same as a section of a rollout's page. */
export function shadowSection() {
  const lines = shadowLines();
  const node = h("section", { "aria-labelledby": "shadows-title" }, h("h2", { id: "shadows-title" }, "Shadows"), lines.node);
  const update = (shadows) => {
    node.hidden = shadows.length === 0;
    lines.update(shadows);
  };
  return { node, update };
}
