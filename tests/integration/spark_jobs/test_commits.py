"""The transaction of a micro-batch on a real PostgreSQL: applied once or not at all."""

from collections.abc import Iterable
from typing import Any

import polars as pl
import pytest

from metering.archive import StagedFile
from metering.commits import Advance, MicroBatch, OffsetConflictError, StreamStore, SupersededError
from metering.totals import TOTALS_SCHEMA

WINDOW = 1_600_605_900
ODD_ID = 'a "quoted", id\\.\n'


def publish_nothing(_files: Iterable[StagedFile]) -> None:
    """These micro-batches have no files to move."""


def new_store(database: Any) -> StreamStore:
    store = StreamStore(database.url, "devices", "bytes")
    store.open_epoch("host", 1, None)
    store.add_partitions({0: 0, 1: 5})
    return store


def micro_batch(start: int, end: int, value: int) -> MicroBatch:
    path = f"events/{start}-{end}.parquet"
    file = StagedFile(path, "", "events", 1_600_603_200, 1, value, 9, {0: (start, end - 1)}, "")

    return MicroBatch(
        advances=[Advance(0, start, end, event_clock=WINDOW + 4)],
        totals=pl.DataFrame(
            [(WINDOW, "user_total_bytes", ODD_ID, value)], schema=TOTALS_SCHEMA, orient="row"
        ),
        files=[file],
        accepted=1,
        rejected={"not_json": 2},
        newest_event_time=WINDOW + 4,
        executor_ms=3,
    )


def contents(database: Any) -> dict[str, list[tuple[Any, ...]]]:
    queries = {
        "bytes": "SELECT extract(epoch FROM timestamp)::bigint, type, id, value FROM bytes ORDER BY 1, 2, 3",
        "offsets": "SELECT partition, next_offset FROM ops.stream_offsets ORDER BY 1",
        "files": "SELECT path FROM ops.archive_files ORDER BY 1",
        "batches": "SELECT accepted, rejected, rejected_by_reason FROM ops.micro_batches ORDER BY commit_id",
    }
    with database.connect() as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def test_micro_batches_add_up(database: Any) -> None:
    store = new_store(database)
    first = store.commit(micro_batch(0, 10, 100), publish_nothing)
    second = store.commit(micro_batch(10, 12, 11), publish_nothing)
    assert second > first
    assert store.next_offsets() == {0: 12, 1: 5}
    assert contents(database) == {
        "bytes": [(WINDOW, "user_total_bytes", ODD_ID, 111)],
        "offsets": [(0, 12), (1, 5)],
        "files": [("events/0-10.parquet",), ("events/10-12.parquet",)],
        "batches": [(1, 2, {"not_json": 2})] * 2,
    }


def test_a_replayed_micro_batch_is_refused(database: Any) -> None:
    store = new_store(database)
    store.commit(micro_batch(0, 10, 100), publish_nothing)
    before = contents(database)
    with pytest.raises(OffsetConflictError, match=r"\{0: 10, 1: 5\}.*started from \[\(0, 0\)\]"):
        store.commit(micro_batch(0, 10, 100), publish_nothing)
    assert contents(database) == before


def test_an_older_driver_commits_nothing(database: Any) -> None:
    older = new_store(database)
    newer = StreamStore(database.url, "devices", "bytes")
    assert newer.open_epoch("host", 2, None) == older.epoch + 1
    published: list[object] = []
    with pytest.raises(SupersededError, match=r"a newer driver \(epoch 2\) meters topic devices"):
        older.commit(micro_batch(0, 10, 100), published.append)
    assert published == []
    newer.commit(micro_batch(0, 10, 100), publish_nothing)
    assert contents(database)["offsets"] == [(0, 10), (1, 5)]


def test_a_file_that_cannot_be_published_keeps_the_batch(database: Any) -> None:
    store = new_store(database)
    before = contents(database)

    def fail(_files: Iterable[StagedFile]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.commit(micro_batch(0, 1, 1), fail)
    assert contents(database) == before


def test_lost_offsets_are_recorded(database: Any) -> None:
    store = new_store(database)
    batch = micro_batch(0, 10, 100)
    advance = Advance(0, 0, 10, event_clock=None, lost=((0, 4), (6, 7)))
    store.commit(MicroBatch([advance], batch.totals, [], 1, {}, None, 1), publish_nothing)
    with database.connect() as connection:
        lost = connection.execute(
            "SELECT partition, first_offset, last_offset, acknowledged_at FROM ops.lost_offsets ORDER BY 2"
        ).fetchall()
    assert lost == [(0, 0, 3, None), (0, 6, 6, None)]


def test_how_a_driver_ended(database: Any) -> None:
    older = new_store(database)
    older.close_epoch("failed", "disk full")
    with database.connect() as connection:
        query = "SELECT state, message FROM ops.streams"
        assert connection.execute(query).fetchall() == [("failed", "disk full")]
        newer = StreamStore(database.url, "devices", "bytes")
        newer.open_epoch("host", 2, None)
        older.close_epoch("stopped", "")
        assert connection.execute(query).fetchall() == [("running", "")]
