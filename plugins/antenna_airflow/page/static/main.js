// The page: what is shown is asked for again by itself, while somebody looks and while Live is on.

import { Problem } from "./api.js";
import { byId, element, say, show } from "./dom.js";
import { local, utcSecond } from "./format.js";
import { refreshHealth, showUnknown } from "./health.js";
import { listenToStrip, refreshHours } from "./hours.js";
import { dagAddress, link } from "./links.js";
import { onQuotasChange, refreshQuotas } from "./quotas.js";
import { refreshRejected, showReplay } from "./rejected.js";
import { onUsageChange, refreshUsage, restoreUsage } from "./usage.js";

const PARTS = {
  health: { refresh: refreshHealth, every: 5000 },
  usage: { refresh: refreshUsage, every: 10000 },
  quotas: { refresh: refreshQuotas, every: 15000 },
  hours: { refresh: refreshHours, every: 15000 },
  rejected: { refresh: refreshRejected, every: 30000 },
};
// Where each DAG's tab begins.
const PART_OF_DAG = { antenna_batch: "hours", late_hours: "hours", replay_rejected: "rejected", simulate_devices: "usage" };
// Not a fault, but a step that is still to be taken.
const TO_SET_UP = ["not_provisioned", "no_connection"];
const TICK_MS = 1000;
let live = true;
let answered = null;

/** Ask for a part; a change by the reader while it is under way asks once more. */
async function refresh(name) {
  const part = PARTS[name];
  if (part.busy) {
    part.again = true;
    return;
  }
  part.busy = true;
  part.due = Date.now() + part.every;
  try {
    await part.refresh();
    part.problem = null;
    answered = new Date();
  } catch (error) {
    part.problem = error instanceof Problem
      ? error
      : new Problem({ kind: "page", title: "The page itself has an error", detail: String(error) });
    if (part.problem.kind === "page") console.error(error);
  }
  part.busy = false;
  byId(name).setAttribute("aria-busy", "false");
  showProblem();
  if (part.again) {
    part.again = false;
    await refresh(name);
  }
}

function showProblem() {
  const problem = Object.values(PARTS).map((part) => part.problem).find(Boolean) ?? null;
  const box = byId("problem");
  document.body.classList.toggle("stale", problem !== null);
  document.body.classList.toggle("empty-page", problem !== null && answered === null);
  if (problem !== null) showUnknown();
  const text = problem ? [problem.title, problem.detail, problem.advice].join() : "";
  if (box.dataset.text === text) return;
  box.dataset.text = text;
  box.hidden = problem === null;
  box.className = TO_SET_UP.includes(problem?.kind) ? "warn" : "bad";
  if (problem === null) return;
  show(
    box,
    element("h2", {}, problem.title),
    problem.detail ? element("p", {}, problem.detail) : "",
    problem.advice ? element("p", {}, element("strong", {}, "Next: "), problem.advice) : "",
    problem.dagId ? element("p", {}, link(`Open the DAG ${problem.dagId}`, dagAddress(problem.dagId), { class: "button" })) : "",
  );
}

function tick() {
  const stale = document.body.classList.contains("stale");
  const time = answered ? `${utcSecond(answered)} UTC${local(answered) ? ` (${local(answered)})` : ""}` : "";
  say(byId("clock"), answered === null ? "" : stale ? `Figures of ${time}` : `As of ${time}`);
  if (!live || document.hidden) return;
  for (const [name, part] of Object.entries(PARTS)) if (Date.now() >= (part.due ?? 0)) refresh(name);
}

function start() {
  restoreUsage();
  showReplay();
  listenToStrip();
  onUsageChange(() => refresh("usage"));
  onQuotasChange(() => refresh("quotas"));
  byId("health-minutes").addEventListener("change", () => refresh("health"));
  byId("rejected-hours").addEventListener("change", () => refresh("rejected"));
  byId("live").addEventListener("click", ({ currentTarget }) => {
    live = !live;
    currentTarget.setAttribute("aria-pressed", String(live));
    say(currentTarget, live ? "Live" : "Paused");
    if (live) for (const part of Object.values(PARTS)) part.due = 0;
  });
  for (const name of Object.keys(PARTS)) byId(name).setAttribute("aria-busy", "true");
  const first = Object.keys(PARTS).map(refresh);
  setInterval(tick, TICK_MS);
  const part = PART_OF_DAG[new URLSearchParams(location.search).get("dag")];
  // Only then is everything above it as high as it will be.
  if (part) Promise.all(first).then(() => byId(part).scrollIntoView());
}

start();
