"""The one line that is logged when a task has failed."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from antenna_airflow.callbacks import describe_failure, log_failure


def context(
    doc_md: str | None = None, exception: BaseException | None = None, tasks: tuple[str, ...] = ()
) -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="antenna_batch",
        task_id="checks.totals_agree",
        run_id="manual__1",
        xcom_pull=lambda task_ids: {"choose_hour": "2021-09-26T16:00:00+00:00"}[task_ids],
    )
    return {
        "ti": ti,
        "dag": SimpleNamespace(task_ids=list(tasks)),
        "task": SimpleNamespace(doc_md=doc_md),
        "exception": exception,
    }


def test_says_what_failed_for_which_hour_why_and_what_to_do() -> None:
    failed = context(
        "If it fails: clear\n compute_hour.", ValueError("antennas 1, apps 2\nmore"), ("choose_hour",)
    )
    assert describe_failure(failed) == (
        "FAILED antenna_batch.checks.totals_agree (run manual__1, hour 2021-09-26T16:00:00+00:00): "
        "antennas 1, apps 2 NEXT: clear compute_hour."
    )


def test_without_an_hour_a_reason_or_a_doc_it_still_says_what_to_do() -> None:
    assert describe_failure(context()) == (
        "FAILED antenna_batch.checks.totals_agree (run manual__1): no reason given "
        "NEXT: read the task's log above; "
        "when the cause is gone, clear the task: it can be run again without harm"
    )


def test_logs_it_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        log_failure(context(exception=ValueError("broken")))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "broken" in caplog.text
