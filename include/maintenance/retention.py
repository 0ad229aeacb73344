"""Removes what is older than the configured ages; by default, everything is kept.

An hour of the archive or of ``bytes`` goes only when it is computed with every event of it: until then it is
kept and named. It goes as a whole, and ``ops.hours`` keeps when: from then on it is neither late nor computed
again. The manifest forgets files before they are deleted.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from psycopg import sql

from include.maintenance.session import MaintenanceError, MaintenanceSession
from metering.archive import REJECTED
from metering.locks import held_if_free, hour_lock

_DAY_SECONDS: Final = 86_400
_FILES_AT_ONCE: Final = 1_000
_SHOWN_HOURS: Final = 5

_REMOVE_HOUR: Final = """
DELETE FROM ops.archive_files AS file
USING ops.hours
WHERE file.kind = 'events' AND file.hour = %(hour)s AND hours.hour = file.hour
    AND (file.commit_id <= hours.covered_commit_id OR hours.archive_removed_at IS NOT NULL)
RETURNING file.path, file.rows
"""
_REMOVE_REJECTED: Final = """
DELETE FROM ops.archive_files
WHERE path IN (
    SELECT path FROM ops.archive_files
    WHERE kind = 'rejected' AND hour + INTERVAL '1 hour' <= %(before)s
    ORDER BY hour LIMIT %(limit)s
)
RETURNING path, rows
"""
# What a file of the manifest refers to stays, and so does the newest row: batches cover up to it.
_REMOVE_HISTORY: Final = """
DELETE FROM ops.micro_batches AS batch
WHERE batch.committed_at < %(before)s
    AND batch.commit_id < (SELECT max(commit_id) FROM ops.micro_batches)
    AND NOT EXISTS (SELECT 1 FROM ops.archive_files AS file WHERE file.commit_id = batch.commit_id)
RETURNING batch.accepted, batch.rejected
"""
_ADD_REMOVED: Final = """
INSERT INTO ops.removed_records AS removed (removed_from, accepted, rejected) VALUES (%s, %s, %s)
ON CONFLICT (removed_from) DO UPDATE SET
    accepted = removed.accepted + EXCLUDED.accepted, rejected = removed.rejected + EXCLUDED.rejected
