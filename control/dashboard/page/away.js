// Control does not answer: what is shown is old, looks old, and nothing can be asked of it.

import { text } from "./dom.js";
import { moment } from "./format.js";

const ACTS = "main button[data-action], main button.primary, main .history button";
const held = new Map(); // what was disabled here -> its title before
let since = null;

/** Tell the page whether control answers; `heard` is when it last did (seconds since 1970). */
export function tell(answers, heard) {
  const banner = document.getElementById("away");
  if (answers) {
    since = null;
    banner.hidden = true;
    document.body.classList.remove("stale");
    for (const [button, title] of held) {
      button.disabled = false;
      button.title = title;
    }
    held.clear();
    return;
  }
  since ??= heard;
  const words = since === null ? "Control does not answer." : `Control has not answered since ${moment(since)}. What is shown is as it was then.`;
  text(banner, `${words} Actions wait until it does.`);
  banner.hidden = false;
  document.body.classList.add("stale");
  for (const button of document.querySelectorAll(ACTS)) {
    if (button.disabled) continue;
    held.set(button, button.title);
    button.disabled = true;
    button.title = "Control does not answer";
  }
}
