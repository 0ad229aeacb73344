"""Each SQL check passes on right data and fails on wrong data with the figures, on a real PostgreSQL."""

from collections.abc import Callable

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from .conftest import commit

CHECKS = (
    "hour_equals_windows",
    "hour_equals_archive",
    "totals_agree",
    "quota_limits_exceeded",
    "no_records_lost",
)


@pytest.mark.parametrize("check", CHECKS)
def test_right_hour_passes(
    good_hour: psycopg.Connection, run_check: Callable[[str], None], check: str
) -> None:
    run_check(check)


@pytest.mark.parametrize("check", CHECKS)
def test_empty_hour_passes_once_computed(
    connection: psycopg.Connection, run_check: Callable[[str], None], check: str
) -> None:
    connection.execute("INSERT INTO ops.hours VALUES ('2021-09-26 16:00Z', 0, 0, 0, now())")
    run_check(check)


@pytest.mark.parametrize("check", ["hour_equals_windows", "hour_equals_archive"])
def test_hour_that_was_not_computed_fails(
    connection: psycopg.Connection, run_check: Callable[[str], None], check: str
) -> None:
    with pytest.raises(AirflowFailException, match="hour 2021-09-26 16:00:00"):
        run_check(check)


@pytest.mark.parametrize("check", CHECKS)
def test_late_events_that_the_batch_did_not_cover_yet_are_accounted_for(
    good_hour: psycopg.Connection, run_check: Callable[[str], None], check: str
) -> None:
    commit(good_hour, 3, rows=2, total_bytes=50)
    for kind, key in (("antenna", "a"), ("user", "1"), ("app", "SKYPE")):
        good_hour.execute(
            "INSERT INTO bytes (timestamp, type, id, value) VALUES ('2021-09-26 16:30Z', %s, %s, 50)",
            (f"{kind}_total_bytes", key),
        )
    run_check(check)


@pytest.mark.parametrize(
    ("check", "removal"),
    [
        ("hour_equals_windows", "DELETE FROM bytes"),
        ("hour_equals_archive", "DELETE FROM ops.archive_files"),
    ],
)
def test_what_retention_removed_is_not_compared(
    good_hour: psycopg.Connection, run_check: Callable[[str], None], check: str, removal: str
) -> None:
    good_hour.execute(removal.encode())
    with pytest.raises(AirflowFailException, match=f"Check {check} failed"):
        run_check(check)
    good_hour.execute("UPDATE ops.hours SET archive_removed_at = now(), windows_removed_at = now()")
    run_check(check)


def test_what_the_batch_read_is_compared_also_without_the_archive(
    good_hour: psycopg.Connection, run_check: Callable[[str], None]
) -> None:
    good_hour.execute("DELETE FROM ops.archive_files")
    good_hour.execute("UPDATE ops.hours SET archive_removed_at = '2022-01-01Z', total_bytes = 313")
    with pytest.raises(
        AirflowFailException, match=r"read 313 bytes .*; retention removed the archive at 2022"
    ):
        run_check("hour_equals_archive")


@pytest.mark.parametrize(
    ("check", "damage", "figures"),
    [
        (
            "hour_equals_windows",
            "UPDATE bytes SET value = value + 1 WHERE id = 'a' AND timestamp = '2021-09-26 16:00Z'",
            r"bytes_hourly 312 \+ late events 0 = 312; "
            "twelve windows in bytes: antennas 313, devices 312, apps 312",
        ),
        (
            "hour_equals_windows",
            "UPDATE bytes SET value = value - 1 WHERE id = '2' AND timestamp = '2021-09-26 16:55Z'",
            "antennas 312, devices 311, apps 312",
        ),
        (
            "hour_equals_windows",
            "DELETE FROM bytes WHERE type = 'app_total_bytes' AND timestamp = '2021-09-26 16:55Z'",
            "antennas 312, devices 312, apps 100",
        ),
        ("hour_equals_windows", "TRUNCATE bytes", "antennas 0, devices 0, apps 0"),
        ("hour_equals_windows", "TRUNCATE bytes_hourly", "bytes_hourly 0 .* antennas 312"),
        (
            "hour_equals_windows",
            "UPDATE ops.hours SET covered_commit_id = 1",
            r"bytes_hourly 312 \+ late events 12 = 324; twelve windows in bytes: antennas 312",
        ),
        ("hour_equals_windows", "TRUNCATE ops.hours", "the batch job has run: f"),
        (
            "hour_equals_archive",
            "UPDATE ops.archive_files SET total_bytes = 301 WHERE total_bytes = 300",
            "bytes_hourly 312; the batch job read 312 bytes in 4 events; "
            "the 2 archive files up to commit 2 hold 313 bytes in 4 events",
        ),
        (
            "hour_equals_archive",
            "DELETE FROM bytes_hourly WHERE id = 'a' AND timestamp = '2021-09-26 16:00Z'",
            "bytes_hourly 212; the batch job read 312 bytes",
        ),
        ("hour_equals_archive", "UPDATE ops.hours SET events = 5", "in 5 events; .* 312 bytes in 4 events"),
        (
            "hour_equals_archive",
            "UPDATE ops.hours SET covered_commit_id = 1",
            "the 1 archive files up to commit 1",
        ),
        (
            "hour_equals_archive",
            "TRUNCATE ops.hours",
            "read no bytes in no events; .* commit none hold 0 bytes",
        ),
        (
            "totals_agree",
            "UPDATE bytes_hourly SET value = 313 WHERE type = 'app_total_bytes' AND value = 312",
            "antennas 312, apps 313, mails 312",
        ),
        (
            "totals_agree",
            "DELETE FROM bytes_hourly WHERE id = 'unknown'",
            "antennas 312, apps 312, mails 100",
        ),
        (
            "totals_agree",
            "DELETE FROM bytes_hourly WHERE type = 'antenna_total_bytes'",
            "antennas 0, apps 312, mails 312",
        ),
        (
            "quota_limits_exceeded",
            "UPDATE user_quota_limit SET quota = 100",
            r"1 users over quota, wrong rows: ana@x\.org usage 100 quota 100 \(bytes_hourly 100\)",
        ),
        (
            "quota_limits_exceeded",
            "UPDATE user_quota_limit SET usage = 101",
            r"ana@x\.org usage 101 quota 99 \(bytes_hourly 100\)",
        ),
        (
            "quota_limits_exceeded",
            "DELETE FROM bytes_hourly WHERE id = 'ana@x.org'",
            r"ana@x\.org usage 100 quota 99 \(bytes_hourly none\)",
        ),
        (
            "no_records_lost",
            "INSERT INTO ops.lost_offsets (topic, partition, first_offset, last_offset, acknowledged_at) "
            "VALUES ('devices', 2, 7, 9, NULL), ('devices', 0, 5, 5, NULL), ('devices', 1, 5, 5, now())",
            "acknowledged: 2: devices partition 0 offsets 5 to 5; devices partition 2 offsets 7 to 9",
        ),
    ],
)
def test_wrong_data_fails_with_the_figures(
    good_hour: psycopg.Connection, run_check: Callable[[str], None], check: str, damage: str, figures: str
) -> None:
    good_hour.execute(damage)
    with pytest.raises(
        AirflowFailException, match=f"Check {check} failed: hour 2021-09-26 16:00:00.*{figures}"
    ):
        run_check(check)
