// The document: elements are made with text, never with markup, so that a payload stays what it is.

export const byId = (id) => document.getElementById(id);

/** An element with properties (`class`, `data-…`, `aria-…`, handlers `onclick`) and children (nodes, text). */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Show these children, and keep the focus on the one that has the same data-key. */
export function show(parent, ...children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...children);
  if (focused !== undefined) parent.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** Change text only where it differs: what is announced or selected is then left alone. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A bar of `share` (0 to 1, more is cut), for what is told in figures beside it. */
export function bar(share, kind) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `bar ${kind}`);
  svg.setAttribute("aria-hidden", "true");
  const filled = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  filled.setAttribute("height", "100%");
  filled.setAttribute("width", `${(Math.min(Math.max(share, 0), 1) * 100).toFixed(1)}%`);
  svg.append(filled);
  return svg;
}

/** Call `work` once the calls have paused for `milliseconds`. */
export function debounced(work, milliseconds) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}
