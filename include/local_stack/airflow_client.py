"""Airflow's REST API, as far as the stack and its tests use it."""

import time
from datetime import datetime
from typing import Any

import httpx

from include.local_stack.settings import StackError

FINAL_STATES = ("success", "failed")


class AirflowClient:
    """A logged-in user of the API server at `url`. Not answered requests raise StackError."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        # trust_env off: the server is on this machine, whatever proxy the environment names.
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def is_ready(self) -> bool:
        """Whether the API server answers and sees its database."""
        try:
            answer = self._http.get("/api/v2/monitor/health", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.is_success and answer.json()["metadatabase"]["status"] == "healthy"

    def component_health(self) -> dict[str, str]:
        """metadatabase, scheduler, triggerer, dag_processor -> healthy, unhealthy or None."""
        answer = self.request("GET", "/api/v2/monitor/health")
        return {name: part["status"] for name, part in answer.items()}

    def request(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """The decoded answer; raises StackError with the server's words when it is an error."""
        try:
            answer = self._http.request(method, path, **arguments)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                self._log_in()
                answer = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise StackError(f"Airflow at {self.url} does not answer: {error}") from error
        if not answer.is_success:
            raise StackError(f"Airflow: {method} {path}: {answer.status_code} {answer.text}")
        return dict(answer.json()) if answer.content else {}

    def dag_ids(self) -> set[str]:
        """The DAGs that Airflow knows."""
        return {dag["dag_id"] for dag in self.request("GET", "/api/v2/dags", params={"limit": 100})["dags"]}

    def import_errors(self) -> list[str]:
        """Why DAG files could not be read."""
        found = self.request("GET", "/api/v2/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace']}" for error in found]

    def unpause(self, dag_id: str, paused: bool = False) -> None:
        """Turn a DAG on (or off)."""
        self.request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": paused})

    def trigger(
        self, dag_id: str, conf: dict[str, Any] | None = None, logical_date: datetime | None = None
    ) -> str:
        """Start a run by hand and return its run id."""
        body = {"conf": conf or {}, "logical_date": logical_date.isoformat() if logical_date else None}
        return str(self.request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def runs(self, dag_id: str, **filters: Any) -> list[dict[str, Any]]:
        """The newest runs of a DAG, newest first."""
        parameters = {"order_by": "-run_after", "limit": 100, **filters}
        return list(self.request("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=parameters)["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        return self.request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 300) -> str:
        """Wait until a run has ended; returns success or failed. StackError after `timeout` s."""
        deadline = time.monotonic() + timeout
        while (state := self.run(dag_id, run_id)["state"]) not in FINAL_STATES:
            if time.monotonic() > deadline:
                raise StackError(f"Run {run_id} of {dag_id} is still {state} after {timeout:.0f} s")
            time.sleep(0.5)
        return str(state)

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self.request("GET", path)["task_instances"])

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> str:
        """The log of one try of a task."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        parameters = {"full_content": True, "map_index": map_index}
        events = self.request("GET", path, params=parameters)["content"]
        return "\n".join(str(event.get("event", event)) for event in events)

    def failure(self, dag_id: str, run_id: str) -> str:
        """Which tasks of a run failed, with the end of each one's log."""
        parts = [f"Run {run_id} of {dag_id} failed."]
        for task in self.task_instances(dag_id, run_id):
            if task["state"] == "failed":
                log = self.task_log(dag_id, run_id, task["task_id"], task["try_number"], task["map_index"])
                parts += [f"Task {task['task_id']}, the end of its log:", *log.splitlines()[-25:]]
        return "\n".join(parts)

    def _log_in(self) -> None:
        answer = self._http.post("/auth/token", json=self._login)
        if not answer.is_success:
            raise StackError(f"Airflow at {self.url} refuses the login: {answer.status_code} {answer.text}")
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
