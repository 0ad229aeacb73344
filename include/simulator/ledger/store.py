"""The ledger's storage: one SQLite file that says exactly what is in Kafka, also after kill -9.

Every chunk of events is written down as pending (its raw lines, its tally, and where the topic's
partitions ended) before the first of them is sent, and counted in the transaction that strikes it off. A
pending chunk that a dead sender left behind is compared with the topic and completed by the next one.
"""

import hashlib
import json
import sqlite3
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from include.simulator.ledger import tables
from include.simulator.ledger.lock import exclusive
from include.simulator.ledger.tables import QuotaRow, TotalRow, User
from include.simulator.tally import ACCEPTED_VERDICTS, LATE, UNKNOWN_DEVICE, Tally, TotalKey

FORMAT_VERSION: Final = 1
APPLICATION_ID: Final = 0x616E7401
BUSY_SECONDS: Final = 60

# Values are decimal text: a sum may exceed 64 bits, and SQLite would turn it into a float without a word.
SCHEMA: Final = f"""
CREATE TABLE totals (
    window_start INTEGER, type TEXT, id TEXT, value TEXT NOT NULL, PRIMARY KEY (window_start, type, id)
) WITHOUT ROWID;
CREATE TABLE verdicts (verdict TEXT PRIMARY KEY, events INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE senders (
    sender TEXT PRIMARY KEY, topic TEXT NOT NULL, plan TEXT NOT NULL,
    next_second INTEGER NOT NULL, end_offsets TEXT NOT NULL
);
CREATE TABLE pending (
    sender TEXT PRIMARY KEY REFERENCES senders (sender),
    next_second INTEGER NOT NULL, lines BLOB NOT NULL, tally TEXT NOT NULL
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
"""
ADD_TOTAL: Final = """
INSERT INTO totals VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET value = exact_sum(value, excluded.value)
"""
ADD_VERDICT: Final = """
INSERT INTO verdicts VALUES (?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events
"""
SAVE_SENDER: Final = """
INSERT INTO senders VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE
SET plan = excluded.plan, next_second = excluded.next_second, end_offsets = excluded.end_offsets
"""


class LedgerError(Exception):
    """The ledger cannot be used; the message names the file, what is wrong and the fix."""


class SenderBusyError(LedgerError):
    """Another process sends under this name."""


@dataclass(frozen=True)
class SenderState:
    """Where a sender stopped: the next second of event time, and the end offsets before its last chunk."""

    topic: str
    plan: str
    next_second: int
    end_offsets: dict[int, int]


@dataclass(frozen=True)
class Pending:
    """A chunk that was being sent: perhaps none, some or all of its lines are in the topic."""

    next_second: int
    lines: list[bytes | None]
    tally: Tally


@dataclass(frozen=True)
class Counts:
    """Events in Kafka: ``late`` and ``unknown_devices`` are parts of ``accepted``, ``rejected`` by reason."""

    sent: int
    accepted: int
    late: int
    unknown_devices: int
    rejected: dict[str, int]


