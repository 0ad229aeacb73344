"""The page in a real browser, in the states that a stack seldom shows."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from playwright.sync_api import Page, expect

from antenna_airflow.defaults import READER_CONNECTION
from include.local_stack.settings import free_port
from metering.archive import REJECTED, REJECTED_FILE_SCHEMA, Storage
from tests.browsers import assert_accessible, screenshot
from tests.conftest import Database

from .conftest import HOUR, OpenPage
from .test_data import insert_batch, insert_file, insert_stream, insert_totals

HTML = "<img src=x onerror=\"document.title='broken in'\"><b>bold</b>"


@pytest.fixture
def quiet(connection: psycopg.Connection) -> psycopg.Connection:
    """A stream at work, without a single event so far."""
    insert_stream(connection)
    return connection


@pytest.fixture
def busy(
    quiet: psycopg.Connection, this_hour: datetime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> psycopg.Connection:
    """Six hours: 3 antennas, 2 apps, 3 users; one hour late, one not computed; a record that is HTML."""
    monkeypatch.setenv("AIRFLOW_VAR_ANTENNA_STORAGE", str(tmp_path))
    quiet.execute(
        "INSERT INTO user_metadata SELECT n::text, 'n', 'u' || n || '@x.org', 900 "
        "FROM generate_series(1, 3) AS n"
    )
    quiet.execute("UPDATE ops.stream_offsets SET event_clock = now(), caught_up_at = now()")
    first = insert_batch(quiet, 300, {"not_json": 2, "negative": 1})
    for back in range(6, -1, -1):
        hour = this_hour - back * HOUR
        rows: list[tuple[object, ...]] = [
            (hour, kind, name, 100 * number * (7 - back))
            for kind, names in (
                ("antenna_total_bytes", ("a1", "a2", "a3")),
                ("app_total_bytes", ("SKYPE", "X", "Y")),
            )
            for number, name in enumerate(names, 1)
        ]
        users: list[tuple[object, ...]] = [
            (hour, "user_total_bytes", str(n), 100 * n * (7 - back)) for n in (1, 2, 3)
        ]
        insert_totals(quiet, "bytes", rows + users)
        insert_file(quiet, hour, 10, first)
        if back not in (0, 1):
            mails: list[tuple[object, ...]] = [
                (hour, "mail_total_bytes", f"u{n}@x.org", 100 * n * (7 - back)) for n in (1, 2, 3)
            ]
            insert_totals(quiet, "bytes_hourly", rows + mails)
            quiet.execute("INSERT INTO ops.hours VALUES (%s, %s, 10, 100, now())", (hour, first))
    insert_file(quiet, this_hour - 3 * HOUR, 4, insert_batch(quiet, 4, {}))
    storage = Storage(str(tmp_path))
    record = {
        "topic": "devices",
        "partition": 0,
        "offset": 7,
        "kafka_timestamp": this_hour,
        "reason": "not_json",
    }
    table = pa.Table.from_pylist(
        [{**record, "detail": "", "value": HTML.encode()}], schema=REJECTED_FILE_SCHEMA
    )
    file = storage.stage([table], REJECTED, int(this_hour.timestamp()), 7, {0: (7, 7)}, 0)
    storage.publish([file])
    quiet.execute(
        "INSERT INTO ops.archive_files VALUES (%s, 'rejected', %s, 1, 0, 1, '{}', %s)",
        (file.path, this_hour, first),
    )
    return quiet


def test_before_provisioning(open_page: OpenPage, reader_connection: Database) -> None:
    with reader_connection.connect() as connection:
        connection.execute("DROP SCHEMA ops CASCADE")
        connection.execute("DROP TABLE bytes, bytes_hourly, user_metadata, user_quota_limit CASCADE")
    page = open_page()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The tables are not there yet")
    expect(alert.get_by_role("link", name="Open the DAG provision_schema")).to_have_attribute(
        "href", f"{page.url.removesuffix('antennas/')}dags/provision_schema"
    )
    expect(page.get_by_role("heading", name="Usage")).to_be_hidden()
    screenshot(page, "not-provisioned")
    assert_accessible(page)


def test_first_start_with_an_empty_database(open_page: OpenPage, connection: psycopg.Connection) -> None:
    page = open_page()
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("stopped no streaming job has started yet")
    expect(verdict).to_contain_text("Next: turn on the DAG antenna_streaming")
    expect(page.locator("#usage-note")).to_contain_text("Nothing was counted in this range")
    expect(page.locator("#quotas-table")).to_contain_text("No users are known: provision_schema loads them.")
    expect(page.locator("#rejected-note")).to_have_text("None in the last day.")
    expect(page.locator("#strip button")).to_have_count(48)
    expect(page.locator("#legend")).to_have_text("○ open· no events")
    # No empty frames.
    expect(page.locator(".chart:visible")).to_have_count(0)
    expect(page.get_by_role("alert")).to_be_hidden()
    screenshot(page, "first-start-empty", whole=True)
    assert_accessible(page)


def test_a_database_that_goes_away_and_comes_back(
    open_page: OpenPage,
    busy: psycopg.Connection,
    connection_env: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = open_page()
    page.get_by_role("radio", name="App").check()
    expect(page.locator("#usage-table")).to_contain_text("SKYPE")
    name = f"AIRFLOW_CONN_{READER_CONNECTION.upper()}"
    with monkeypatch.context() as patch:
        patch.setenv(name, json.dumps({"conn_type": "postgres", "host": "127.0.0.1", "port": free_port()}))
        expect(page.get_by_role("alert")).to_contain_text("PostgreSQL does not answer")
        expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
        expect(page.locator("#clock")).to_contain_text("Figures of")
        # Nobody reads that all is well; what was known stays in sight.
        expect(page.locator("#verdict")).to_contain_text("unknown it was running when it was last seen")
        expect(page.locator("#usage-table")).to_contain_text("SKYPE")
        screenshot(page, "database-down")
        assert_accessible(page)
    expect(page.get_by_role("alert")).to_be_hidden(timeout=40_000)
    expect(page.locator("#verdict")).to_contain_text("running what has come is counted")
    expect(page.get_by_role("radio", name="App")).to_be_checked()


def test_an_airflow_that_hangs_is_told(open_page: OpenPage, busy: psycopg.Connection) -> None:
    page = open_page()
    expect(page.locator("#verdict")).to_contain_text("running")
    # Asked, but never answered.
    page.route("**/data/health?*", lambda route: None)
    expect(page.get_by_role("alert")).to_contain_text("Airflow does not answer", timeout=30_000)
    expect(page.locator("#verdict")).to_contain_text("unknown")


@pytest.mark.parametrize(
    ("change", "word", "next_step"),
    [
        (
            "state = 'failed', message = 'no space left'",
            "stopped the last driver failed: no space left",
            "Airflow starts a new one",
        ),
        (
            "heartbeat_at = now() - interval '1 minute'",
            "stalled the driver (pid 4711) gave no sign of life",
            "look at the log",
        ),
        ("last_commit_at = now() - interval '1 minute'", "stalled 30 records wait", "look at the log"),
    ],
)
def test_a_stream_that_is_not_well(
    open_page: OpenPage, quiet: psycopg.Connection, change: str, word: str, next_step: str
) -> None:
    quiet.execute(f"UPDATE ops.streams SET {change}".encode())
    page = open_page()
    expect(page.locator("#verdict")).to_contain_text(word)
    expect(page.locator("#verdict")).to_contain_text(
        f"Next: {next_step}" if next_step[0] == "A" else next_step
    )
    expect(page.locator("#verdict .bad")).to_be_visible()


def test_lag_of_a_million(open_page: OpenPage, quiet: psycopg.Connection) -> None:
    insert_batch(quiet, 3_000, {})
    quiet.execute("UPDATE ops.stream_offsets SET log_end_offset = 1000100 WHERE partition = 0")
    page = open_page()
    expect(page.locator("#verdict")).to_contain_text(
        "catching up 1,000,000 records wait, about 10000 s to go"
    )
    expect(page.locator("#figures")).to_contain_text("1,000,000 events")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_themes_widths_and_axe(open_page: OpenPage, busy: psycopg.Connection, theme: str, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 844})
    expect(page.locator("#rejected-table")).to_contain_text("<img")
    # As Airflow does it, in the document around the page.
    page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", theme)
    expect(page.locator("#rejected-table")).to_contain_text("<img")
    page.get_by_role("button", name="u3@x.org").click()
    expect(page.locator("#history-note")).to_contain_text("hours with traffic")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    screenshot(page, f"states-{theme}-{width}", whole=True)
    assert_accessible(page)


def test_a_theme_that_is_changed_in_airflow_is_taken_over(
    open_page: OpenPage, busy: psycopg.Connection
) -> None:
    page = open_page(color_scheme="light")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(page.locator("#usage-chart .main-svg").first).to_be_visible()
    ground = page.evaluate("getComputedStyle(document.body).color")
    other = page.context.new_page()
    other.goto("/antennas/static/antenna.svg")
    other.evaluate("localStorage.setItem('theme', 'dark')")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).color") != ground


def test_a_payload_stays_text(open_page: OpenPage, busy: psycopg.Connection) -> None:
    page = open_page()
    expect(page.locator("#rejected-table code")).to_have_text(HTML)
    assert page.locator("#rejected-table :is(img, b)").count() == 0
    assert page.title() == "Antennas"


def test_hours_by_keyboard(open_page: OpenPage, busy: psycopg.Connection, this_hour: datetime) -> None:
    page = open_page()
    pressed = page.locator("#strip [aria-pressed=true]")
    # The newest that is not as it should be.
    expect(pressed).to_have_attribute("data-key", iso(this_hour - HOUR))
    expect(page.locator("#hour-detail")).to_contain_text("sealed, not computed")
    pressed.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#strip :focus")).to_have_attribute("data-key", iso(this_hour - 3 * HOUR))
    expect(page.locator("#hour-detail")).to_contain_text("late events since")
    page.keyboard.press("Home")
    expect(page.locator("#strip :focus")).to_have_attribute("data-key", iso(this_hour - 47 * HOUR))
    expect(page.locator("#hour-detail")).to_contain_text("No event of this hour has come.")
    page.keyboard.press("End")
    expect(page.locator("#hour-detail")).to_contain_text("computed by itself once it is over")
    # The focus outlives a refresh.
    with page.expect_response("**/data/hours?*"):
        pass
    page.wait_for_timeout(300)
    expect(page.locator("#strip :focus")).to_have_attribute("data-key", iso(this_hour))


def iso(hour: datetime) -> str:
    return f"{hour:%Y-%m-%dT%H:%M:%SZ}"


def test_a_viewer_has_no_button(open_page: OpenPage, busy: psycopg.Connection) -> None:
    admin, viewer = open_page("admin"), open_page("viewer")
    expect(admin.get_by_role("button", name="Recompute this hour")).to_be_visible()
    expect(viewer.locator("#hour-detail")).to_contain_text("that needs the right to trigger antenna_batch")
    expect(viewer.get_by_role("button", name="Recompute this hour")).to_have_count(0)


def test_ten_thousand_users(open_page: OpenPage, quiet: psycopg.Connection, this_hour: datetime) -> None:
    quiet.execute(
        "INSERT INTO user_metadata SELECT 'device-' || n, 'n', 'user' || n || '@x.org', 1000000 "
        "FROM generate_series(1, 10000) AS n"
    )
    quiet.execute(
        "INSERT INTO bytes SELECT %s::timestamptz + step * interval '5 minutes', 'device-' || n, "
        "100 * n, 'user_total_bytes' FROM generate_series(1, 10000) AS n, generate_series(0, 1) AS step",
        (this_hour,),
    )
    quiet.execute(
        "INSERT INTO bytes SELECT timestamp, 'X', sum(value), 'app_total_bytes' FROM bytes GROUP BY timestamp"
    )
    page = open_page()
    # 200 n > 1,000,000 for n > 5,000; from 80 % on for n >= 4,000.
    expect(page.locator("#quotas-note")).to_contain_text("5,000 over quota, 1,001 near it")
    expect(page.locator("#quotas-pager")).to_contain_text("Page 1 of 400, 10,000 users")
    expect(page.locator("#quotas-table tbody tr")).to_have_count(25)
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#quotas-pager")).to_contain_text("Page 2 of 400")
    page.get_by_role("searchbox").fill("USER10000@")
    expect(page.locator("#quotas-table tbody tr")).to_have_count(1)
    expect(page.locator("#quotas-table")).to_contain_text("2.00 MB")
    page.get_by_role("radio", name="User", exact=True).check()
    expect(page.locator("#usage-table")).to_contain_text("all 9,992 others")
    expect(page.locator("#usage-table")).to_contain_text("user10000@x.org")
    screenshot(page, "ten-thousand-users", whole=True)


def test_a_range_that_is_too_long_is_told(open_page: OpenPage, busy: psycopg.Connection) -> None:
    page = open_page()
    page.get_by_role("radio", name="Custom").check()
    page.get_by_label("From (UTC)").fill("2020-01-01T00:00")
    page.get_by_label("to (UTC)").fill("2026-01-01T00:00")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#usage-note")).to_contain_text("longer than 92 days")


def test_hover_tells_utc_and_local_time(open_page: OpenPage, busy: psycopg.Connection) -> None:
    page: Page = open_page()
    page.get_by_role("radio", name="6 hours").check()
    expect(page.locator("#usage-table .total")).to_contain_text("kB")
    chart = page.locator("#usage-chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.move(box["x"] + 305, box["y"] + 200, steps=3)
    hover = page.locator("#usage-chart .hoverlayer")
    expect(hover).to_contain_text("UTC")
    expect(hover).to_contain_text("CE")
