"""Takes up rejected records again after the rules or their limits changed; each record counts once.

The kept records are decoded by the stream's own pass with the rules of today. What they accept goes where
the stream would have put it: sums to ``bytes``, events under their own topic, partition and offset to the
archive, and a row to ``ops.micro_batches`` by which their hours are late, so that ``late_hours`` computes
them. In the same transaction the file of rejected records gives way to one that holds only what is still
rejected. So a crash leaves the records rejected or accepted, and never both.

How old or how far ahead an event may be is judged as of the moment when its record came to Kafka.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import polars as pl
import psycopg

from include.maintenance.compaction import REJECTED_ROWS_PER_FILE, pack
from include.maintenance.file_contents import read_checked
from include.maintenance.session import ArchiveFile, MaintenanceError, MaintenanceSession, read_files
from metering import statements
from metering.archive import MAINTENANCE_EPOCH, REJECTED
from metering.database import table_name
from metering.events import Limits
from metering.executor_pass import RECORD_COLUMNS, Pass, PassPlan, stage_events, stage_rejects
from metering.hours import HOUR_SECONDS, WINDOW_SECONDS, hour_start
from metering.reasons import BROKEN_RULES, REASONS
from metering.totals import totals

_BYTES_TABLE: Final = table_name("bytes")
_FILE_BYTES_AT_ONCE: Final = 128 * 2**20
_KEY: Final = ["partition", "offset"]
_HOUR_OF_EVENT: Final = pl.col("event_time") - pl.col("event_time") % HOUR_SECONDS


@dataclass(frozen=True)
class Choice:
    """Which rejected records to take up: by reason, and by when they came to Kafka (None: all).

    What a person refused by hand stays so unless it is asked for by name.
    """

    reasons: tuple[str, ...] = BROKEN_RULES
    came_from: datetime | None = None
    came_before: datetime | None = None


@dataclass(frozen=True)
class Rules:
    """The limits of event times, in seconds, as the streaming job has them; lateness None: unlimited."""

    max_future: int
    max_lateness: int | None


@dataclass
class ReplayReport:
    """What became of the records that were taken up, by their former reason."""

    accepted: Counter[str] = field(default_factory=Counter)
    still_rejected: Counter[str] = field(default_factory=Counter)
    # Accepted by the rules, but of an hour whose archive retention has removed.
    hour_removed: int = 0
    late_hours: set[datetime] = field(default_factory=set)

    def __str__(self) -> str:
        lines = [
            f"{self.accepted.total():,} records were accepted{_by_reason(self.accepted)}",
            f"{self.still_rejected.total():,} are still rejected{_by_reason(self.still_rejected)}",
        ]
        if self.hour_removed:
            lines.append(
                f"{self.hour_removed:,} of them belong to hours whose archive was removed by retention"
            )
        if self.late_hours:
            hours = ", ".join(f"{hour:%Y-%m-%dT%H:%MZ}" for hour in sorted(self.late_hours))
            lines.append(
                f"hours with new events: {hours}; late_hours computes those again that were computed"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class _Work:
    """What one transaction applies: the files give way to events and to what is still rejected of them.

    ``changes`` maps a reason to how many records more or less have it than before.
    """

    files: list[ArchiveFile]
    plan: PassPlan
    events: pl.DataFrame
    still: pl.DataFrame
    changes: Counter[str]


def replay_rejected(session: MaintenanceSession, choice: Choice, rules: Rules) -> ReplayReport:
    """Take up the chosen records, after leftovers are swept.

    Raises:
        MaintenanceError: a sum would not fit BIGINT (what was applied before stays), an unknown reason, or
            another maintenance keeps its lock.
        StorageError: a file is damaged, or cannot be written; its records stay rejected.
    """
    if unknown := set(choice.reasons) - set(REASONS):
        raise MaintenanceError(f"reason {', '.join(sorted(unknown))} is none of {', '.join(REASONS)}")
    # A second try begins with what the first one left.
    session.sweep()
    statements.prepare_totals(session.connection)
    report = ReplayReport()
    first = None if choice.came_from is None else hour_start(choice.came_from)
    files = read_files(session.connection, [REJECTED], first, choice.came_before)
    for topic, hour in sorted({(file.topic, file.hour) for file in files}):
        with session.alone():
            # Read again: another maintenance may have changed the hour meanwhile.
            present = [file for file in session.files_of_hour(REJECTED, hour) if file.topic == topic]
            for group in pack(present, _FILE_BYTES_AT_ONCE, REJECTED_ROWS_PER_FILE):
                _replay(session, group, choice, rules, report)
    return report


def _replay(
    session: MaintenanceSession, files: list[ArchiveFile], choice: Choice, rules: Rules, report: ReplayReport
) -> None:
    """Take up the chosen records of these files, of one topic and one hour, in one transaction."""
    started = time.monotonic()
    records = pl.concat(
        pl.DataFrame(pl.from_arrow(table)) for file in files for table in read_checked(session.storage, file)
    )
    chosen = records.filter(_is_chosen(choice))
    if chosen.is_empty():
        return
    plan = PassPlan(session.storage.storage_path, files[0].topic, MAINTENANCE_EPOCH, {}, Limits(0, None))
    events, rejects = _decode(chosen, plan, rules)
    events, of_removed_hours = _without_removed_hours(session, events)
    still = _still_rejected(records, events, rejects)
    changes = _reasons(still)
    changes.subtract(_reasons(records))
    if any(changes.values()):
        work = _Work(files, plan, events, still, changes)
        _apply(session, work, executor_ms=round((time.monotonic() - started) * 1000))
    accepted = _reasons(chosen.join(events, on=_KEY, how="semi"))
    report.accepted += accepted
    report.still_rejected += _reasons(chosen) - accepted
    report.hour_removed += of_removed_hours
    report.late_hours |= {datetime.fromtimestamp(hour, UTC) for hour in _hours(events).to_list()}


def _is_chosen(choice: Choice) -> pl.Expr:
    chosen = pl.col("reason").is_in(choice.reasons)
    if choice.came_from is not None:
        chosen &= pl.col("kafka_timestamp") >= choice.came_from
    if choice.came_before is not None:
        chosen &= pl.col("kafka_timestamp") < choice.came_before
    return chosen


def _decode(records: pl.DataFrame, plan: PassPlan, rules: Rules) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pass of the stream over rejected records: what is accepted now, and what is not."""
    one_pass = Pass(plan)
    now = int(time.time())
    came = pl.col("timestamp").dt.epoch("s")
    # A record without a Kafka timestamp has a negative one.
    as_of = pl.when(came >= 0).then(pl.min_horizontal(came, now)).otherwise(now)
    renamed = records.rename({"kafka_timestamp": "timestamp"}).select(RECORD_COLUMNS)
    for (second,), of_second in renamed.sort(_KEY).group_by(as_of.alias("as_of"), maintain_order=True):
        oldest = None if rules.max_lateness is None else int(second) - rules.max_lateness
        one_pass.add(of_second, Limits(int(second) + rules.max_future, oldest))
    rejects = pl.concat(one_pass.rejected) if one_pass.rejected else records.clear()
    return pl.concat(one_pass.accepted), rejects