class Ledger:
    """The ledger in the file ``path``; several senders may share it if they send to one topic.

    Raises:
        LedgerError: no such file (unless ``create``), not writable, or not a ledger of this format.
    """

    def __init__(self, path: Path | str, *, create: bool = False) -> None:
        self.path = Path(path)
        if not create and not self.path.is_file():
            raise LedgerError(
                f"there is no ledger {self.path}; start the simulator with --ledger {self.path}"
            )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            self._open(create)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(
                f"ledger {self.path} cannot be opened: {error}; give a writable path on a local disk, "
                "or that of a ledger"
            ) from error

    def _open(self, create: bool) -> None:
        self._connection.create_function(
            "exact_sum", 2, lambda one, other: str(int(one) + int(other)), deterministic=True
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        if create:
            with self._transaction():
                (objects,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                for statement in [] if objects else SCHEMA.strip().split(";\n"):
                    self._connection.execute(statement)
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if (application, version) != (APPLICATION_ID, FORMAT_VERSION):
            raise LedgerError(
                f"{self.path} is no ledger of format {FORMAT_VERSION}; give another path, and a fresh topic"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def sending(self, sender: str, topic: str) -> Iterator[None]:
        """Be the one process that sends as ``sender``, to ``topic``; the lock dies with the process.

        Raises:
            SenderBusyError: another process sends as this sender.
            LedgerError: the ledger belongs to another topic.
        """
        for (other,) in self._connection.execute("SELECT topic FROM senders WHERE topic <> ?", (topic,)):
            raise LedgerError(
                f"ledger {self.path} belongs to topic {other!r}, not {topic!r}; give another --ledger"
            )
        name = hashlib.sha256(sender.encode()).hexdigest()[:16]
        with exclusive(self.path.with_name(f"{self.path.name}.{name}.lock")) as alone:
            if not alone:
                raise SenderBusyError(
                    f"another process sends as {sender!r} with ledger {self.path}; stop it first"
                )
            yield

    def state(self, sender: str) -> SenderState | None:
        """Where this sender stopped; None if it never sent anything."""
        row = self._connection.execute(
            "SELECT topic, plan, next_second, end_offsets FROM senders WHERE sender = ?", (sender,)
        ).fetchone()
        if row is None:
            return None
        topic, plan, next_second, end_offsets = row
        offsets = {int(partition): offset for partition, offset in json.loads(end_offsets).items()}
        return SenderState(topic, plan, next_second, offsets)

    def pending(self, sender: str) -> Pending | None:
        """The chunk that this sender has begun to send and not struck off."""
        row = self._connection.execute(
            "SELECT next_second, lines, tally FROM pending WHERE sender = ?", (sender,)
        ).fetchone()
        return None if row is None else Pending(row[0], _unpack_lines(row[1]), _parse_tally(row[2]))

    def pending_tallies(self) -> dict[str, Tally]:
        """What is under way, by sender."""
        rows = self._connection.execute("SELECT sender, tally FROM pending ORDER BY sender").fetchall()
        return {sender: _parse_tally(tally) for sender, tally in rows}

    def begin(self, sender: str, state: SenderState, pending: Pending) -> None:
        """Write down what is about to be sent; ``state.next_second`` is the chunk's first second."""
        offsets = json.dumps(state.end_offsets)
        with self._transaction():
            self._connection.execute(
                SAVE_SENDER, (sender, state.topic, state.plan, state.next_second, offsets)
            )
            self._connection.execute(
                "INSERT INTO pending VALUES (?, ?, ?, ?)",
                (sender, pending.next_second, _pack_lines(pending.lines), _format_tally(pending.tally)),
            )

    def delivered(self, sender: str) -> None:
        """Count the pending chunk, all of whose lines are in Kafka, and move the sender past it."""
        with self._transaction():
            next_second, tally = self._connection.execute(
                "DELETE FROM pending WHERE sender = ? RETURNING next_second, tally", (sender,)
            ).fetchone()
            self._add(_parse_tally(tally))
            self._connection.execute(
                "UPDATE senders SET next_second = ? WHERE sender = ?", (next_second, sender)
            )

    def record(self, tally: Tally) -> None:
        """Count events that are in Kafka already."""
        with self._transaction():
            self._add(tally)

    def _add(self, tally: Tally) -> None:
        self._connection.executemany(ADD_TOTAL, ((*key, str(value)) for key, value in tally.totals.items()))
        self._connection.executemany(ADD_VERDICT, tally.verdicts.items())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def totals(self) -> dict[TotalKey, int]:
        """Bytes for each 5-minute window, type and id."""
        rows = self._connection.execute("SELECT window_start, type, id, value FROM totals")
        return {TotalKey(window_start, kind, name): int(value) for window_start, kind, name, value in rows}

    def counts(self) -> Counts:
        """How many events were sent, and what must have become of them."""
        verdicts = Counter(dict(self._connection.execute("SELECT verdict, events FROM verdicts").fetchall()))
        tally = Tally(verdicts=verdicts)
        rejected = {name: verdicts[name] for name in sorted(verdicts) if name not in ACCEPTED_VERDICTS}
        return Counts(tally.events, tally.accepted, verdicts[LATE], verdicts[UNKNOWN_DEVICE], rejected)

    def expected_bytes(self) -> list[TotalRow]:
        """Table ``bytes``, ordered by timestamp, type, id."""
        return tables.bytes_rows(self.totals())

    def expected_bytes_hourly(self, users: Mapping[str, User]) -> list[TotalRow]:
        """Table ``bytes_hourly``, by timestamp, type, id; ``users`` by device id (``read_users``)."""
        return tables.bytes_hourly_rows(self.totals(), users)

    def expected_user_quota_limit(self, users: Mapping[str, User]) -> list[QuotaRow]:
        """Table ``user_quota_limit``, by timestamp, email; ``users`` by device id (``read_users``)."""
        return tables.user_quota_limit_rows(self.totals(), users)


def _pack_lines(lines: Sequence[bytes | None]) -> bytes:
    lengths = array("q", [len(lines), *(-1 if line is None else len(line) for line in lines)])
    return zlib.compress(lengths.tobytes() + b"".join(line or b"" for line in lines), level=1)


def _unpack_lines(packed: bytes) -> list[bytes | None]:
    body = zlib.decompress(packed)
    (count,) = array("q", body[:8])
    position = 8 * (count + 1)
    lines: list[bytes | None] = []
    for length in array("q", body[8:position]):
        if length < 0:
            lines.append(None)
            continue
        lines.append(body[position : position + length])
        position += length
    return lines


def _format_tally(tally: Tally) -> str:
    totals = [(*key, value) for key, value in tally.totals.items()]
    return json.dumps({"verdicts": tally.verdicts, "totals": totals})


def _parse_tally(text: str) -> Tally:
    parsed = json.loads(text)
    totals = Counter({TotalKey(start, kind, name): value for start, kind, name, value in parsed["totals"]})
    return Tally(totals=totals, verdicts=Counter(parsed["verdicts"]))
