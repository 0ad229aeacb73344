// Health: the verdict first, then what to do, then figures, then the past.

import { data, runs } from "./api.js";
import { lagAndRecords } from "./charts.js";
import { byId, element, say, show } from "./dom.js";
import { count, duration, percent, utcSecond } from "./format.js";
import { dagAddress, link, outerLink, taskAddress } from "./links.js";

const DAG = "antenna_streaming";
const TASK = "run_stream";
const LOOK = {
  running: ["good", "✓"],
  starting: ["warn", "…"],
  "catching up": ["warn", "▲"],
  stalled: ["bad", "✕"],
  stopped: ["bad", "■"],
};
let shown = "";

export async function refreshHealth() {
  const minutes = byId("health-minutes").value;
  const [health, newest] = await Promise.all([
    data("health", { minutes }),
    // Without it there is no link to the log, and nothing else is missing.
    runs(DAG, 1).catch(() => []),
  ]);
  showVerdict(health, newest[0]);
  showFigures(health);
  byId("health-chart").hidden = health.figures === null;
  if (health.figures === null) return;
  const dates = health.minutes.map(({ minute }) => new Date(minute));
  const lag = health.minutes.map((minute) => minute.lag);
  const largest = Math.max(0, ...lag.filter((value) => value !== null));
  lagAndRecords(byId("health-chart"), {
    dates,
    lag,
    records: health.minutes.map(({ records }) => records),
    key: minutes,
    summary: `Lag and records minute by minute; the largest lag was ${count(largest)} records.`,
  });
}

function showVerdict(health, newest) {
  let [kind, mark] = LOOK[health.word] ?? ["warn", "?"];
  if (!health.healthy) kind = "bad";
  const text = JSON.stringify([health.word, health.healthy, health.why, health.advice, newest?.dag_run_id]);
  // Announced only when it says something else.
  if (text === shown) return;
  shown = text;
  const ways = [
    newest
      ? link("Log of the task run_stream", taskAddress(DAG, newest.dag_run_id, TASK), { "data-key": "log" })
      : null,
    link(`DAG ${DAG}`, dagAddress(DAG), { "data-key": "dag" }),
    health.figures?.spark_ui_url && health.healthy
      ? outerLink("Spark UI", health.figures.spark_ui_url)
      : null,
  ].filter(Boolean);
  show(
    byId("verdict"),
    element(
      "p",
      { class: `verdict ${kind}` },
      element("span", { class: "mark", "aria-hidden": "true" }, mark),
      element("strong", {}, health.word),
      element("span", {}, ` ${health.why}`),
    ),
    health.advice ? element("p", { class: "advice" }, element("strong", {}, "Next: "), health.advice) : "",
    element("p", { class: "ways" }, ...ways),
  );
}

/** What was known is no longer: nobody shall read "running" while nothing can be asked. */
export function showUnknown() {
  if (shown === "") return;
  const known = byId("verdict").querySelector("strong")?.textContent;
  shown = "";
  show(
    byId("verdict"),
    element(
      "p",
      { class: "verdict warn" },
      element("span", { class: "mark", "aria-hidden": "true" }, "?"),
      element("strong", {}, "unknown"),
      element("span", {}, ` it was ${known} when it was last seen; the figures are of then`),
    ),
  );
}

function showFigures({ figures, now }) {
  const tiles = byId("figures");
  if (figures === null) {
    show(tiles);
    return;
  }
  const records = figures.accepted_last_hour + figures.rejected_last_hour;
  const commit = figures.last_commit === null ? null : new Date(figures.last_commit);
  const values = [
    ["Events per second", count(figures.records_per_second), "over the last 30 s"],
    ["Lag", `${count(figures.lag_records)} events`, "sent, but not counted yet"],
    ["Behind by", duration(figures.lag_seconds), "of event time"],
    [
      "Last commit",
      commit === null ? "none yet" : `${duration(Math.max(0, (new Date(now) - commit) / 1000))} ago`,
      commit === null ? "" : `${utcSecond(commit)} UTC`,
    ],
    [
      "Freshness",
      figures.freshness_seconds === null ? "–" : duration(Math.max(0, figures.freshness_seconds)),
      "from event to table",
    ],
    [
      "Rejected",
      records ? percent(figures.rejected_last_hour / records) : "–",
      `${count(figures.rejected_last_hour)} in the last hour`,
    ],
  ];
  if (tiles.children.length !== values.length) {
    show(tiles, ...values.map(() => element("div", {}, element("dt"), element("dd"), element("dd", { class: "small" }))));
  }
  values.forEach((texts, place) => texts.forEach((text, part) => say(tiles.children[place].children[part], text)));
}
