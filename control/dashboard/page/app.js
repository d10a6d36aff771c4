// Which view is shown, and the one stream of events that keeps it live.

import { follow } from "./api.js";
import { tell } from "./away.js";
import { h, say, text } from "./dom.js";
import { editor } from "./editor.js";
import { needList } from "./needs.js";
import { nodes } from "./nodes.js";
import { overview } from "./overview.js";
import { rollout } from "./rollout.js";

const main = document.getElementById("main");
const live = document.getElementById("live");
const theme = document.getElementById("theme");
const general = needList("Control needs a person"); // what is of no rollout: above every view
let heard = null; // when control last said something, in seconds since 1970
let shown = null; // {view, stop}: what is on the page now

/** The view that the address asks for: {title, nav, topics, node, hear(kind, data), opened(), stop()}. */
function wanted() {
  const path = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  if (path[0] === "nodes") return nodes();
  if (path[0] === "new") return editor(null);
  if (path[0] === "rollouts" && path[1]) return path[2] === "edit" ? editor(path[1]) : rollout(path[1]);
  return overview();
}

function show() {
  const first = shown === null;
  shown?.stop();
  let view;
  try {
    view = wanted();
  } catch {
    view = { title: "Not found", topics: [], node: h("h1", { tabindex: -1 }, "There is no such page") };
  }
  document.title = `${view.title} \u00b7 Understudy`;
  main.replaceChildren(view.node);
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (link.dataset.nav === view.nav) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  shown = { view, stop: listen(view) };
  window.scrollTo(0, 0);
  if (!first) main.querySelector("h1")?.focus();
}

/** Keep a view live while the tab is looked at; a hidden one costs nothing. */
function listen(view) {
  let stream = null;
  const hear = (kind, data, id) => {
    heard = Date.now() / 1000;
    if (kind === "needs") general.update(data.filter((need) => need.model === null));
    if (id !== undefined) say(`${data.model}: ${data.status}`);
    try {
      view.hear?.(kind, data);
    } catch (error) {
      reportError(error); // a fault of the page is no reason to open the stream again
    }
  };
  const state = (open) => {
    text(live, open ? "Live" : "Control does not answer");
    live.classList.toggle("off", !open);
    if (open) heard = Date.now() / 1000;
    tell(open, heard);
    if (open) view.opened?.();
  };
  const adjust = () => {
    stream?.abort();
    stream = null;
    if (document.hidden) return;
    stream = new AbortController();
    follow(view.topics, hear, state, stream.signal);
  };
  document.addEventListener("visibilitychange", adjust);
  adjust();
  return () => {
    document.removeEventListener("visibilitychange", adjust);
    stream?.abort();
    view.stop?.();
  };
}

function nameTheme() {
  const dark = document.documentElement.dataset.theme === "dark";
  text(theme, dark ? "Light" : "Dark");
  theme.setAttribute("aria-label", dark ? "Use the light theme" : "Use the dark theme");
}

theme.addEventListener("click", () => {
  window.toggleTheme();
  nameTheme();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view
  main.focus();
});
window.addEventListener("hashchange", show);
main.before(general.node);
nameTheme();
show();
