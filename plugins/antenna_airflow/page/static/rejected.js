// Rejected records: how many and why, what they look like, and how to replay them.

import { data } from "./api.js";
import { stacked } from "./charts.js";
import { byId, element, say, show } from "./dom.js";
import { both, count, utcDay, utcSecond } from "./format.js";
import { dagAddress, link } from "./links.js";

const REPLAY_DAG = "replay_rejected";

export async function refreshRejected() {
  const select = byId("rejected-hours");
  const rejected = await data("rejected", { hours: select.value, examples: 10 });
  const dates = rejected.buckets.map((bucket) => new Date(bucket));
  const series = Object.entries(rejected.reasons).map(([name, values]) => ({ name, values }));
  const total = dates.map((_, place) => series.reduce((sum, { values }) => sum + values[place], 0));
  const all = total.reduce((sum, value) => sum + value, 0);
  const sums = series
    .map(({ name, values }) => [name, values.reduce((sum, value) => sum + value, 0)])
    .sort(([, one], [, other]) => other - one)
    .map(([name, sum]) => `${name} ${count(sum)}`);
  const range = select.selectedOptions[0].textContent.trim();
  say(byId("rejected-note"), all ? `${count(all)} in ${range}: ${sums.join(", ")}.` : `None in ${range}.`);
  byId("rejected-chart").hidden = all === 0;
  if (all) {
    stacked(byId("rejected-chart"), {
      dates,
      series,
      total,
      format: count,
      step: dates.length > 1 ? dates[1] - dates[0] : 300000,
      key: select.value,
      summary: `Rejected records over time by reason: ${sums.join(", ")}.`,
    });
  }
  showExamples(rejected);
}

function showExamples({ examples, examples_problem: problem }) {
  show(
    byId("rejected-table").tBodies[0],
    ...examples.map((example) =>
      element(
        "tr",
        {},
        element("td", { title: example.kafka_timestamp ? both(new Date(example.kafka_timestamp)) : "" },
          ...(example.kafka_timestamp ? sentAt(new Date(example.kafka_timestamp)) : ["–"])),
        element("td", {}, element("strong", {}, example.reason), example.detail ? element("small", {}, example.detail) : ""),
        element("td", {}, example.value ? element("code", {}, example.value + (example.cut ? "…" : "")) : "(empty)"),
        element("td", { class: "number" }, `${example.partition} / ${count(example.offset)}`),
      ),
    ),
    examples.length ? "" : element("tr", {}, element("td", { colspan: 4, class: "empty" }, problem ?? "No record was ever rejected.")),
  );
}

const sentAt = (date) => [`${utcSecond(date)} UTC`, element("small", {}, utcDay(date))];

export function showReplay() {
  show(
    byId("replay"),
    "Rejected records are kept as they came. When the cause is mended, for example a producer or a rule, trigger ",
    link(`the DAG ${REPLAY_DAG}`, dagAddress(REPLAY_DAG)),
    " with the reason and the time range (in the local stack also ",
    element("code", {}, "make replay"),
    "). Each replayed record is counted once.",
  );
}
