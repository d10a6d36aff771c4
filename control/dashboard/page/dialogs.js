// Questions that stand in the way until they are answered: the browser's own <dialog> keeps the focus in it,
// closes on Escape, and gives the focus back.

import { h } from "./dom.js";

/** Show a dialog; resolves with what `answer` was called with, null when it was cancelled. */
function ask(title, parts, confirm, onConfirm, { danger = false, mayCancel = true } = {}) {
  return new Promise((resolve) => {
    let result = null;
    const problem = h("p", { class: "problem", role: "alert" });
    const yes = h("button", { type: "submit", class: danger ? "primary danger" : "primary" }, confirm);
    const cancel = h("button", { type: "button", click: () => dialog.close() }, "Cancel");
    const submit = async (event) => {
      event.preventDefault();
      yes.disabled = true;
      problem.textContent = "";
      try {
        result = await onConfirm();
        dialog.close();
      } catch (error) {
        problem.textContent = error.message;
      } finally {
        yes.disabled = false;
      }
    };
    const form = h("form", { submit }, h("h2", { id: "dialog-title" }, title), ...parts, problem,
      h("div", { class: "buttons" }, mayCancel ? cancel : null, yes));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    dialog.addEventListener("cancel", (event) => {
      if (!mayCancel) event.preventDefault();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    dialog.showModal();
    form.querySelector("input, textarea, select")?.focus();
  });
}

/** Confirm a change and ask why; `act(reason, choice)` does it, and what it throws is shown. */
export function confirmed(title, explanation, confirm, act, { danger = false, choice = null } = {}) {
  const reason = h("textarea", { id: "reason", rows: 2, maxlength: 1000, required: true });
  const select = choice && h("select", { id: "choice" },
    choice.options.map(([value, label]) => h("option", { value, selected: value === choice.selected }, label)));
  const parts = [
    h("p", {}, explanation),
    select && [h("label", { for: "choice" }, choice.label), select],
    h("label", { for: "reason" }, "Why (kept in the history)"),
    reason,
  ].flat();
  return ask(title, parts, confirm, () => act(reason.value.trim(), select?.value), { danger });
}

/** Ask for the token of the admin door; there is no way around it. */
export function askForToken() {
  const input = h("input", { id: "token", type: "password", autocomplete: "off", required: true });
  const parts = [
    h("p", {}, "This admin door needs a token. It stays in this browser tab and is forgotten with it."),
    h("label", { for: "token" }, "Token"),
    input,
  ];
  return ask("Token needed", parts, "Continue", async () => {
    const token = input.value.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) throw new Error("A token has no spaces and only ASCII characters.");
    const answer = await fetch("/v1/nodes", { headers: { authorization: `Bearer ${token}` } });
    if (answer.status === 401) throw new Error("This token is not accepted.");
    return token;
  }, { mayCancel: false });
}
