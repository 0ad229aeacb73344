"""antenna_streaming under the real scheduler; tests/drills shows what it does when something goes wrong."""

import httpx

from .conftest import RunningStack
from .drills import wait_until

DAG_ID = "antenna_streaming"


def newest_run(stack: RunningStack) -> str:
    """The run that holds the stream, once there is one."""
    wait_until(lambda: bool(stack.airflow.runs(DAG_ID, limit=1)), 60, "a run of the stream")
    return str(stack.airflow.runs(DAG_ID, limit=1)[0]["dag_run_id"])


def test_the_log_says_what_the_stream_does(stack: RunningStack) -> None:
    def log() -> str:
        run_id = newest_run(stack)
        (task,) = stack.airflow.task_instances(DAG_ID, run_id)
        return stack.airflow.task_log(DAG_ID, run_id, "run_stream", task["try_number"])

    wait_until(lambda: "events/s, lag 0 records, last commit" in log(), 60, "a line of progress")


def test_links_of_the_running_task(stack: RunningStack) -> None:
    """They are there while it runs: this task has no end."""
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/{newest_run(stack)}/taskInstances/run_stream/links"

    def links() -> dict[str, str]:
        found: dict[str, str] = stack.airflow.request("GET", path)["extra_links"]
        return found

    wait_until(lambda: bool(links().get("Spark UI")), 60, "the link to the Spark UI")
    with stack.connect() as connection:
        row = connection.execute("SELECT spark_ui_url FROM ops.streams").fetchone()
    assert row is not None
    page = f"{stack.env['AIRFLOW_URL']}/antennas/?dag={DAG_ID}"
    assert links() == {"Antennas": page, "Spark UI": row[0]}
    assert "Spark" in httpx.get(row[0], follow_redirects=True, trust_env=False).text
    assert httpx.get(page, trust_env=False).status_code == 401
