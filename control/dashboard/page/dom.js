// Elements and text. Nothing here, or anywhere on the page, makes markup of text: all of it goes through
// createTextNode, so a name like <img onerror=...> is shown as it is written.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("p", {class: "note"}, "text", child, ...). Functions in the attributes are listeners. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Change text only when it differs, so that a screen reader and a selection are left alone. */
export function text(element, value) {
  const wanted = String(value);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Replace the children, but only when what they are made from has changed. */
export function rebuilt(element, made_from, make) {
  const key = JSON.stringify(made_from);
  if (element.builtFrom === key) return;
  element.builtFrom = key;
  element.replaceChildren(...[make()].flat());
}

/** Rows by key: makes those that are new, updates all, removes those that are gone, keeps their order. */
export function keyed(container, rows, key, make) {
  container.kept ??= new Map();
  const wanted = new Set(rows.map(key));
  for (const [name, row] of container.kept) {
    if (wanted.has(name)) continue;
    row.node.remove();
    container.kept.delete(name);
  }
  rows.forEach((data, index) => {
    const name = key(data);
    if (!container.kept.has(name)) container.kept.set(name, make(data));
    const row = container.kept.get(name);
    if (container.children[index] !== row.node) container.insertBefore(row.node, container.children[index] ?? null);
    row.update(data);
  });
}

/** Say something to whoever listens to the page instead of looking at it. */
export function say(sentence) {
  text(document.getElementById("said"), sentence);
}
