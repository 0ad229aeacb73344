"""What the stream is doing, in words: one judgement for `make status`, `make run` and everyone who asks."""

from dataclasses import dataclass
from datetime import datetime

# A driver beats every 2 s; a driver at work commits every few seconds.
SILENT_SECONDS = 20
NO_COMMIT_SECONDS = 30
# What is always under way while records come: a few micro-batches.
SMALL_LAG = 1_000
SMALL_LAG_SECONDS = 10


@dataclass(frozen=True)
class StreamFigures:
    """A row of status_stream.sql; ages in seconds."""

    state: str
    message: str
    epoch: int
    driver_pid: int
    spark_ui_url: str | None
    started_age: float
    heartbeat_age: float
    commit_age: float | None
    lag: int
    caught_up_age: float | None
    records_per_second: float
    lost_records: int


@dataclass(frozen=True)
class StreamHealth:
    """`word` is running, starting, catching up, stalled or stopped; `advice` says what to do next."""

    word: str
    healthy: bool
    why: str
    advice: str = ""


def judge_stream(figures: StreamFigures | None) -> StreamHealth:
    """Judge a stream by what its driver wrote; None: no driver has ever run."""
    if figures is None:
        return StreamHealth(
            "stopped",
            False,
            "no streaming job has started yet",
            "turn on the DAG antenna_streaming; before that, provision_schema must have succeeded",
        )
    if figures.state != "running":
        message = f": {figures.message}" if figures.message else ""
        return StreamHealth(
            "stopped",
            False,
            f"the last driver {figures.state}{message}",
            "Airflow starts a new one within seconds if the DAG antenna_streaming is on; "
            "otherwise its task's log says why not",
        )
    if figures.heartbeat_age > SILENT_SECONDS:
        return StreamHealth(
            "stalled",
            False,
            f"the driver (pid {figures.driver_pid}) gave no sign of life for {figures.heartbeat_age:.0f} s",
            "Airflow replaces it within two minutes; look at the log of run_stream in antenna_streaming",
        )
    if figures.lost_records:
        return StreamHealth(
            "running",
            False,
            f"{figures.lost_records:,} records were removed from Kafka before they were read",
            "send them again or accept the loss: UPDATE ops.lost_offsets SET acknowledged_at = now()",
        )
    return _judge_progress(figures)


def _judge_progress(figures: StreamFigures) -> StreamHealth:
    lag, rate = figures.lag, figures.records_per_second
    since_commit = figures.started_age if figures.commit_age is None else figures.commit_age
    quiet = min(figures.started_age, since_commit)
    if lag and quiet > NO_COMMIT_SECONDS:
        return StreamHealth(
            "stalled",
            False,
            f"{lag:,} records wait and nothing was committed for {quiet:.0f} s",
            "the driver ends itself after a minute without progress and is replaced; "
            "look at the log of run_stream in antenna_streaming, and at Kafka and PostgreSQL",
        )
    if figures.commit_age is None and figures.caught_up_age is None:
        return StreamHealth("starting", True, "the first micro-batch is under way")
    if lag <= max(SMALL_LAG, SMALL_LAG_SECONDS * rate):
        return StreamHealth("running", True, "what has come is counted" if lag else "everything is counted")
    to_go = f", about {lag / rate:.0f} s to go" if rate else ""
    return StreamHealth("catching up", True, f"{lag:,} records wait{to_go}")


def judge_hour(hour: datetime, sealed_before: datetime | None, *, computed: bool, late: bool) -> str:
    """Say what became of an hour of event time; `late`: events arrived after it was computed."""
    if late:
        return "late events, will be computed again"
    if computed:
        return "computed"
    if sealed_before is not None and hour < sealed_before:
        return "sealed, not computed"
    return "open"
