"""Where a connection has the Spark jobs run: the examples of docs/cluster.md, and what cannot be."""

import json
import re
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.apache.spark.hooks import spark_submit
from airflow.sdk.exceptions import AirflowFailException

from antenna_airflow.connections import load_spark_master
from antenna_airflow.defaults import PROJECT_ROOT, SPARK_CONNECTION
from antenna_airflow.operators.spark_submit import AntennaSparkSubmitOperator

DOCUMENT = (PROJECT_ROOT / "docs" / "cluster.md").read_text()


def example(heading: str) -> tuple[str, list[str]]:
    """The connection of a section of the document, and the command that it shows, word by word."""
    section = DOCUMENT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"```(json)?\n(.*?)```", section, re.DOTALL)
    connection = next(text for language, text in found if language)
    command = next((text for language, text in found if not language), "")
    return json.dumps(json.loads(connection)), command.split()


def connect(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{SPARK_CONNECTION.upper()}", text)


def command_of(task_id: str = "compute_hour") -> list[str]:
    """What Airflow starts for the task of antenna_batch, with paths as short as in the document."""
    dag = DagBag(PROJECT_ROOT / "dags" / "antenna_batch.py").dags["antenna_batch"]
    operator = dag.get_task(task_id)
    assert isinstance(operator, AntennaSparkSubmitOperator)
    operator._adapt_to(load_spark_master(SPARK_CONNECTION))
    words = operator._get_hook()._build_spark_submit_command(operator.application)
    shown = words[: words.index(operator.application) + 1]
    folder = Path(operator.py_files).parent if operator.py_files else PROJECT_ROOT
    return [word.replace(str(PROJECT_ROOT), "/…").replace(str(folder), "/…") for word in shown]


@pytest.mark.parametrize("heading", ["Kubernetes", "YARN"])
def test_the_document_shows_what_is_started(monkeypatch: pytest.MonkeyPatch, heading: str) -> None:
    connection, command = example(heading)
    connect(monkeypatch, connection)
    # In place of the provider for Kubernetes: the command is made without asking anybody.
    monkeypatch.setattr(spark_submit, "kube_client", object(), raising=False)
    assert command_of() == command[: command.index("…")]


def test_a_standalone_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, example("Standalone")[0])
    command = command_of()
    assert command[:3] == ["spark-submit", "--master", "spark://spark-master:7077"]
    assert [word for word in command if "=" in word] == ["spark.cores.max=4", "spark.executor.memory=2g"]
    assert command[-3:-1] == ["--deploy-mode", "client"]


def test_kubernetes_without_its_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, example("Kubernetes")[0])
    with pytest.raises(AirflowFailException, match="apache-airflow-providers-cncf-kubernetes"):
        command_of()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"host": "spark://m:7077", "extra": {"deploy-mode": "cluster"}}, "no Python driver inside"),
        ({"host": "local[2]", "extra": {"conf": "a=b"}}, "conf 'a=b' in its extra is no JSON object"),
        ({}, "names no Spark master"),
    ],
)
def test_a_connection_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], complaint: str
) -> None:
    connect(monkeypatch, json.dumps({"conn_type": "spark", **fields}))
    with pytest.raises(AirflowFailException, match=re.escape(complaint)):
        load_spark_master(SPARK_CONNECTION)
