// Quotas: who passed, who is near, and one user over time.

import { data } from "./api.js";
import { againstQuota } from "./charts.js";
import { bar, byId, debounced, element, say, show } from "./dom.js";
import { both, bytes, count, local, percent, utc } from "./format.js";

const HOUR = 3600000;
const PER_PAGE = 25;
const STATES = { passed: ["bad", "✕ over quota"], near: ["warn", "▲ near it"], within: ["good", "✓ within"] };
const form = byId("quotas-form");
const fields = form.elements;
let page = 0;
let user = null;

/** Fill the choice of hours: this one, and the 48 before it. Keeps what is chosen. */
function offerHours() {
  const newest = Math.floor(Date.now() / HOUR) * HOUR;
  const select = fields.hour;
  if (select.dataset.newest === String(newest)) return;
  const chosen = select.value;
  select.dataset.newest = String(newest);
  select.replaceChildren(element("option", { value: "" }, "this hour so far"));
  for (let back = 1; back <= 48; back += 1) {
    const hour = new Date(newest - back * HOUR);
    const own = local(hour) ? ` (${local(hour)})` : "";
    select.append(element("option", { value: hour.toISOString() }, `${utc(hour)} UTC${own}`));
  }
  select.value = chosen;
  if (select.selectedIndex < 0) select.value = "";
}

/** Call `changed` when the reader has chosen something else. */
export function onQuotasChange(changed) {
  const anew = () => {
    page = 0;
    changed();
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", anew);
  fields.search.addEventListener("input", debounced(anew, 250));
  byId("quotas-pager").addEventListener("click", ({ target }) => {
    if (!target.dataset.by) return;
    page = Math.max(0, page + Number(target.dataset.by));
    changed();
  });
  byId("history-hours").addEventListener("change", changed);
  byId("history-close").addEventListener("click", () => {
    const key = user;
    user = null;
    byId("history").hidden = true;
    byId("quotas-table").querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  });
  byId("quotas-table").addEventListener("click", ({ target }) => {
    if (!target.dataset.key) return;
    user = target.dataset.key;
    byId("history").hidden = false;
    byId("history").scrollIntoView({ block: "nearest" });
    changed();
  });
}

export async function refreshQuotas() {
  offerHours();
  const quotas = await data("quotas", {
    hour: fields.hour.value,
    search: fields.search.value,
    state: fields.state.value,
    limit: PER_PAGE,
    offset: page * PER_PAGE,
  });
  const hour = quotas.so_far ? "This hour so far" : `Hour ${both(new Date(quotas.hour))}`;
  say(
    byId("quotas-note"),
    `${hour}: ${count(quotas.passed)} over quota, ${count(quotas.near)} near it. ` +
      (quotas.so_far ? "Counted by the 5-minute windows." : "A quota that was not passed is today's."),
  );
  showUsers(quotas);
  showPager(quotas.found);
  if (user !== null) await showHistory();
}

function showUsers({ users, so_far: soFar }) {
  const empty = fields.search.value || fields.state.value
    ? "Nobody fits."
    : soFar ? "No users are known: provision_schema loads them." : "This hour is not computed, or nobody used anything.";
  show(
    byId("quotas-table").tBodies[0],
    ...users.map(({ email, usage, quota, state }) => {
      const [kind, words] = STATES[state];
      const share = quota ? usage / quota : usage ? Infinity : 0;
      return element(
        "tr",
        {},
        element("th", { scope: "row" },
          element("button", { type: "button", class: "plain-button", "data-key": email, title: "Show the history" }, email)),
        element("td", {}, element("span", { class: `state ${kind}` }, words)),
        element("td", { class: "number", title: `${count(usage)} bytes` }, bytes(usage)),
        element("td", { class: "number", title: `${count(quota)} bytes` }, bytes(quota)),
        element("td", { class: "number" }, Number.isFinite(share) ? percent(share) : "–", bar(share, kind)),
        element("td", { class: "number" }, usage > quota ? bytes(usage - quota) : ""),
      );
    }),
    users.length ? "" : element("tr", {}, element("td", { colspan: 6, class: "empty" }, empty)),
  );
}

function showPager(found) {
  const pager = byId("quotas-pager");
  const pages = Math.max(1, Math.ceil(found / PER_PAGE));
  pager.hidden = pages === 1 && page === 0;
  const [previous, next] = pager.querySelectorAll("button");
  previous.disabled = page === 0;
  next.disabled = page + 1 >= pages;
  say(pager.querySelector("span"), `Page ${page + 1} of ${count(pages)}, ${count(found)} users`);
}

async function showHistory() {
  const asked = user;
  const hours = byId("history-hours").value;
  const history = await data("quotas/user", { email: asked, hours });
  // Another one was chosen meanwhile.
  if (asked !== user) return;
  const dates = history.hours.map(({ hour }) => new Date(hour));
  const values = history.hours.map(({ usage }) => usage ?? 0);
  const over = history.hours.map((hour) => hour.passed_quota !== null);
  const times = over.filter(Boolean).length;
  say(byId("history-title"), asked);
  const quota = history.quota === null ? "no quota today" : `quota today ${bytes(history.quota)} an hour`;
  say(
    byId("history-note"),
    `Over quota in ${count(times)} of ${count(values.filter((value) => value > 0).length)} hours with traffic; ${quota}. ` +
      `${bytes(values.reduce((sum, value) => sum + value, 0))} in all.`,
  );
  againstQuota(byId("history-chart"), {
    dates,
    values,
    over,
    quota: history.quota,
    key: `${asked} ${hours}`,
    summary: `Bytes of ${asked} hour by hour, over quota ${times} times.`,
  });
}
