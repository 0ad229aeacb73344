// Asks the page's own data and, as the logged-in user, Airflow's API. Both by addresses relative to the page.

export class Problem extends Error {
  /** What the page shows: title, detail, advice, perhaps a DAG that helps. */
  constructor({ kind, title, detail = "", advice = "", dag_id = null }) {
    super(title);
    Object.assign(this, { kind, title, detail, advice, dagId: dag_id });
  }
}

// A database that hangs makes Airflow hang: nobody shall look at a page that only seems to be live.
const ANSWER_MS = 15000;
const AWAY = {
  kind: "airflow",
  title: "Airflow does not answer",
  advice: "Look whether its API server and PostgreSQL run. This page goes on by itself.",
};
const BROKEN = {
  kind: "airflow_database",
  title: "Airflow answers with an error",
  advice:
    "Most likely PostgreSQL, where Airflow keeps its own data, is down: start it again. " +
    "Nothing is lost: the stream goes on where it was. This page goes on by itself.",
};
const LOGGED_OUT = {
  kind: "logged_out",
  title: "You are not logged in any more",
  advice: "Log in to Airflow again, then come back to this page.",
};

async function request(address, options) {
  let answer;
  try {
    const signal = AbortSignal.timeout(ANSWER_MS);
    answer = await fetch(address, { credentials: "same-origin", signal, ...options });
  } catch (error) {
    throw new Problem({ ...AWAY, detail: String(error.message) });
  }
  if (answer.ok) return answer.json();
  if (answer.status === 401) throw new Problem(LOGGED_OUT);
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 503 && body.kind) throw new Problem(body);
  if (answer.status >= 500) throw new Problem({ ...BROKEN, detail: `The answer was ${answer.status}.` });
  const detail = Array.isArray(body.detail) ? body.detail.map((part) => part.msg).join("; ") : body.detail;
  throw new Problem({ kind: "refused", title: "Airflow refuses this", detail: detail ?? `${answer.status}` });
}

const query = (parameters) =>
  new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null));

export const dataAddress = (path, parameters = {}) => `data/${path}?${query(parameters)}`;
export const data = (path, parameters) => request(dataAddress(path, parameters));

const airflow = (path, parameters = {}) => request(`../api/v2/dags/${path}?${query(parameters)}`);

export const runs = async (dagId, limit) =>
  (await airflow(`${dagId}/dagRuns`, { order_by: "-run_after", limit })).dag_runs;

export const failedTasks = async (dagId) =>
  (await airflow(`${dagId}/dagRuns/~/taskInstances`, { state: "failed", limit: 100, order_by: "-start_date" }))
    .task_instances;

export const run = (dagId, runId) => airflow(`${dagId}/dagRuns/${encodeURIComponent(runId)}`);

/** Trigger a DAG; Airflow asks whether this user may. */
export const trigger = (dagId, conf) =>
  request(`../api/v2/dags/${dagId}/dagRuns`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ logical_date: null, conf, note: "From the page Antennas" }),
  });
