"""The simulator's command line: what is wrong stands on one line, with exit code 2."""

from datetime import UTC, datetime, timedelta

import pytest

from include.simulator.__main__ import main
from include.simulator.generator import Traffic
from include.simulator.producer import SimulationPlan

SERVERS = ["--bootstrap-servers", "127.0.0.1:1"]
LEDGER = ["--ledger", "ledger"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--live", *LEDGER], "--bootstrap-servers"),
        ([*SERVERS, *LEDGER], "one of the arguments --live --minutes --file is required"),
        ([*SERVERS, "--live"], "--ledger is missing"),
        ([*SERVERS, "--live", "--minutes", "3", *LEDGER], "not allowed with argument"),
        ([*SERVERS, "--file", "missing.jsonl"], "--file missing.jsonl cannot be read"),
        ([*SERVERS, "--file", "any.jsonl", *LEDGER], "--ledger does not go with --file"),
        ([*SERVERS, *LEDGER, "--minutes", "0"], "minutes 0.0 must be more than 0"),
        ([*SERVERS, *LEDGER, "--minutes", "nan"], "minutes nan must be more than 0"),
        ([*SERVERS, *LEDGER, "--live", "--start", "yesterday"], "'yesterday' is not an ISO 8601"),
        ([*SERVERS, *LEDGER, "--live", "--start", "2026-11-24T16:00:00"], "has no offset from UTC"),
        ([*SERVERS, *LEDGER, "--live", "--start", "2199-01-01T00:00:00Z"], "must lie from 1971 to now"),
        ([*SERVERS, *LEDGER, "--live", "--devices", "0"], "devices 0 must be"),
        ([*SERVERS, *LEDGER, "--live", "--devices", "many"], "invalid int value"),
        ([*SERVERS, *LEDGER, "--live", "--broken-share", "2"], "broken_share 2.0 must be 0 to 1"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in error
    assert error.count("\n") == 1


def test_a_plan_checks_its_start() -> None:
    traffic = Traffic()
    with pytest.raises(ValueError, match="has no offset"):
        SimulationPlan(traffic, datetime(2026, 11, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="must lie from 1971 to now"):
        SimulationPlan(traffic, datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(ValueError, match="must lie from 1971 to now"):
        SimulationPlan(traffic, datetime(1970, 1, 1, tzinfo=UTC))
