"""What every DAG must be, whatever it does."""

import ast
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, Asset

from antenna_airflow import assets
from antenna_airflow.callbacks import log_failure
from antenna_airflow.defaults import DEFAULT_ARGS, OWNER_LINKS, PROJECT_ROOT, Tag

DAGS_FOLDER = PROJECT_ROOT / "dags"
# Spelled out, so that a DAG that is not found fails the test.
DAGS = [
    "alerts",
    "antenna_batch",
    "antenna_streaming",
    "late_hours",
    "maintenance",
    "provision_schema",
    "quota_alerts",
    "replay_rejected",
    "simulate_devices",
]
PARSE_SECONDS = 5

CLOCK_AND_STATE = {"now", "utcnow", "today", "time", "monotonic", "get_connection", "get_conn", "connect"}


@pytest.fixture(scope="module")
def dag_bag() -> DagBag:
    return DagBag(DAGS_FOLDER)


@pytest.fixture(params=DAGS)
def dag(request: pytest.FixtureRequest, dag_bag: DagBag) -> DAG:
    return dag_bag.dags[request.param]


def test_the_dags_are_these(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    assert sorted(dag_bag.dags) == DAGS
    assert sorted(path.stem for path in DAGS_FOLDER.glob("*.py")) == DAGS


def test_schedules(dag_bag: DagBag) -> None:
    summaries = {name: dag.timetable for name, dag in dag_bag.dags.items()}
    assert type(summaries["antenna_batch"]).__name__ == "CronDataIntervalTimetable"
    assert {name: dag.schedule for name, dag in dag_bag.dags.items() if isinstance(dag.schedule, str)} == {
        "antenna_streaming": "@continuous",
        "provision_schema": "@once",
    }
    assert dag_bag.dags["simulate_devices"].schedule is None
    assert dag_bag.dags["replay_rejected"].schedule is None
    assert type(summaries["maintenance"]).__name__ == "CronTriggerTimetable"


def test_page_says_what_goes_in_and_out_and_how_to_recover(dag: DAG) -> None:
    for words in (f"# {dag.dag_id}", "**Inputs**", "**Outputs**", "**Rerun**", "**Recover**"):
        assert words in (dag.doc_md or "")
    assert dag.description


def test_owner_is_to_be_found(dag: DAG) -> None:
    assert dag.owner_links == OWNER_LINKS


def test_tags_are_known_ones(dag: DAG) -> None:
    assert dag.tags
    assert dag.tags <= {tag.value for tag in Tag}


def test_defaults_are_the_shared_ones(dag: DAG) -> None:
    assert dag.default_args == DEFAULT_ARGS
    for task in dag.tasks:
        assert task.owner == "antenna"
        assert task.on_failure_callback == [log_failure]


def test_limits_are_set_on_purpose(dag: DAG) -> None:
    """Each DAG bounds its runs; each task but the stream, which has no end, bounds its time."""
    assert "max_active_runs=" in Path(dag.fileloc).read_text()
    for task in dag.tasks:
        assert (task.execution_timeout is None) == (task.task_id == "run_stream")


def test_params_explain_themselves(dag: DAG) -> None:
    for name in dag.params:
        schema = dag.params.get_param(name).schema
        assert schema["title"]
        assert schema.get("description_md") or dag.params.get_param(name).description
        assert "type" in schema


def test_every_table_topic_and_archive_is_an_asset(dag_bag: DagBag) -> None:
    known = {value.name for value in vars(assets).values() if isinstance(value, Asset)}
    written = {outlet.name for dag in dag_bag.dags.values() for task in dag.tasks for outlet in task.outlets}
    read = {inlet.name for dag in dag_bag.dags.values() for task in dag.tasks for inlet in task.inlets}
    assert written == known
    assert read <= known


@pytest.mark.parametrize("path", sorted(DAGS_FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_no_clock_and_no_state_at_parse_time(path: Path) -> None:
    """Calls outside functions run whenever the file is parsed, several times a minute."""
    for node in _module_level(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in CLOCK_AND_STATE, f"{path.name}:{node.lineno} calls {name}()"


def _module_level(tree: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.FunctionDef | ast.Lambda):
            found += [child, *_module_level(child)]
    return found


PARSE = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
import airflow.sdk

def refuse(*args, **kwargs):
    raise AssertionError("asked for a Variable or a Connection while parsing")

airflow.sdk.Variable.get = refuse
airflow.sdk.BaseHook.get_connection = refuse
connected = []
watched = ("socket.connect", "sqlite3.connect")
sys.addaudithook(lambda event, args: connected.append(args) if event in watched else None)
started = time.monotonic()
bag = DagBag(sys.argv[1], collect_dags=False)
bag.collect_dags(sys.argv[1])
seconds = time.monotonic() - started
assert not bag.import_errors, bag.import_errors
assert not connected, connected
print(len(bag.dags), seconds)
"""


def test_parsing_opens_no_connection_and_is_quick(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    roots = (PROJECT_ROOT, PROJECT_ROOT / "spark_jobs", PROJECT_ROOT / "plugins")
    environment |= {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": os.pathsep.join(map(str, roots)),
    }
    command = [sys.executable, "-c", PARSE, str(DAGS_FOLDER)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    count, seconds = result.stdout.split()[-2:]
    assert int(count) == len(DAGS)
    assert float(seconds) < PARSE_SECONDS


@pytest.mark.parametrize(
    ("value", "message"),
    [("yesterday", "yesterday"), ("2026-11-24T16:00:00", "")],
)
def test_start_of_the_catch_up(value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that is no date is an import error that shows it; without an offset it is UTC."""
    monkeypatch.setenv("ANTENNA_BATCH_START", value)
    bag = DagBag(DAGS_FOLDER / "antenna_batch.py")
    if message:
        assert message in next(iter(bag.import_errors.values()))
    else:
        dag = bag.dags["antenna_batch"]
        assert dag.catchup
        assert dag.start_date == datetime(2026, 11, 24, 16, tzinfo=UTC)


def test_ages_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default everything is kept; an age that is no number of days is an import error that shows it."""

    def ages() -> dict[str, object]:
        bag = DagBag(DAGS_FOLDER / "maintenance.py")
        assert bag.import_errors == {}
        params = bag.dags["maintenance"].params
        return {name: params[name] for name in params if name.startswith("keep_")}

    names = ("keep_events_days", "keep_bytes_days", "keep_rejected_days", "keep_history_days")
    assert ages() == dict.fromkeys(names)
    monkeypatch.setenv("ANTENNA_RETENTION_EVENTS_DAYS", "400")
    monkeypatch.setenv("ANTENNA_RETENTION_HISTORY_DAYS", "30")
    assert ages() == dict.fromkeys(names) | {"keep_events_days": 400, "keep_history_days": 30}
    monkeypatch.setenv("ANTENNA_RETENTION_BYTES_DAYS", "a year")
    (error,) = DagBag(DAGS_FOLDER / "maintenance.py").import_errors.values()
    assert "ANTENNA_RETENTION_BYTES_DAYS='a year' is no number of days from 1 on" in error