"""


@dataclass(frozen=True)
class Ages:
    """For how many days what is kept; None: for ever.

    events: the archive of accepted events. windows: ``bytes``. rejected: the archive of rejected records.
    history: ``ops.micro_batches`` and acknowledged rows of ``ops.lost_offsets``.
    """

    events: int | None = None
    windows: int | None = None
    rejected: int | None = None
    history: int | None = None


@dataclass
class RetentionReport:
    """What was removed, and the hours that are old enough but were kept."""

    event_hours: int = 0
    window_hours: int = 0
    rejected_records: int = 0
    micro_batches: int = 0
    busy_hours: set[datetime] = field(default_factory=set)
    not_computed: set[datetime] = field(default_factory=set)

    def __str__(self) -> str:
        lines = [
            f"removed {self.event_hours} hours of the archive, {self.window_hours} hours of bytes, "
            f"{self.rejected_records} rejected records, {self.micro_batches} micro-batches of the history"
        ]
        if self.busy_hours:
            lines.append(f"left for next time, since they are being computed: {_hours(self.busy_hours)}")
        if self.not_computed:
            lines.append(
                f"kept, though old enough, since they are not computed with all their events: "
                f"{_hours(self.not_computed)}; late_hours sees to late events, and antenna_batch with the "
                'config {"timestamp": "..."} to hours that were never computed'
            )
        return "\n".join(lines)


def check_ages(ages: Ages, max_lateness: int | None) -> None:
    """Refuse ages that would remove hours whose events may still come.

    Args:
        max_lateness: how old events the stream accepts, in seconds; None: of any age.

    Raises:
        MaintenanceError: names the value, the rule and the fix.
    """
    archive = {"events": ages.events, "bytes": ages.windows}
    for name, days in {**archive, "rejected records": ages.rejected, "history": ages.history}.items():
        if days is not None and days < 1:
            raise MaintenanceError(f"the age of {name} {days} is no number of days from 1 on")
    for name, days in archive.items():
        if days is not None and max_lateness is not None and days * _DAY_SECONDS <= max_lateness:
            raise MaintenanceError(
                f"{name} of {days} days cannot go while the stream accepts events that are "
                f"{max_lateness} seconds old: keep them for more than {max_lateness // _DAY_SECONDS} days, "
                "or lower the Variable antenna_max_lateness"
            )


def apply_retention(session: MaintenanceSession, ages: Ages) -> RetentionReport:
    """Remove what is older than its age.

    Raises:
        StorageError: a file cannot be deleted; it has left the manifest, and the next sweep deletes it.
        MaintenanceError: another maintenance keeps its lock.
    """
    report = RetentionReport()
    if ages.events is not None:
        _remove_events(session, _before(session, ages.events), report)
    if ages.windows is not None:
        _remove_windows(session, _before(session, ages.windows), report)
    if ages.rejected is not None:
        _remove_rejected(session, _before(session, ages.rejected), report)
    if ages.history is not None:
        _remove_history(session, _before(session, ages.history), report)
    return report


def _before(session: MaintenanceSession, days: int) -> datetime:
    row = session.connection.execute(
        "SELECT date_trunc('hour', now(), 'UTC') - make_interval(days => %s)", (days,)
    ).fetchone()
    assert row is not None
    before: datetime = row[0]
    return before


def _remove_events(session: MaintenanceSession, before: datetime, report: RetentionReport) -> None:
    for hour, computed in session.query("queries/hours_past_retention", before=before):
        if not computed:
            report.not_computed.add(hour)
            continue
        with session.alone(), held_if_free(session.connection, hour_lock(hour)) as free:
            if not free:
                report.busy_hours.add(hour)
                continue
            with session.connection.transaction():
                files = session.connection.execute(_REMOVE_HOUR, {"hour": hour}).fetchall()
                _note_removal(session, "archive_removed_at", hour)
                _forget(session, "events", files)
            session.delete_files([path for path, _ in files])
        report.event_hours += 1


def _remove_windows(session: MaintenanceSession, before: datetime, report: RetentionReport) -> None:
    for hour, computed in session.query("queries/windows_past_retention", before=before):
        if not computed:
            report.not_computed.add(hour)
            continue
        with session.alone(), session.connection.transaction():
            session.connection.execute(
                "DELETE FROM public.bytes WHERE timestamp >= %(hour)s "
                "AND timestamp < %(hour)s + INTERVAL '1 hour'",
                {"hour": hour},
            )
            _note_removal(session, "windows_removed_at", hour)
        report.window_hours += 1


def _remove_rejected(session: MaintenanceSession, before: datetime, report: RetentionReport) -> None:
    while True:
        with session.alone():
            with session.connection.transaction():
                files = session.connection.execute(
                    _REMOVE_REJECTED, {"before": before, "limit": _FILES_AT_ONCE}
                ).fetchall()
                _forget(session, REJECTED, files)
            session.delete_files([path for path, _ in files])
        report.rejected_records += sum(rows for _, rows in files)
        if len(files) < _FILES_AT_ONCE:
            return


def _remove_history(session: MaintenanceSession, before: datetime, report: RetentionReport) -> None:
    connection = session.connection
    with session.alone(), connection.transaction():
        removed = connection.execute(_REMOVE_HISTORY, {"before": before}).fetchall()
        accepted, rejected = (sum(row[column] for row in removed) for column in (0, 1))
        connection.execute(_ADD_REMOVED, ("history", accepted, rejected))
        connection.execute("DELETE FROM ops.lost_offsets WHERE acknowledged_at < %s", (before,))
        connection.execute("DELETE FROM ops.stream_lag WHERE minute < %s", (before,))
    report.micro_batches += len(removed)


def _note_removal(session: MaintenanceSession, column: str, hour: datetime) -> None:
    session.connection.execute(
        sql.SQL("UPDATE ops.hours SET {column} = coalesce({column}, now()) WHERE hour = %s").format(
            column=sql.Identifier(column)
        ),
        (hour,),
    )


def _forget(session: MaintenanceSession, kind: str, files: list[tuple[str, int]]) -> None:
    """In the open transaction, after the files left the manifest."""
    rows = sum(rows for _, rows in files)
    accepted, rejected = (0, rows) if kind == REJECTED else (rows, 0)
    session.connection.execute(_ADD_REMOVED, (kind, accepted, rejected))
    session.mark_for_deletion([path for path, _ in files])


def _hours(hours: set[datetime]) -> str:
    shown = sorted(hours)[:_SHOWN_HOURS]
    text = ", ".join(f"{hour:%Y-%m-%dT%H:%MZ}" for hour in shown)
    return text if len(hours) == len(shown) else f"{text} and {len(hours) - len(shown)} more"
