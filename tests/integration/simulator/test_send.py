"""What the ledger counts is what is in Kafka, event by event, also after kill -9 in the middle."""

import io
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from include.local_stack.kafka import Kafka
from include.local_stack.settings import free_port
from include.simulator.__main__ import main
from include.simulator.generator import Block, Traffic, generate
from include.simulator.ledger import Ledger, LedgerError, Pending, SenderState
from include.simulator.producer import SimulationPlan, replay, send
from include.simulator.topic import KafkaSendError, KafkaTopic

from .conftest import Simulator, Values

EVENTS = Path(__file__).parents[2] / "data" / "original_events.jsonl"
MIXED = Traffic(
    seed=11,
    events_per_second=100,
    broken_share=0.02,
    late_share=0.02,
    unknown_share=0.02,
    future_share=0.01,
)
MIXED_ARGUMENTS = (
    *("--seed", "11", "--events-per-second", "100", "--broken-share", "0.02", "--late-share", "0.02"),
    *("--unknown-share", "0.02", "--future-share", "0.01"),
)
START = datetime(2026, 9, 20, 12, 45, tzinfo=UTC)
START_SECOND = int(START.timestamp())


def never() -> bool:
    return False


def assert_exactly(ledger: Ledger, values: Values, block: Block) -> None:
    """Ledger and topic hold the events of the block, each once."""
    assert values == Counter(block.lines)
    assert ledger.pending_tallies() == {}
    assert ledger.totals() == block.tally.totals
    counts = ledger.counts()
    assert (counts.sent, counts.accepted) == (block.tally.events, block.tally.accepted)
    assert counts.rejected.items() <= block.tally.verdicts.items()


def test_history_is_sent_to_all_partitions_and_counted(
    kafka: Kafka, topic: str, tmp_path: Path, partitions: Callable[[], list[Values]]
) -> None:
    plan = SimulationPlan(MIXED, START, minutes=10)
    config = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "from a shared connection"}
    with Ledger(tmp_path / "ledger", create=True) as ledger:
        summary = send(config, topic, plan, ledger, never)
        found = partitions()
        assert_exactly(ledger, sum(found, Counter()), generate(MIXED, START_SECOND, START_SECOND + 600))
        assert [values.total() for values in found] == [15_000] * 4
        assert (summary.events, summary.accepted + summary.rejected) == (60_000, 60_000)
        assert (summary.start, summary.end) == (START, START + timedelta(minutes=10))
        assert not summary.stopped
        # A plan that is through is sent again when it is asked for again.
        assert send(config, topic, plan, ledger, never).events == 60_000
        assert ledger.counts().sent == 120_000


def test_killed_again_and_again_it_sends_and_counts_each_event_once(
    simulate: Callable[..., Simulator], tmp_path: Path, topic_values: Callable[[], Values]
) -> None:
    path = tmp_path / "ledger"
    arguments = ("--ledger", str(path), "--minutes", "50", "--start", START.isoformat(), *MIXED_ARGUMENTS)
    Ledger(path, create=True).close()
    begun = -1
    for _ in range(2):
        simulator = simulate(*arguments)
        with Ledger(path) as ledger:
            simulator.wait_for(partial(_began_after, ledger, begun))
            simulator.process.kill()
            simulator.process.wait()
            state = ledger.state("bounded")
            assert state is not None
            begun = state.next_second
    printed = simulate(*arguments).end()
    assert "going on at" in printed
    with Ledger(path) as ledger:
        assert_exactly(ledger, topic_values(), generate(MIXED, START_SECOND, START_SECOND + 3000))


def _began_after(ledger: Ledger, second: int) -> bool:
    state = ledger.state("bounded")
    return state is not None and state.next_second > second and bool(ledger.pending_tallies())


@pytest.mark.parametrize("arrived", [0, 1, 137, 500])
def test_a_block_left_behind_is_completed_with_the_missing_lines_only(
    kafka: Kafka,
    topic: str,
    tmp_path: Path,
    topic_values: Callable[[], Values],
    monkeypatch: pytest.MonkeyPatch,
    arrived: int,
) -> None:
    # What has arrived is in the log already.
    monkeypatch.setattr("include.simulator.outbox.SETTLE_SECONDS", 0)
    config = {"bootstrap.servers": kafka.bootstrap_servers}
    block = generate(MIXED, START_SECOND, START_SECOND + 5)
    block.lines[100] = block.lines[99]
    with Ledger(tmp_path / "ledger", create=True) as ledger, KafkaTopic(config, topic) as half:
        half.send([b"somebody else's"], 0)
        half.flush(never)
        state = SenderState(topic, "plan", block.start, half.end_offsets(never))
        ledger.begin("orphan", state, Pending(block.end, block.lines, block.tally))
        half.send(block.lines[:arrived], 0)
        half.flush(never)
        plan = SimulationPlan(Traffic(events_per_second=0.001), START, minutes=1 / 60)
        send(config, topic, plan, ledger, never, sender="another")
        values = topic_values()
        assert values.pop(b"somebody else's") == 1
        assert_exactly(ledger, values, block)


