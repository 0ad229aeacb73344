// Hours: a strip of the last 48, what became of the chosen one, and its computation by way of Airflow.

import { data, failedTasks, run, runs, trigger } from "./api.js";
import { byId, element, show } from "./dom.js";
import { both, bytes, count, local, utc, utcDay, utcMinute } from "./format.js";
import { link, runAddress, taskAddress } from "./links.js";

const DAG = "antenna_batch";
const HOUR = 3600000;
const LOOK = {
  computed: ["good", "✓", "computed"],
  late: ["warn", "↻", "late events since"],
  waiting: ["warn", "…", "sealed, not computed"],
  failed: ["bad", "✕", "run or check failed"],
  running: ["busy", "▸", "a run is under way"],
  open: ["idle", "○", "open"],
  empty: ["idle", "·", "no events"],
};
const ENDED = ["success", "failed"];
const POLL_MS = 2000;
const strip = byId("strip");
const detail = byId("hour-detail");
let chosen = null;
let latest = null;
let started = null;

export async function refreshHours() {
  const [hours, newestRuns, failed] = await Promise.all([
    data("hours", { hours: 48 }),
    runs(DAG, 100).catch(() => []),
    failedTasks(DAG).catch(() => []),
  ]);
  const byHour = Map.groupBy(newestRuns.filter(hourOf), hourOf);
  latest = {
    mayRecompute: hours.may_recompute,
    hours: hours.hours.toReversed().map((hour) => judged(hour, byHour.get(Date.parse(hour.hour)) ?? [], failed)),
  };
  showStrip();
  showDetail();
}

/** The hour, in ms, that a run of antenna_batch computes; undefined for one that chose the last sealed one. */
function hourOf({ conf, run_type: kind, data_interval_start: start }) {
  const text = conf?.timestamp ?? (kind === "manual" ? undefined : start);
  return text ? Math.floor(Date.parse(text) / HOUR) * HOUR : undefined;
}

function judged(hour, itsRuns, failedInstances) {
  const [newest] = itsRuns;
  const failedTasksOfRun = failedInstances
    .filter((task) => task.dag_run_id === newest?.dag_run_id && task.state === "failed")
    .map((task) => task.task_id);
  let look = {
    computed: "computed", open: "open", "sealed, not computed": "waiting",
  }[hour.state] ?? "late";
  // Before the first event, say: nothing is missing.
  const isPast = Date.parse(hour.hour) + HOUR <= Date.now();
  if (["waiting", "open"].includes(look) && hour.events === 0 && isPast) look = "empty";
  if (newest?.state === "failed") look = "failed";
  else if (look !== "open" && newest && !ENDED.includes(newest.state)) look = "running";
  return { ...hour, date: new Date(hour.hour), runs: itsRuns, failedTasks: failedTasksOfRun, look };
}

function showStrip() {
  if (chosen === null || !latest.hours.some(({ hour }) => hour === chosen)) {
    // What a person on call wants to see first: the newest that is not as it should be.
    const worst = latest.hours.findLast(({ look }) => ["failed", "late", "waiting"].includes(look));
    chosen = (worst ?? latest.hours.findLast(({ look }) => look === "computed") ?? latest.hours.at(-1)).hour;
  }
  const days = [];
  for (const { hour, date, look } of latest.hours) {
    if (utcDay(date) !== days.at(-1)?.day) {
      const day = utcDay(date);
      days.push({ day, cells: [element("span", { class: "day", "aria-hidden": "true" }, day)] });
    }
    const [kind, mark, words] = LOOK[look];
    const own = local(date) ? `, ${local(date)}` : "";
    days.at(-1).cells.push(
      element(
        "button",
        {
          type: "button",
          class: `cell ${kind}`,
          "data-key": hour,
          "aria-pressed": String(hour === chosen),
          tabindex: hour === chosen ? "0" : "-1",
          "aria-label": `${utc(date)} UTC${own}: ${words}`,
          title: `${utc(date)} UTC${own}: ${words}`,
        },
        element("span", { "aria-hidden": "true" }, mark),
        element("small", { "aria-hidden": "true" }, utcMinute(date).slice(0, 2)),
      ),
    );
  }
  show(strip, ...days.map(({ cells }) => element("div", { class: "day-row" }, ...cells)));
  const present = new Set(latest.hours.map(({ look }) => look));
  show(
    byId("legend"),
    ...Object.entries(LOOK)
      .filter(([look]) => present.has(look))
      .map(([, [kind, mark, words]]) => element("span", { class: `state ${kind}` }, `${mark} ${words}`)),
  );
}

