"""antenna_streaming under the real scheduler; tests/drills shows what it does when something goes wrong."""

from .conftest import RunningStack
from .drills import wait_until

DAG_ID = "antenna_streaming"


def test_the_log_says_what_the_stream_does(stack: RunningStack) -> None:
    def log() -> str:
        run_id = str(stack.airflow.runs(DAG_ID, limit=1)[0]["dag_run_id"])
        (task,) = stack.airflow.task_instances(DAG_ID, run_id)
        return stack.airflow.task_log(DAG_ID, run_id, "run_stream", task["try_number"])

    wait_until(lambda: "events/s, lag 0 records, last commit" in log(), 30, "a line of progress")
