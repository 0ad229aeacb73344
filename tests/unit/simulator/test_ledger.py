"""The ledger's arithmetic on literal rows and on the original data, and its storage."""

import json
import sqlite3
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.simulator.ledger import (
    Counts,
    Ledger,
    LedgerError,
    Pending,
    QuotaRow,
    SenderState,
    TotalRow,
    User,
    read_users,
)
from include.simulator.ledger.__main__ import main
from include.simulator.tally import Tally

DATA = Path(__file__).parents[2] / "data"
USERS_CSV = DATA / "user_metadata.csv"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger", create=True)


def original_tally() -> Tally:
    """What comes of the 440 original messages, three of which are not JSON."""
    tally = Tally()
    for line in (DATA / "original_events.jsonl").read_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            tally.verdicts["not_json"] += 1
            continue
        tally.add(
            event_time=event["timestamp"],
            device=event["id"],
            antenna=event["antenna_id"],
            app=event["app"],
            size=event["bytes"],
        )
    return tally


@pytest.mark.parametrize("table", ["bytes", "bytes_hourly", "user_quota_limit"])
def test_original_events_give_the_original_tables(
    ledger: Ledger, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.record(original_tally())
    assert ledger.counts() == Counts(440, 437, 0, 0, {"not_json": 3})
    arguments = ["expected", "--ledger", str(ledger.path), "--users", str(USERS_CSV), "--table", table]
    assert main(arguments) == 0
    assert capsys.readouterr().out == (DATA / f"original_{table}.csv").read_text()


def test_windows_hours_and_owners_by_hand(ledger: Ledger) -> None:
    tally = Tally()
    # 10:59:59, 11:00:00, 11:04:59, 11:05:00 on 24 November 2026.
    for event_time, device, size in (
        (1_795_517_999, "a", 5),
        (1_795_518_000, "a", 10),
        (1_795_518_299, "b", 20),
        (1_795_518_300, "nobody's", 0),
    ):
        tally.add(event_time=event_time, device=device, antenna="x", app="SKYPE", size=size)
    ledger.record(tally)
    users = {"a": User("one@x", 10), "b": User("one@x", 19), "silent": User("one@x", 0), "z": User("z@x", 0)}
    ten, eleven = (datetime(2026, 11, 24, hour, tzinfo=UTC) for hour in (10, 11))
    assert [row for row in ledger.expected_bytes() if row.type != "antenna_total_bytes"] == [
        TotalRow(ten.replace(minute=55), "SKYPE", 5, "app_total_bytes"),
        TotalRow(ten.replace(minute=55), "a", 5, "user_total_bytes"),
        TotalRow(eleven, "SKYPE", 30, "app_total_bytes"),
        TotalRow(eleven, "a", 10, "user_total_bytes"),
        TotalRow(eleven, "b", 20, "user_total_bytes"),
        TotalRow(eleven.replace(minute=5), "SKYPE", 0, "app_total_bytes"),
        TotalRow(eleven.replace(minute=5), "nobody's", 0, "user_total_bytes"),
    ]
    assert ledger.expected_bytes_hourly(users) == [
        TotalRow(ten, "x", 5, "antenna_total_bytes"),
        TotalRow(ten, "SKYPE", 5, "app_total_bytes"),
        TotalRow(ten, "one@x", 5, "mail_total_bytes"),
        TotalRow(eleven, "x", 30, "antenna_total_bytes"),
        TotalRow(eleven, "SKYPE", 30, "app_total_bytes"),
        TotalRow(eleven, "one@x", 30, "mail_total_bytes"),
        TotalRow(eleven, "unknown", 0, "mail_total_bytes"),
    ]
    assert ledger.expected_user_quota_limit(users) == [QuotaRow("one@x", 30, 29, eleven)]
    users["silent"] = User("one@x", 1)
    assert ledger.expected_user_quota_limit(users) == [], "usage equal to the quota is within it"


def test_sums_beyond_64_bits_stay_exact(ledger: Ledger) -> None:
    for _ in range(3):
        tally = Tally()
        tally.add(event_time=0, device="d", antenna="x", app="SKYPE", size=2**63 - 1)
        ledger.record(tally)
    assert {row.value for row in ledger.expected_bytes()} == {3 * (2**63 - 1)}


def test_a_block_counts_when_it_is_delivered_and_not_before(ledger: Ledger) -> None:
    lines = [b'{"a":1}', None, b"", b"\0\n\xff", b'{"a":1}']
    tally = original_tally()
    ledger.begin("live", SenderState("devices", "plan", 100, {0: 5, 1: 0}), Pending(160, lines, tally))
    with Ledger(ledger.path) as reopened:
        assert reopened.counts().sent == 0
        assert reopened.pending("live") == Pending(160, lines, tally)
        assert reopened.pending_tallies() == {"live": tally}
        assert reopened.state("live") == SenderState("devices", "plan", 100, {0: 5, 1: 0})
        reopened.delivered("live")
        assert reopened.counts().sent == 440
        assert reopened.totals() == tally.totals
        assert reopened.pending("live") is None
        state = reopened.state("live")
        assert state is not None
        assert state.next_second == 160


def test_two_processes_cannot_send_under_one_name(ledger: Ledger) -> None:
    with (
        ledger.sending("live", "devices"),
        Ledger(ledger.path) as other,
        other.sending("bounded", "devices"),
        pytest.raises(LedgerError, match="another process sends as 'live'"),
        other.sending("live", "devices"),
    ):
        pass
    with ledger.sending("live", "devices"):
        pass


def test_a_ledger_belongs_to_one_topic(ledger: Ledger) -> None:
    ledger.begin("live", SenderState("devices", "plan", 0, {}), Pending(1, [], Tally()))
    with (
        pytest.raises(LedgerError, match="belongs to topic 'devices', not 'others'"),
        ledger.sending("x", "others"),
    ):
        pass


def test_what_is_no_ledger_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
    text = tmp_path / "text"
    text.write_text("not a database, but long enough to be looked at" * 10)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(text, create=True)
    foreign = tmp_path / "foreign"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE other (a)")
    connection.close()
    with pytest.raises(LedgerError, match="is no ledger of format 1"):
        Ledger(foreign, create=True)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(text / "below-a-file", create=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,email,quota\nd,e@x,12.5\n", "row 2 must have"),
        ("id,email,quota\nd,,5\n", "row 2 must have"),
        ("id,email\nd,e@x\n", "row 2 must have"),
    ],
)
def test_broken_users_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "users.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_users(path)


def test_users_are_read_by_device() -> None:
    users = read_users(USERS_CSV)
    assert len(users) == 20
    assert users["00000000-0000-0000-0000-000000000004"] == User("fede@gmail.com", 5000)
    assert Counter(user.email for user in users.values()).most_common(1)[0][1] == 1


def test_command_errors_fit_on_one_line(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTENNA_DB_URL", raising=False)
    shared = ["--ledger", str(ledger.path), "--users", str(USERS_CSV)]
    for arguments, message in (
        (["compare", *shared], "environment variable ANTENNA_DB_URL is not set"),
        (["compare", *shared, "--hours", "2026-11-24T16:30:00Z"], "is not the start of an hour in UTC"),
        (["compare", *shared, "--hours", "2026-11-24T16:00:00"], "has no offset"),
        (
            ["expected", "--ledger", "missing", "--users", str(USERS_CSV), "--table", "bytes"],
            "there is no ledger",
        ),
        (
            ["expected", "--ledger", str(ledger.path), "--users", "missing", "--table", "bytes"],
            "cannot be read",
        ),
    ):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        error = capsys.readouterr().err
        assert code == 2
        assert message in error
        assert error.count("\n") == 1