export function listenToStrip() {
  strip.addEventListener("click", ({ target }) => choose(target.closest("[data-key]")));
  strip.addEventListener("keydown", (event) => {
    const cells = [...strip.querySelectorAll("[data-key]")];
    const here = cells.indexOf(document.activeElement);
    const move = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: cells.length - 1 }[event.key];
    if (here < 0 || move === undefined) return;
    event.preventDefault();
    choose(cells[Math.min(Math.max(move, 0), cells.length - 1)]);
  });
}

function choose(cell) {
  if (!cell) return;
  chosen = cell.dataset.key;
  for (const one of strip.querySelectorAll("[data-key]")) {
    one.setAttribute("aria-pressed", String(one === cell));
    one.tabIndex = one === cell ? 0 : -1;
  }
  cell.focus();
  showDetail();
}

function showDetail() {
  const hour = latest.hours.find((one) => one.hour === chosen);
  const [kind, mark, words] = LOOK[hour.look];
  const [newest] = hour.runs;
  const rows = [
    ["State", element("span", { class: `state ${kind}` }, `${mark} ${words}`)],
    ["Events", count(hour.events)],
    ["Bytes", bytes(hour.total_bytes)],
    ["Computed", hour.computed_at ? both(new Date(hour.computed_at)) : "not yet"],
    ["Late events since", count(hour.late_events)],
    ["Users over quota", count(hour.users_over_quota)],
    [
      "Newest run",
      newest ? link(`${newest.state}: ${newest.dag_run_id}`, runAddress(DAG, newest.dag_run_id), { "data-key": "run" }) : "none among the newest 100",
    ],
    hour.failedTasks.length
      ? [
          "Failed",
          element("span", {}, ...hour.failedTasks.flatMap((task) => [
            link(task, taskAddress(DAG, newest.dag_run_id, task), { "data-key": `task ${task}` }), " ",
          ])),
        ]
      : null,
  ].filter(Boolean);
  show(
    detail,
    element("h3", {}, `Hour ${both(hour.date)}`),
    element("dl", { class: "pairs" }, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    recomputePart(hour),
  );
}

function recomputePart(hour) {
  if (hour.look === "empty") return element("p", { class: "note" }, "No event of this hour has come.");
  if (hour.look === "open") return element("p", { class: "note" }, "The hour is computed by itself once it is over.");
  if (!latest.mayRecompute) return element("p", { class: "note" }, "You may look at hours, not recompute them: that needs the right to trigger antenna_batch.");
  const busy = started?.hour === hour.hour && !started.ended;
  return element(
    "p",
    { class: "ways" },
    element(
      "button",
      { type: "button", id: "recompute", class: "primary", "data-key": "recompute", disabled: busy, onclick: () => recompute(hour.hour) },
      "Recompute this hour",
    ),
    started?.hour === hour.hour
      ? element(
          "span",
          { id: "recompute-state" },
          started.text,
          started.runId ? link("open the run", runAddress(DAG, started.runId), { "data-key": "started run" }) : "",
        )
      : "",
  );
}

/** Trigger antenna_batch for the hour by Airflow's API, and follow the run to its end. */
async function recompute(hour) {
  const mine = { hour, text: "Triggering… ", runId: null, ended: false };
  started = mine;
  showDetail();
  try {
    mine.runId = (await trigger(DAG, { timestamp: hour })).dag_run_id;
    for (let state = "queued"; !mine.ended; ) {
      mine.text = state === "success" ? "Done: the hour is computed and checked. " : `The run is ${state}. `;
      mine.ended = ENDED.includes(state);
      showDetail();
      if (mine.ended) break;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      state = (await run(DAG, mine.runId)).state;
    }
    await refreshHours();
  } catch (error) {
    mine.text = `${error.title ?? "It failed"}: ${error.detail ?? error.message} `;
    mine.ended = true;
    showDetail();
  }
}
