"""The page "Antennas" in Airflow's own interface: a browser, a running stack, real traffic."""

import csv
import io
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from include.local_stack.status import read_status
from include.local_stack.supervision import Supervisor
from include.simulator.ledger import Ledger
from tests.browsers import assert_accessible, screenshot

from .conftest import RunningStack
from .drills import send_minute, wait_until, wait_until_consumed

DAG_ID = "antenna_batch"
# A day of its own, which the custom range can show.
START = datetime(2026, 3, 7, 10, tzinfo=UTC)
END = START + timedelta(hours=3)


@pytest.fixture(scope="module")
def traffic(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Two hours with a minute of traffic each, the first of them computed."""
    with Ledger(tmp_path_factory.mktemp("ledger") / "ledger", create=True) as ledger:
        for hour in (START, START + timedelta(hours=1)):
            send_minute(stack, ledger, hour)
        # The stack may have started a moment ago, and its first driver with it.
        wait_until_consumed(stack, seconds=180)
        run_id = stack.airflow.trigger(DAG_ID, {"timestamp": START.isoformat()})
        assert stack.airflow.wait_for_run(DAG_ID, run_id, timeout=120) == "success"
        yield ledger


def open_in_airflow(page: Page) -> FrameLocator:
    """The page in its frame, by way of the navigation."""
    page.get_by_role("link", name="Antennas").click()
    frame = page.frame_locator("iframe[title=Antennas]")
    expect(frame.locator("#verdict strong")).to_have_text("running", timeout=60_000)
    return frame


def show_range(frame: FrameLocator, by: str, step: str) -> None:
    frame.get_by_role("radio", name="Custom").check()
    frame.get_by_label("From (UTC)").fill(START.strftime("%Y-%m-%dT%H:%M"))
    frame.get_by_label("to (UTC)").fill(END.strftime("%Y-%m-%dT%H:%M"))
    frame.get_by_role("group", name="Bytes per").get_by_label(by, exact=True).check()
    frame.get_by_role("group", name="Step").get_by_label(step, exact=True).check()
    frame.get_by_role("button", name="Show", exact=True).click()


def totals(stack: RunningStack, table: str, kind: str) -> dict[str, int]:
    with stack.connect() as connection:
        rows = connection.execute(
            f"SELECT id, sum(value)::BIGINT FROM {table} "
            "WHERE type = %s AND timestamp >= %s AND timestamp < %s GROUP BY id",
            (kind, START, END),
        ).fetchall()
    return dict(rows)


def shown_totals(frame: FrameLocator) -> dict[str, int]:
    """First column -> exact bytes, of the table under the chart."""
    rows: list[list[str]] = frame.locator("#usage-table tbody tr").evaluate_all(
        "rows => rows.filter(row => row.querySelector('[title]'))"
        ".map(row => [row.cells[0].firstChild.textContent, row.querySelector('[title]').title])"
    )
    return {name: int(title.removesuffix(" bytes").replace(",", "")) for name, title in rows}


def with_all(found: dict[str, int]) -> dict[str, int]:
    return {**found, "All": sum(found.values())}


def test_numbers_equal_the_tables(stack: RunningStack, traffic: Ledger, page: Page) -> None:
    frame = open_in_airflow(page)
    for by, step, table, kind in (
        ("Antenna", "5 minutes", "bytes", "antenna_total_bytes"),
        ("App", "5 minutes", "bytes", "app_total_bytes"),
        ("App", "Hour", "bytes_hourly", "app_total_bytes"),
        ("Antenna", "Day", "bytes_hourly", "antenna_total_bytes"),
    ):
        show_range(frame, by, step)
        expected = with_all(totals(stack, table, kind))
        assert len(expected) > 3
        wait_until(lambda e=expected: shown_totals(frame) == e, 20, f"{by} by {step}: {expected}")  # type: ignore[misc]


def test_the_download_equals_the_table(stack: RunningStack, traffic: Ledger, page: Page) -> None:
    frame = open_in_airflow(page)
    show_range(frame, "User", "5 minutes")
    expect(frame.locator("#usage-note")).to_contain_text("from 2026-03-07 10:00 UTC to 2026-03-07 13:00 UTC")
    with page.expect_download() as download:
        frame.get_by_role("link", name="Download CSV").click()
    assert download.value.suggested_filename == "usage-user-5min-20260307T1000Z.csv"
    text = download.value.path().read_text()
    rows = [
        (datetime.fromisoformat(row["timestamp"]), row["id"], int(row["value"]), row["type"])
        for row in csv.DictReader(io.StringIO(text))
    ]
    with stack.connect() as connection:
        expected = connection.execute(
            "SELECT timestamp, id, value, type FROM bytes WHERE type = 'user_total_bytes' "
            "AND timestamp >= %s AND timestamp < %s ORDER BY timestamp, id",
            (START, END),
        ).fetchall()
    assert len(rows) > 20
    assert rows == expected


def test_it_refreshes_by_itself_and_keeps_what_was_chosen(
    stack: RunningStack, traffic: Ledger, page: Page
) -> None:
    frame = open_in_airflow(page)
    show_range(frame, "App", "5 minutes")
    before = with_all(totals(stack, "bytes", "app_total_bytes"))
    wait_until(lambda: shown_totals(frame) == before, 20, "what is there")
    frame.locator("#usage-chart .legendtoggle").first.click()
    send_minute(stack, traffic, START + timedelta(minutes=30))
    wait_until_consumed(stack)
    after = with_all(totals(stack, "bytes", "app_total_bytes"))
    assert after["All"] > before["All"]
    wait_until(lambda: shown_totals(frame) == after, 30, "what has come since")
    for name in ("Custom", "App", "5 minutes"):
        expect(frame.get_by_role("radio", name=name, exact=True)).to_be_checked()
    # The series that was switched off stays off.
    assert frame.locator("#usage-chart .legend .traces").first.evaluate("node => node.style.opacity") == "0.5"


def test_health_is_that_of_make_status(stack: RunningStack, traffic: Ledger, page: Page) -> None:
    frame = open_in_airflow(page)
    status = read_status(stack.settings)
    assert status.stream.word == "running"
    expect(frame.locator("#verdict")).to_contain_text(f"{status.stream.word} {status.stream.why}")
    expect(frame.locator("#figures")).to_contain_text(
        f"{status.figures.lag if status.figures else None} events"
    )
    with stack.connect() as connection:
        lag = connection.execute("SELECT lag FROM ops.stream_lag ORDER BY minute DESC LIMIT 1").fetchone()
    # The driver notes it minute by minute, for the chart.
    assert lag is not None
    frame.get_by_role("link", name="Log of the task run_stream").click()
    page.wait_for_url("**/dags/antenna_streaming/runs/*/tasks/run_stream")
    expect(page.get_by_text("events/s, lag").first).to_be_visible()


def computed_at(stack: RunningStack, hour: datetime) -> datetime | None:
    with stack.connect() as connection:
        row = connection.execute("SELECT computed_at FROM ops.hours WHERE hour = %s", (hour,)).fetchone()
    return row[0] if row else None


@pytest.fixture
def last_hour(stack: RunningStack, traffic: Ledger) -> datetime:
    """An hour of the strip, with traffic and sealed."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    send_minute(stack, traffic, hour)
    wait_until_consumed(stack)
    return hour


def test_recompute_an_hour_and_watch_it_finish(stack: RunningStack, last_hour: datetime, page: Page) -> None:
    frame = open_in_airflow(page)
    before = computed_at(stack, last_hour)
    frame.locator(f"#strip [data-key='{last_hour:%Y-%m-%dT%H:%M:%SZ}']").click()
    frame.get_by_role("button", name="Recompute this hour").click()
    expect(frame.locator("#recompute-state")).to_contain_text("The run is")
    expect(frame.locator("#recompute-state")).to_contain_text(
        "Done: the hour is computed and checked", timeout=180_000
    )
    after = computed_at(stack, last_hour)
    assert after is not None
    assert after != before
    expect(frame.locator("#hour-detail")).to_contain_text("✓ computed")
    frame.get_by_role("link", name="open the run").click()
    page.wait_for_url("**/dags/antenna_batch/runs/*")
    run = stack.airflow.runs(DAG_ID, limit=1)[0]
    assert run["conf"] == {"timestamp": f"{last_hour:%Y-%m-%dT%H:%M:%SZ}"}
    # By the person who clicked.
    assert run["triggering_user_name"] == stack.env["AIRFLOW_USER"]


def test_trigger_the_batch_with_the_form(stack: RunningStack, traffic: Ledger, page: Page) -> None:
    hour = START + timedelta(hours=1)
    assert computed_at(stack, hour) is None
    page.goto(f"/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    expect(form).to_contain_text("Hour to compute")
    fill_hour(page, hour)
    form.get_by_role("button", name="Trigger", exact=True).last.click()
    wait_until(lambda: computed_at(stack, hour) is not None, 120, "the hour of the form is computed")


def fill_hour(page: Page, hour: datetime) -> None:
    """Fill the param of the form, whose field is one for a date and a time."""
    form = page.get_by_role("dialog")
    form.get_by_text("Select date and time").first.click()
    page.get_by_placeholder("YYYY/MM/DD").fill(hour.strftime("%Y/%m/%d"))
    page.get_by_placeholder("HH:mm").fill(hour.strftime("%H:%M"))
    page.keyboard.press("Escape")


def test_a_tab_of_the_dag_begins_with_what_belongs_to_it(traffic: Ledger, page: Page) -> None:
    page.goto(f"/dags/{DAG_ID}")
    page.get_by_role("link", name="Antennas").last.click()
    frame = page.frame_locator("iframe[title=Antennas]")
    expect(frame.locator("#hours")).to_be_in_viewport(timeout=30_000)


def test_without_a_login_there_is_nothing(stack: RunningStack, browser: Browser) -> None:
    context = browser.new_context(base_url=stack.env["AIRFLOW_URL"])
    page = context.new_page()
    for path in ("/antennas/", "/antennas/static/main.js", "/antennas/data/health"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 401
        assert answer.json() == {"detail": "Not authenticated"}
    context.close()


def test_a_viewer_sees_the_figures_and_no_button(
    stack: RunningStack, last_hour: datetime, viewer_page: Page
) -> None:
    frame = open_in_airflow(viewer_page)
    frame.locator(f"#strip [data-key='{last_hour:%Y-%m-%dT%H:%M:%SZ}']").click()
    expect(frame.locator("#hour-detail")).to_contain_text("that needs the right to trigger antenna_batch")
    expect(frame.get_by_role("button", name="Recompute this hour")).to_have_count(0)
    body = {"logical_date": None, "conf": {"timestamp": last_hour.isoformat()}}
    answer = viewer_page.request.post(f"/api/v2/dags/{DAG_ID}/dagRuns", data=body)
    assert answer.status == 403


def test_axe_finds_nothing_with_real_data(traffic: Ledger, page: Page) -> None:
    open_in_airflow(page)
    for theme in ("light", "dark"):
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        page.goto("/plugin/antennas")
        expect(page.frame_locator("iframe").locator("#rejected-table code").first).to_be_attached()
        screenshot(page, f"in-airflow-{theme}")
    page.goto("/antennas/")
    expect(page.locator("#rejected-table code").first).to_be_attached()
    assert_accessible(page)


@pytest.fixture
def paused_stream(stack: RunningStack) -> Iterator[Callable[[], None]]:
    """Pause antenna_streaming, so that nobody replaces a driver; on again after the test."""
    yield lambda: stack.airflow.unpause("antenna_streaming", paused=True)
    stack.airflow.unpause("antenna_streaming")


def driver_of(stack: RunningStack) -> tuple[int, int]:
    """Epoch and pid of the driver that holds the stream."""
    with stack.connect() as connection:
        row = connection.execute("SELECT epoch, driver_pid FROM ops.streams").fetchone()
    assert row is not None
    return row[0], row[1]


def test_a_stream_that_is_killed(
    stack: RunningStack, traffic: Ledger, paused_stream: Callable[[], None], page: Page
) -> None:
    frame = open_in_airflow(page)
    paused_stream()
    epoch, pid = driver_of(stack)
    os.kill(pid, signal.SIGKILL)
    verdict = frame.locator("#verdict")
    expect(verdict).to_contain_text("stalled the driver", timeout=40_000)
    expect(verdict).to_contain_text("look at the log of run_stream in antenna_streaming")
    expect(verdict.get_by_role("link", name="Log of the task run_stream")).to_be_visible()
    screenshot(page, "stream-killed")
    stack.airflow.unpause("antenna_streaming")
    wait_until(lambda: driver_of(stack)[0] > epoch, 90, "another driver")
    expect(verdict).to_contain_text("running", timeout=60_000)


def test_postgresql_down_and_back(stack: RunningStack, traffic: Ledger, page: Page) -> None:
    """Airflow's own database is on this server too, so Airflow itself answers with errors meanwhile."""
    frame = open_in_airflow(page)
    show_range(frame, "App", "5 minutes")
    expect(frame.locator("#usage-table .total")).to_be_visible()
    supervisor = Supervisor(stack.settings)
    supervisor.stop_program("postgres")
    try:
        alert = frame.get_by_role("alert")
        expect(alert).to_contain_text("PostgreSQL", timeout=30_000)
        expect(frame.locator("#verdict")).to_contain_text("unknown it was running")
        screenshot(page, "postgresql-down")
    finally:
        supervisor.start_program("postgres")
    expect(frame.get_by_role("alert")).to_be_hidden(timeout=60_000)
    expect(frame.get_by_role("radio", name="App", exact=True)).to_be_checked()
    wait_until(lambda: all_healthy(stack), 120, "Airflow is well again")


def all_healthy(stack: RunningStack) -> bool:
    health: dict[str, Any] = httpx.get(
        f"{stack.env['AIRFLOW_URL']}/api/v2/monitor/health", trust_env=False
    ).json()
    return {part["status"] for part in health.values()} == {"healthy"}
