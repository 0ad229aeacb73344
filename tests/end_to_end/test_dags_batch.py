"""antenna_batch, late_hours and provision_schema under the real scheduler, compared with what was sent."""

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from antenna_airflow.defaults import QUERIES
from include.local_stack.settings import PROJECT_ROOT, StackError
from include.simulator.ledger import Ledger, compare_with_database, read_users

from .conftest import RunningStack
from .drills import send_minute, wait_until, wait_until_consumed

# A day of its own, so that no other traffic falls into it.
DAY = datetime(2021, 3, 5, tzinfo=UTC)
HOUR = DAY.replace(hour=16)
LATE_HOURS = (QUERIES / "late_hours.sql").read_bytes()
USERS = read_users(PROJECT_ROOT / "include" / "provisioner" / "user_metadata.csv")

Sender = Callable[[datetime], None]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger(tmp_path_factory.mktemp("ledger") / "ledger", create=True) as ledger:
        yield ledger


@pytest.fixture
def send_traffic(stack: RunningStack, ledger: Ledger) -> Sender:
    """Send a minute of traffic from a start on, and wait until the stream has committed it."""

    def run(start: datetime) -> None:
        send_minute(stack, ledger, start)
        wait_until_consumed(stack)

    return run


def run_batch(stack: RunningStack, conf: dict[str, object]) -> None:
    run_id = stack.airflow.trigger("antenna_batch", conf)
    state = stack.airflow.wait_for_run("antenna_batch", run_id, timeout=120)
    assert state == "success", stack.airflow.failure("antenna_batch", run_id)


def computed(stack: RunningStack) -> dict[datetime, tuple[int, datetime]]:
    """Hour of DAY -> its events, and when it was computed."""
    with stack.connect() as connection:
        rows = connection.execute(
            "SELECT hour, events, computed_at FROM ops.hours WHERE hour >= %s AND hour < %s",
            (DAY, DAY + timedelta(days=1)),
        ).fetchall()
    return {hour: (events, at) for hour, events, at in rows}


def differences(stack: RunningStack, ledger: Ledger, hours: list[datetime]) -> list[str]:
    with stack.connect() as connection:
        return compare_with_database(ledger, connection, USERS, hours)


def test_provisioning_again_changes_nothing(stack: RunningStack) -> None:
    def look() -> list[object]:
        with stack.connect() as connection:
            return [
                connection.execute(
                    "SELECT id, name, email, quota, xmin::text FROM user_metadata ORDER BY id"
                ).fetchall(),
                connection.execute("TABLE ops._yoyo_migration").fetchall(),
            ]

    before = look()
    run_id = stack.airflow.trigger("provision_schema")
    assert stack.airflow.wait_for_run("provision_schema", run_id, timeout=60) == "success"
    assert look() == before


@pytest.mark.parametrize("timestamp", ["2021-03-05T17:00:00", "2021-03-05", "yesterday", 1614956400, "", {}])
def test_a_bad_timestamp_is_refused_when_the_run_is_triggered(stack: RunningStack, timestamp: object) -> None:
    before = len(stack.airflow.runs("antenna_batch", run_type="manual"))
    with pytest.raises(
        StackError, match=r"(?s): 400 .*Invalid input for param timestamp.*2021-09-26T17:00:00\+01:00"
    ):
        stack.airflow.trigger("antenna_batch", {"timestamp": timestamp})
    assert len(stack.airflow.runs("antenna_batch", run_type="manual")) == before


def test_an_hour_of_the_calendar_that_does_not_exist_fails_before_spark_starts(stack: RunningStack) -> None:
    """It has the form of a timestamp, so only the first task can tell."""
    run_id = stack.airflow.trigger("antenna_batch", {"timestamp": "2021-02-30T17:00:00+01:00"})
    assert stack.airflow.wait_for_run("antenna_batch", run_id, timeout=60) == "failed"
    states = {ti["task_id"]: ti["state"] for ti in stack.airflow.task_instances("antenna_batch", run_id)}
    assert states.pop("choose_hour") == "failed"
    assert set(states.values()) == {"upstream_failed"}
    log = stack.airflow.task_log("antenna_batch", run_id, "choose_hour")
    assert "FAILED antenna_batch.choose_hour" in log
    assert "timestamp '2021-02-30T17:00:00+01:00' is not an ISO 8601 date and time" in log
    assert "NEXT: give a timestamp as the message says. Spark was not started." in log


