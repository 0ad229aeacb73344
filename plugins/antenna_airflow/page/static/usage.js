// Usage: bytes over time per antenna, app or user, and the table under the chart.

import { data, dataAddress } from "./api.js";
import { stacked } from "./charts.js";
import { bar, byId, element, say, show } from "./dom.js";
import { both, bytes, count, percent, utc } from "./format.js";

const HOUR = 3600000;
const STEP = { "5min": 300000, hour: HOUR, day: 24 * HOUR };
const LONGEST = { "5min": 48 * HOUR, hour: 31 * 24 * HOUR, day: 92 * 24 * HOUR };
const WORD = { "5min": "5 minutes", hour: "hour", day: "day" };
const KEPT = "antennas.usage";
const form = byId("usage-form");
const fields = form.elements;

/** Where the reader was, in this tab. */
export function restoreUsage() {
  const now = new Date();
  fields.start.value = utc(new Date(now - 24 * HOUR)).replace(" ", "T");
  fields.end.value = utc(now).replace(" ", "T");
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    for (const [name, value] of Object.entries(kept)) if (fields[name]) fields[name].value = value;
  } catch {
    sessionStorage.removeItem(KEPT);
  }
  fitStep();
}

/** Call `changed` when the reader has chosen something else. */
export function onUsageChange(changed) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    fitStep();
    keep();
    changed();
  });
  form.addEventListener("change", (event) => {
    const custom = fields.range.value === "custom";
    byId("usage-custom").hidden = !custom;
    fitStep(event.target.name === "range");
    keep();
    // Dates are shown when they are complete: by the button.
    if (event.target.type !== "datetime-local") changed();
  });
}

function keep() {
  const names = ["by", "range", "step", "start", "end"];
  sessionStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(names.map((name) => [name, fields[name].value]))));
}

function chosenRange() {
  if (fields.range.value !== "custom") {
    const end = new Date();
    return [new Date(end - Number(fields.range.value) * HOUR), end];
  }
  return [new Date(`${fields.start.value}Z`), new Date(`${fields.end.value}Z`)];
}

/** Offer the steps that fit the range; a new range begins with the finest of them that is quickly read. */
function fitStep(anew = false) {
  byId("usage-custom").hidden = fields.range.value !== "custom";
  const [start, end] = chosenRange();
  const length = end - start;
  for (const input of form.querySelectorAll("[name=step]")) input.disabled = length > LONGEST[input.value];
  const current = form.querySelector("[name=step]:checked");
  if (anew || !current || current.disabled) {
    fields.step.value = length <= 24 * HOUR ? "5min" : length <= LONGEST.hour ? "hour" : "day";
  }
}

export async function refreshUsage() {
  const [start, end] = chosenRange();
  const [by, step] = [fields.by.value, fields.step.value];
  if (Number.isNaN(start.getTime()) || Number.isNaN(end.getTime()) || start >= end) {
    say(byId("usage-note"), "Give a beginning that is before the end.");
    return;
  }
  const asked = { by, step, start: start.toISOString(), end: end.toISOString() };
  let usage;
  try {
    usage = await data("usage", asked);
  } catch (error) {
    if (error.kind !== "refused") throw error;
    say(byId("usage-note"), error.detail);
    return;
  }
  byId("usage-csv").href = dataAddress("usage.csv", asked);
  const all = usage.total.reduce((sum, value) => sum + value, 0);
  showNote(usage, all);
  byId("usage-chart").hidden = all === 0;
  if (all > 0) drawUsage(usage, all, [by, step, fields.range.value].join());
  showTable(usage, all);
}

function drawUsage(usage, all, key) {
  stacked(byId("usage-chart"), {
    dates: usage.buckets.map((bucket) => new Date(bucket)),
    series: usage.series.map(({ label, values }) => ({ name: label, values })),
    others: usage.others,
    total: usage.total,
    step: STEP[usage.step],
    key,
    summary: `Bytes per ${usage.by} over time, ${bytes(all)} in all; the table below has the figures.`,
  });
}

function showNote(usage, all) {
  const parts = [
    `${bytes(all)} from ${both(new Date(usage.first))} to ${both(new Date(usage.end))}, by ${WORD[usage.step]}.`,
  ];
  if (all === 0) {
    parts.push(
      usage.step === "5min"
        ? "Nothing was counted in this range."
        : "No hour of this range is computed yet: each is a few minutes after its end. The 5-minute step shows more.",
    );
  }
  if (usage.ranked_by_every > 1) {
    parts.push(`The largest were found by one window in ${usage.ranked_by_every}; their figures are whole.`);
  }
  say(byId("usage-note"), parts.join(" "));
}

function showTable(usage, all) {
  say(byId("usage-what"), { antenna: "Antenna", app: "App", user: "User" }[usage.by]);
  const others = usage.others.reduce((sum, value) => sum + value, 0);
  const rest = usage.ids - usage.series.length;
  const rows = usage.series.map(({ id, label, values, total }) => [label, id === label ? "" : id, total, values]);
  if (rest > 0) rows.push([`all ${count(rest)} others`, "", others, usage.others]);
  show(
    byId("usage-table").tBodies[0],
    ...rows.map(([label, id, total, values]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, label, id ? element("small", {}, id) : ""),
        element("td", { class: "number", title: `${count(total)} bytes` }, bytes(total)),
        element("td", { class: "number" }, percent(all ? total / all : 0), bar(all ? total / all : 0, "plain")),
        element("td", { class: "number" }, bytes(Math.max(...values))),
      ),
    ),
    rows.length ? "" : element("tr", {}, element("td", { colspan: 4, class: "empty" }, "Nothing in this range.")),
    rows.length
      ? element(
          "tr",
          { class: "total" },
          element("th", { scope: "row" }, "All"),
          element("td", { class: "number", title: `${count(all)} bytes` }, bytes(all)),
          element("td", { class: "number" }, "100 %"),
          element("td", { class: "number" }, bytes(Math.max(...usage.total))),
        )
      : "",
  );
}
