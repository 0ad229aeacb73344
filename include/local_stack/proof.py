"""`make run ONCE=1`: proves on a running stack that what was sent is exactly what the tables hold."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from include.local_stack.programs import AIRFLOW_PROGRAMS
from include.local_stack.settings import PROJECT_ROOT, TOPIC, StackError
from include.local_stack.stack import Stack
from include.local_stack.status import QUERIES
from include.simulator.ledger import Ledger, compare_with_database, read_users
from include.simulator.ledger.tables import bytes_hourly_rows, in_hours, user_quota_limit_rows

DEADLINE_SECONDS = 600
POLL_SECONDS = 1.0
LEAST_HOURS = 2
HOUR = timedelta(hours=1)
USERS_FILE = PROJECT_ROOT / "include" / "provisioner" / "user_metadata.csv"


@dataclass(frozen=True)
class Compared:
    """One line of the proof: rows of a table or records, and their bytes, sent and kept."""

    what: str
    sent_rows: int
    kept_rows: int
    sent_total: int | None = None
    kept_total: int | None = None


@dataclass(frozen=True)
class Proof:
    """What was compared, and how it differs; no differences: the stack is exact."""

    hours: list[datetime]
    compared: list[Compared]
    differences: list[str]


def prove(stack: Stack) -> Proof:
    """Wait until the stream and Airflow's own hourly runs are through, stop the traffic, and compare.

    Raises StackError when a run fails or it takes too long, saying what was still to be done.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    step = stack.steps.step

    def wait(condition: Callable[[], bool], what: str) -> None:
        while not condition():
            stack.require_running(tuple(AIRFLOW_PROGRAMS))
            if time.monotonic() > deadline:
                raise StackError(f"Not done {DEADLINE_SECONDS} s after the start: {what}")
            time.sleep(POLL_SECONDS)

    with step("Stream: first commit"):
        wait(lambda: _committed(stack), "the stream has committed nothing")
    wanted = _closed_hours(stack.batch_start)
    with step("Airflow's hourly runs") as show:
        wait(lambda: _hours_done(stack, wanted, show), "the runs of antenna_batch for the closed hours")
    with step("Traffic stops, and the stream reads the rest"):
        stack.supervisor.stop_program("simulator")
        wait(lambda: _nothing_left(stack), "records are left in Kafka")
    with step("Late hours") as show:
        wait(lambda: _late_hours_done(stack, show), "hours with late events are not computed again")
    required = wanted[:LEAST_HOURS]
    with (
        step("Comparing the tables with what was sent"),
        Ledger(stack.settings.ledger_file) as ledger,
        stack.connect() as connection,
    ):
        return compare(ledger, connection, required)


def _closed_hours(start: datetime) -> list[datetime]:
    """The hours from the first that is computed up to now, two at least (when one has just begun)."""
    now = datetime.now(UTC)
    hours = [start + number * HOUR for number in range(int((now - start) / HOUR))]
    return hours if len(hours) >= LEAST_HOURS else [start, start + HOUR]


def _committed(stack: Stack) -> bool:
    for run in stack.airflow.runs("antenna_streaming", limit=3, state="failed"):
        if datetime.fromisoformat(run["run_after"]) > stack.started_at:
            raise StackError(stack.airflow.failure("antenna_streaming", run["dag_run_id"]))
    with stack.connect() as connection:
        row = connection.execute(
            "SELECT 1 FROM ops.streams WHERE topic = %s AND last_commit_at > %s", (TOPIC, stack.started_at)
        ).fetchone()
    return row is not None


def _hours_done(stack: Stack, wanted: list[datetime], show: Callable[[str], None]) -> bool:
    scheduled = stack.airflow.runs("antenna_batch", run_type="scheduled")
    by_hour = {datetime.fromisoformat(run["data_interval_start"]): run for run in scheduled}
    for hour in wanted:
        run = by_hour.get(hour)
        if run is not None and run["state"] == "failed":
            raise StackError(stack.airflow.failure("antenna_batch", run["dag_run_id"]))
    states = [by_hour[hour]["state"] if hour in by_hour else "not created" for hour in wanted]
    show(f"{states.count('success')} of {len(wanted)}")
    return set(states) == {"success"}


def _nothing_left(stack: Stack) -> bool:
    admin = AdminClient({"bootstrap.servers": stack.settings.kafka_bootstrap_servers})
    partitions = admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
    request = {TopicPartition(TOPIC, number): OffsetSpec.latest() for number in partitions}
    ends = {part.partition: found.result().offset for part, found in admin.list_offsets(request).items()}
    with stack.connect() as connection:
        rows = connection.execute(
            "SELECT partition, next_offset FROM ops.stream_offsets WHERE topic = %s", (TOPIC,)
        ).fetchall()
    committed: dict[int, int] = dict(rows)
    return all(committed.get(partition, 0) >= end for partition, end in ends.items())


def _late_hours_done(stack: Stack, show: Callable[[str], None]) -> bool:
    with stack.connect() as connection:
        late = connection.execute((QUERIES / "late_hours.sql").read_bytes()).fetchall()
    if not late:
        return True
    show(", ".join(f"{hour:%H:%M}" for (hour,) in late))
    run_id = stack.airflow.trigger("late_hours")
    if stack.airflow.wait_for_run("late_hours", run_id) != "success":
        raise StackError(stack.airflow.failure("late_hours", run_id))
    return False


def compare(ledger: Ledger, connection: psycopg.Connection, required: Collection[datetime]) -> Proof:
    """Compare what was sent with the tables: every window, and every hour that was computed.

    `required`: the hours that must have been computed.
    """
    users = read_users(USERS_FILE)
    hours = [row[0] for row in connection.execute("SELECT hour FROM ops.hours ORDER BY hour").fetchall()]
    # An hour that is not closed yet has its windows, but no hourly rows.
    everything = compare_with_database(ledger, connection, users)
    of_hours = compare_with_database(ledger, connection, users, hours)
    compared = [*_records(ledger, connection), *_tables(ledger, connection, hours)]
    differences = [
        *(f"hour {hour:%Y-%m-%dT%H:%MZ}: not computed" for hour in sorted(set(required) - set(hours))),
        *(
            f"{line.what}: sent {line.sent_rows}, kept {line.kept_rows}"
            for line in compared
            if line.sent_rows != line.kept_rows
        ),
        *(line for line in everything if line.startswith(("bytes ", "ledger"))),
        *(line for line in of_hours if not line.startswith(("bytes ", "ledger"))),
    ]
    return Proof(hours, compared, differences)


def _records(ledger: Ledger, connection: psycopg.Connection) -> list[Compared]:
    counts = ledger.counts()
    accepted, rejected = connection.execute((QUERIES / "counted_records.sql").read_bytes()).fetchall()[0]
    return [
        Compared("accepted records", counts.accepted, accepted),
        Compared("rejected records", sum(counts.rejected.values()), rejected),
    ]


def _tables(ledger: Ledger, connection: psycopg.Connection, hours: list[datetime]) -> list[Compared]:
    totals = ledger.totals()
    users = read_users(USERS_FILE)
    of_hours = in_hours(totals, hours)
    quota_rows = user_quota_limit_rows(of_hours, users)
    sent = {
        "bytes": list(totals.values()),
        "bytes_hourly": [row.value for row in bytes_hourly_rows(of_hours, users)],
        "user_quota_limit": [row.usage for row in quota_rows],
    }
    kept = connection.execute((QUERIES / "kept_totals.sql").read_bytes(), {"hours": hours}).fetchall()
    return [Compared(name, len(sent[name]), rows, sum(sent[name]), int(total)) for name, rows, total in kept]