def test_live_ends_cleanly_on_sigterm_and_goes_on_where_it_was(
    simulate: Callable[..., Simulator], tmp_path: Path, topic_values: Callable[[], Values]
) -> None:
    path = tmp_path / "ledger"
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=2)
    for number in (signal.SIGTERM, signal.SIGINT):
        simulator = simulate("--live", "--ledger", str(path), "--start", start.isoformat(), *MIXED_ARGUMENTS)
        simulator.wait_for(partial(_has_sent_history, simulator))
        line = re.search(r"^history sent: \d+ events up to (.*)$", simulator.output.read_text(), re.MULTILINE)
        assert line is not None
        up_to = int(datetime.fromisoformat(line[1]).timestamp())
        assert abs(up_to - time.time()) < 5
        with Ledger(path) as ledger:
            simulator.wait_for(partial(_has_come_to, ledger, up_to + 2))
        simulator.process.send_signal(number)
        simulator.end()
    with Ledger(path) as ledger:
        begin, end = int(start.timestamp()), _live_place(ledger)
        assert time.time() - end < 15
        assert_exactly(ledger, topic_values(), generate(MIXED, begin, end))


def _has_sent_history(simulator: Simulator) -> bool:
    return "history sent: " in simulator.output.read_text()


def _has_come_to(ledger: Ledger, second: int) -> bool:
    return _live_place(ledger) >= second


def _live_place(ledger: Ledger) -> int:
    state = ledger.state("live")
    return 0 if state is None else state.next_second


def test_a_restart_of_kafka_loses_and_doubles_nothing(
    kafka: Kafka, simulate: Callable[..., Simulator], tmp_path: Path, topic_values: Callable[[], Values]
) -> None:
    path = tmp_path / "ledger"
    simulator = simulate("--live", "--ledger", str(path), *MIXED_ARGUMENTS)
    simulator.wait_for(partial(_has_sent_history, simulator))
    with Ledger(path) as ledger:
        begin = _live_place(ledger) - 1
        kafka.restart()
        back = int(time.time())
        simulator.wait_for(partial(_has_come_to, ledger, back + 2))
        simulator.process.terminate()
        simulator.end()
        assert_exactly(ledger, topic_values(), generate(MIXED, begin, _live_place(ledger)))


def test_a_file_is_replayed_byte_for_byte(
    simulate: Callable[..., Simulator], topic_values: Callable[[], Values]
) -> None:
    simulator = simulate("--file", str(EVENTS))
    assert simulator.end() == f"sent 440 lines of {EVENTS}\n"
    assert topic_values() == Counter(EVENTS.read_bytes().removesuffix(b"\n").split(b"\n"))


def test_odd_lines_of_a_file_are_replayed_as_they_are(
    kafka: Kafka, topic: str, topic_values: Callable[[], Values]
) -> None:
    lines = io.BytesIO(b"one\r\n\n\0\xff\x85\x0b\nno line break at the end")
    assert replay({"bootstrap.servers": kafka.bootstrap_servers}, topic, lines, never) == 4
    assert topic_values() == Counter([b"one\r", b"", b"\0\xff\x85\x0b", b"no line break at the end"])


def test_a_line_too_large_for_kafka_is_named(kafka: Kafka, topic: str) -> None:
    with (
        KafkaTopic({"bootstrap.servers": kafka.bootstrap_servers}, topic) as large,
        pytest.raises(KafkaSendError, match=r"1 events cannot be sent to topic .*too large"),
    ):
        large.send([b"x" * 3_000_000], 0)


def test_kafka_that_cannot_be_reached_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("include.simulator.topic.CONNECT_SECONDS", 1)
    address = f"127.0.0.1:{free_port()}"
    arguments = ["--bootstrap-servers", address, "--ledger", str(tmp_path / "ledger"), "--live"]
    assert main(arguments) == 1
    assert f"error: Kafka at {address} cannot be reached" in caplog.text
    assert "Connection refused" in caplog.text
    assert "start it, or correct the address" in caplog.text


def test_a_missing_topic_is_named_and_not_made(kafka: Kafka) -> None:
    config = {"bootstrap.servers": kafka.bootstrap_servers}
    for _ in range(2):
        with pytest.raises(KafkaSendError, match=r"'nowhere' does not exist .* run the DAG provision_schema"):
            KafkaTopic(config, "nowhere")


def test_a_wrong_setting_is_named(kafka: Kafka, topic: str) -> None:
    config = {"bootstrap.servers": kafka.bootstrap_servers, "no.such.setting": "1"}
    with pytest.raises(KafkaSendError, match=r"a Kafka setting is wrong: .*no\.such\.setting"):
        KafkaTopic(config, topic)


def test_a_topic_made_anew_does_not_fit_the_ledger(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    config = {"bootstrap.servers": kafka.bootstrap_servers}
    with Ledger(tmp_path / "ledger", create=True) as ledger:
        state = SenderState(topic, "plan", START_SECOND, {0: 1000, 1: 0, 2: 0, 3: 0})
        ledger.begin("simulator", state, Pending(START_SECOND + 1, [], generate(MIXED, 0, 0).tally))
        with pytest.raises(LedgerError, match=r"ends at offset 0 in partition 0, but .* was created anew"):
            send(config, topic, SimulationPlan(MIXED, START, 1), ledger, never)