def test_an_instant_means_the_utc_hour_that_contains_it(
    stack: RunningStack, send_traffic: Sender, ledger: Ledger
) -> None:
    send_traffic(HOUR)
    send_traffic(HOUR + timedelta(hours=1))
    run_batch(stack, {"timestamp": "2021-03-05T17:35:00+01:00"})
    assert list(computed(stack)) == [HOUR]
    assert differences(stack, ledger, [HOUR]) == []


def wait_for_backfill(stack: RunningStack, hours: list[datetime]) -> None:
    """Wait until backfill runs have computed these hours and succeeded."""

    def succeeded() -> set[str]:
        runs = stack.airflow.runs("antenna_batch", run_type="backfill", state="success")
        return {run["logical_date"] for run in runs}

    wanted = {hour.strftime("%Y-%m-%dT%H:%M:%SZ") for hour in hours}
    wait_until(lambda: wanted <= succeeded(), 240, f"backfill of {wanted}")
    assert set(hours) <= computed(stack).keys()


def test_backfill_of_ten_hours_by_the_command_line(
    stack: RunningStack, send_traffic: Sender, ledger: Ledger, tmp_path: Path
) -> None:
    send_traffic(DAY + timedelta(hours=7))
    hours = [DAY + timedelta(hours=number) for number in range(10)]
    command = ["airflow", "backfill", "create", "--dag-id", "antenna_batch"]
    dates = ["--from-date", hours[0].isoformat(), "--to-date", hours[-1].isoformat()]
    subprocess.run([*command, *dates], env=stack.process_env, cwd=tmp_path, check=True, capture_output=True)
    wait_for_backfill(stack, hours)
    assert differences(stack, ledger, hours) == []


def test_backfill_clicked_in_the_browser(
    stack: RunningStack, send_traffic: Sender, ledger: Ledger, page: Page
) -> None:
    hours = [DAY + timedelta(hours=number) for number in (20, 21)]
    send_traffic(hours[1])
    page.goto("/dags/antenna_batch")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    form.get_by_text("Backfill", exact=True).click()
    for hour in hours:
        # A filled field shows its date; the first that is left is the next one: From, then To.
        form.get_by_text("Select date and time").first.click()
        page.get_by_placeholder("YYYY/MM/DD").fill(hour.strftime("%Y/%m/%d"))
        page.get_by_placeholder("HH:mm").fill(hour.strftime("%H:%M"))
        page.keyboard.press("Escape")
        expect(page.get_by_placeholder("YYYY/MM/DD")).to_have_count(0)
    form.get_by_role("button", name="Run Backfill").click()
    wait_for_backfill(stack, hours)
    assert differences(stack, ledger, hours) == []


def test_late_events_have_their_hours_computed_again_and_no_others(
    stack: RunningStack, send_traffic: Sender, ledger: Ledger
) -> None:
    late = [HOUR, DAY + timedelta(hours=3)]
    before = computed(stack)
    for hour in late:
        send_traffic(hour + timedelta(minutes=30))
    run_id = stack.airflow.trigger("late_hours")
    assert stack.airflow.wait_for_run("late_hours", run_id, timeout=180) == "success"

    def is_late(hour: datetime) -> bool:
        with stack.connect() as connection:
            return (hour,) in connection.execute(LATE_HOURS).fetchall()

    # A scheduled run of late_hours may have been first.
    wait_until(lambda: not any(map(is_late, late)), 120, "late hours computed")
    after = computed(stack)
    assert {hour for hour in after if after[hour] != before.get(hour)} == set(late)
    assert differences(stack, ledger, list(after)) == []