def _without_removed_hours(session: MaintenanceSession, events: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Leave out the events of hours that can never be computed again; returns how many those are."""
    rows = session.connection.execute(
        "SELECT extract(epoch FROM hour)::bigint FROM ops.hours "
        "WHERE archive_removed_at IS NOT NULL AND hour = ANY(SELECT to_timestamp(unnest(%s::bigint[])))",
        (_hours(events).to_list(),),
    ).fetchall()
    kept = events.filter(~_HOUR_OF_EVENT.is_in([hour for (hour,) in rows]))
    return kept, events.height - kept.height


def _still_rejected(records: pl.DataFrame, events: pl.DataFrame, rejects: pl.DataFrame) -> pl.DataFrame:
    """The records that are not accepted, with the reason of today where they were taken up."""
    today = rejects.select(
        *_KEY, pl.col("reason").alias("reason_today"), pl.col("detail").alias("detail_today")
    )
    return (
        records.join(events, on=_KEY, how="anti")
        .join(today, on=_KEY, how="left")
        .with_columns(
            reason=pl.coalesce("reason_today", "reason"), detail=pl.coalesce("detail_today", "detail")
        )
        .drop("reason_today", "detail_today")
        .sort(_KEY)
    )


def _apply(session: MaintenanceSession, work: _Work, executor_ms: int) -> None:
    storage, topic = session.storage, work.plan.topic
    try:
        sums = totals(work.events, WINDOW_SECONDS)
        staged = stage_events(storage, work.events, work.plan)
        staged += stage_rejects(storage, work.still.rename({"kafka_timestamp": "timestamp"}), work.plan)
        paths = [file.path for file in work.files]
        with session.publishing(staged):
            epoch = statements.lock_topic(session.connection, topic)
            commit_id = statements.insert_micro_batch(
                session.connection,
                topic,
                epoch or MAINTENANCE_EPOCH,
                accepted=work.events.height,
                rejected={reason: count for reason, count in sorted(work.changes.items()) if count},
                newest_event_time=work.events["event_time"].max(),  # type: ignore[arg-type]
                executor_ms=executor_ms,
                is_replay=True,
            )
            statements.add_totals(session.connection, _BYTES_TABLE, sums)
            session.replace(paths, staged, commit_id)
    except (OverflowError, psycopg.errors.NumericValueOutOfRange) as error:
        raise MaintenanceError(
            f"the records of {work.files[0].path} and others stay rejected, since a sum would not fit "
            f"BIGINT: {str(error).strip()}; choose another reason or time"
        ) from error
    session.delete_files(paths)


def _hours(events: pl.DataFrame) -> pl.Series:
    return events.select(_HOUR_OF_EVENT.unique()).to_series()


def _reasons(records: pl.DataFrame) -> Counter[str]:
    return Counter(dict(records.group_by("reason").len().iter_rows()))


def _by_reason(counts: Counter[str]) -> str:
    return "".join(f", {reason} {count:,}" for reason, count in counts.most_common() if count)
