// Ways to Airflow's own pages, whose frame this page stands in.

import { element } from "./dom.js";

const base = new URL("..", location.href);
export const addressOf = (...parts) => new URL(parts.map(encodeURIComponent).join("/"), base).href;
export const dagAddress = (dagId) => addressOf("dags", dagId);
export const runAddress = (dagId, runId) => addressOf("dags", dagId, "runs", runId);
export const taskAddress = (dagId, runId, taskId) => addressOf("dags", dagId, "runs", runId, "tasks", taskId);

/** A link that leads the whole window there; the frame itself may not, so its surrounding document does. */
export function link(text, address, properties = {}) {
  return element("a", { href: address, ...properties, onclick: (event) => follow(event, address) }, text);
}

/** The same for another server, in a new tab. */
export const outerLink = (text, address) =>
  element("a", { href: address, rel: "noreferrer", onclick: (event) => follow(event, address, "_blank") }, text);

function follow(event, address, target) {
  if (window.parent === window && !target) return;
  event.preventDefault();
  const from = window.parent.document;
  const anchor = from.createElement("a");
  anchor.href = address;
  if (target) Object.assign(anchor, { target, rel: "noreferrer noopener" });
  from.body.append(anchor);
  anchor.click();
  anchor.remove();
}
