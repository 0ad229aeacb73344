// Charts by plotly.js, in the page's colours. The figures stand in text and tables too.

import { say } from "./dom.js";
import { bytes, count, local, shortened, utc } from "./format.js";

// Told apart by most people who see colours differently.
export const COLORS = [
  "#4477aa", "#ee8866", "#228833", "#aa4499", "#ccbb44", "#66ccee", "#bb5566", "#44bb99", "#777777", "#999933",
];
const OTHERS = "#9aa5b1";
// A name keeps its colour while the page is open, whatever its rank.
const tints = new Map();
const MANY_BUCKETS = 110;
const CONFIG = { displayModeBar: false, responsive: true };

function tintOf(name) {
  if (!tints.has(name)) tints.set(name, COLORS[tints.size % COLORS.length]);
  return tints.get(name);
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function layout(more) {
  const text = color("--text");
  const axis = { gridcolor: color("--line"), zerolinecolor: color("--line"), fixedrange: true };
  const { xaxis, yaxis, yaxis2, ...others } = more;
  return {
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { color: text, family: "system-ui, sans-serif", size: 12 },
    margin: { l: 64, r: 12, t: 36, b: 36 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: text } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, itemclick: "toggle", itemdoubleclick: "toggleothers" },
    barmode: "stack",
    bargap: 0.12,
    xaxis: { ...axis, type: "date", hoverformat: "%a %Y-%m-%d %H:%M UTC", ...xaxis },
    yaxis: { ...axis, rangemode: "tozero", ...yaxis },
    ...(yaxis2 ? { yaxis2: { ...axis, rangemode: "tozero", ...yaxis2 } } : {}),
    ...others,
  };
}

function draw(node, traces, more, summary) {
  node.setAttribute("aria-label", summary);
  if (!window.Plotly) {
    say(node, "The charts cannot be drawn: plotly.js was not loaded. The figures stand in the tables.");
    return;
  }
  node.redraw = () => window.Plotly.react(node, traces(), layout(more()), CONFIG);
  // What is the same is left alone, and so is the hover text of who reads it.
  const figures = JSON.stringify(traces().map(({ x, y, name }) => [x, y, name]));
  if (node.figures === figures) return;
  node.figures = figures;
  node.redraw();
}

document.addEventListener("themechange", () => {
  for (const node of document.querySelectorAll(".chart")) node.redraw?.();
});

/** Ticks at round figures of a scale, written by `format`. */
function ticks(largest, format) {
  if (largest <= 0) return { tickvals: [0], ticktext: [format(0)], range: [0, 1] };
  const rough = largest / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const tickvals = [];
  for (let value = 0; value <= largest * 1.02; value += step) tickvals.push(value);
  return { tickvals, ticktext: tickvals.map(format) };
}

/** The line of the hover text that tells all together, with the reader's own time. */
function totalTrace(dates, total, format, own) {
  return {
    x: dates.map(utc), y: total, type: "scatter", mode: "lines", line: { width: 0 }, showlegend: false,
    name: "All", customdata: dates.map((date, place) => `${format(total[place])}${own(date)}`),
    hovertemplate: "%{customdata}",
  };
}

/**
 * Bars, or areas where there are many, one upon the other.
 * `series`: [{name, values}], `others` in grey on top; `dates` are the beginnings of the bars.
 */
export function stacked(node, { dates, series, others, total, format = bytes, key, summary, step }) {
  const own = (date) => (local(date) ? ` (from ${local(date)})` : "");
  const x = dates.map(utc);
  // In the same order, so that a name stands where it stood before.
  const sorted = series.toSorted((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
  const shown = [...sorted, ...(others?.some((value) => value > 0) ? [{ name: "all others", values: others }] : [])];
  const shape = dates.length > MANY_BUCKETS
    ? { type: "scatter", mode: "lines", stackgroup: "all", line: { width: 0.5, shape: "hv" } }
    : { type: "bar", offset: 0, width: step };
  const traces = () => [
    ...shown.map(({ name, values }, place) => {
      const tint = place < series.length ? tintOf(name) : OTHERS;
      return {
        ...shape, x, y: values, name: shortened(name),
        ...(shape.type === "bar" ? { marker: { color: tint } } : { fillcolor: tint, line: { ...shape.line, color: tint } }),
        customdata: values.map(format), hovertemplate: "%{customdata}",
      };
    }),
    totalTrace(dates, total, format, own),
  ];
  const more = () => ({ yaxis: ticks(Math.max(...total), format), uirevision: key });
  draw(node, traces, more, summary);
}

/** Usage of one user as bars, with the quota as a line. */
export function againstQuota(node, { dates, values, quota, over, key, summary }) {
  const own = (date) => (local(date) ? ` (from ${local(date)})` : "");
  const traces = () => [
    {
      x: dates.map(utc), y: values, type: "bar", name: "used", offset: 0, width: 3600000,
      marker: { color: over.map((passed) => (passed ? color("--bad") : COLORS[0])) },
      customdata: dates.map((date, place) => `${bytes(values[place])}${own(date)}`), hovertemplate: "%{customdata}",
    },
    ...(quota === null ? [] : [{
      x: dates.map(utc), y: dates.map(() => quota), type: "scatter", mode: "lines", name: "quota today",
      line: { color: color("--warn"), dash: "dash" }, customdata: dates.map(() => bytes(quota)),
      hovertemplate: "%{customdata}",
    }]),
  ];
  const more = () => ({ yaxis: ticks(Math.max(quota ?? 0, ...values), bytes), uirevision: key });
  draw(node, traces, more, summary);
}

/** Lag above, records a minute below, on one axis of time. */
export function lagAndRecords(node, { dates, lag, records, key, summary }) {
  const x = dates.map(utc);
  const own = (date) => (local(date) ? ` (${local(date)})` : "");
  const traces = () => [
    {
      x, y: lag, yaxis: "y2", type: "scatter", mode: "lines", name: "lag", fill: "tozeroy", connectgaps: false,
      line: { color: color("--warn"), width: 1.5 },
      customdata: lag.map((value, place) => `${value === null ? "no driver" : `${count(value)} records`}${own(dates[place])}`),
      hovertemplate: "%{customdata}",
    },
    {
      x, y: records, type: "bar", name: "records a minute", marker: { color: COLORS[0] },
      customdata: records.map(count), hovertemplate: "%{customdata}",
    },
  ];
  const known = lag.filter((value) => value !== null);
  const more = () => ({
    yaxis: { domain: [0, 0.44], title: { text: "records / min" }, ...ticks(Math.max(...records), count) },
    yaxis2: { domain: [0.55, 1], title: { text: "lag" }, ...ticks(Math.max(0, ...known), count) },
    xaxis: { range: [x[0], x[x.length - 1]] },
    margin: { l: 84, r: 12, t: 8, b: 36 },
    showlegend: false,
    uirevision: key,
  });
  draw(node, traces, more, summary);
}
