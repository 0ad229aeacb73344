"""Commits of several drivers in any order against a small model, on a real PostgreSQL."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.archive import StagedFile
from metering.commits import Advance, MicroBatch, OffsetConflictError, StreamStore, SupersededError
from metering.totals import TOTALS_SCHEMA

WINDOW = 1_764_000_000
_numbers = itertools.count(1)


@dataclass
class Model:
    """What must be committed: only by the newest driver, and only from where a partition stands."""

    newest_epoch: int = 0
    next_offsets: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    total: int = 0
    files: int = 0

    def refuses(self, epoch: int, starts: dict[int, int]) -> type[Exception] | None:
        if epoch != self.newest_epoch:
            return SupersededError
        if any(self.next_offsets[partition] != start for partition, start in starts.items()):
            return OffsetConflictError
        return None


@dataclass(frozen=True)
class NewDriver:
    """A driver takes the topic over."""


@dataclass(frozen=True)
class Commit:
    """A driver, counted from the newest, commits partitions from somewhere near where they stand."""

    driver: int
    steps: dict[int, tuple[int, int]]  # partition -> difference of the start, number of records
    value: int


_commits = st.builds(
    Commit,
    driver=st.sampled_from([0, 0, 0, 1]),
    steps=st.dictionaries(
        st.integers(0, 1), st.tuples(st.sampled_from([0, 0, 0, -1, 1]), st.integers(1, 4)), min_size=1
    ),
    value=st.integers(0, 1000),
)


def micro_batch(topic: str, starts: dict[int, int], commit: Commit) -> MicroBatch:
    name = f"events/{topic}-{next(_numbers)}"
    spans = {
        partition: (start, start + commit.steps[partition][1] - 1) for partition, start in starts.items()
    }
    return MicroBatch(
        advances=[Advance(partition, first, last + 1) for partition, (first, last) in spans.items()],
        totals=pl.DataFrame(
            [(WINDOW, "user_total_bytes", topic, commit.value)], schema=TOTALS_SCHEMA, orient="row"
        ),
        files=[StagedFile(name, "", "events", WINDOW, 1, commit.value, 1, spans, "")],
        accepted=1,
        rejected={},
        newest_event_time=None,
        executor_ms=1,
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(_commits, _commits, st.builds(NewDriver)), max_size=8))
def test_only_the_newest_driver_commits_and_only_in_order(database: Any, actions: list[Any]) -> None:
    topic = f"topic-{next(_numbers)}"
    model = Model()
    drivers: list[StreamStore] = []
    for action in [NewDriver(), *actions]:
        if isinstance(action, NewDriver):
            drivers.append(StreamStore(database.url, topic, "bytes"))
            model.newest_epoch = drivers[-1].open_epoch("host", 1, None)
            assert model.newest_epoch == len(drivers)
            drivers[-1].add_partitions({0: 0, 1: 0})
            continue
        driver = drivers[-1 - min(action.driver, len(drivers) - 1)]
        starts = {
            partition: max(model.next_offsets[partition] + difference, 0)
            for partition, (difference, _) in action.steps.items()
        }
        refusal = model.refuses(driver.epoch, starts)
        if refusal is None:
            driver.commit(micro_batch(topic, starts, action), lambda files: None)
            model.next_offsets |= {part: start + action.steps[part][1] for part, start in starts.items()}
            model.total += action.value
            model.files += 1
        else:
            with pytest.raises(refusal):
                driver.commit(micro_batch(topic, starts, action), lambda files: None)
        _compare(database, topic, drivers[-1], model)
    for store in drivers:
        store._connection.close()


def _compare(database: Any, topic: str, driver: StreamStore, model: Model) -> None:
    assert driver.next_offsets() == model.next_offsets
    with database.connect() as connection:
        total = connection.execute(
            "SELECT coalesce(sum(value), 0)::bigint FROM bytes WHERE id = %s", (topic,)
        ).fetchone()
        files = connection.execute(
            "SELECT count(*) FROM ops.archive_files WHERE path LIKE %s", (f"events/{topic}-%",)
        ).fetchone()
    assert (total, files) == ((model.total,), (model.files,))
