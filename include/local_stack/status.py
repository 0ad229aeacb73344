"""`make status`: one screen about a stack; exit 0 only if it is healthy."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from include.local_stack.health import StreamFigures, StreamHealth, judge_hour, judge_stream
from include.local_stack.settings import PROJECT_ROOT, TOPIC, Settings
from include.local_stack.supervision import Supervisor

QUERIES = PROJECT_ROOT / "include" / "sql" / "queries"
SHOWN_HOURS = 5
SEAL_GRACE_SECONDS = 120


class ServiceStatus(NamedTuple):
    """A supervised program; `up` means that it runs, or that it is not wanted (the simulator)."""

    name: str
    state: str
    up: bool
    pid: int
    port: int | None
    uptime_seconds: int


class HourStatus(NamedTuple):
    """An hour of event time and what the batch layer did with it."""

    hour: datetime
    events: int
    computed: bool
    late: bool


@dataclass(frozen=True)
class Status:
    """Everything on the screen."""

    services: list[ServiceStatus]
    stream: StreamHealth
    figures: StreamFigures | None
    hours: list[HourStatus]
    sealed_before: datetime | None
    rejected: dict[str, int]

    @property
    def healthy(self) -> bool:
        return bool(self.services) and all(service.up for service in self.services) and self.stream.healthy


def read_status(settings: Settings) -> Status:
    """Ask supervisord and PostgreSQL; raises nothing for what is down, but says so."""
    services = _services(settings)
    figures: StreamFigures | None = None
    hours: list[HourStatus] = []
    rejected: dict[str, int] = {}
    sealed_before: datetime | None = None
    stream = StreamHealth("stopped", False, "the stack is not running", "make run")
    if services:
        try:
            # Loaded, not made: a status changes nothing.
            url = settings.db_url(settings.load_secrets().db_password)
            with psycopg.connect(url, connect_timeout=5) as connection:
                figures = read_stream(connection)
                hours, sealed_before = read_hours(connection)
                rejected = read_rejected(connection)
            stream = judge_stream(figures)
        except psycopg.errors.UndefinedTable:
            stream = judge_stream(None)
        except psycopg.Error as error:
            why = f"PostgreSQL does not answer: {str(error).strip()}"
            stream = StreamHealth("unknown", False, why, f"look at {settings.logs / 'postgres.log'}")
    return Status(services, stream, figures, hours, sealed_before, rejected)


def render(status: Status) -> RenderableType:
    """One screen."""
    parts: list[RenderableType] = [_services_table(status.services)] if status.services else []
    color = "green" if status.stream.healthy else "red"
    parts.append(Text.assemble("\nStream ", (status.stream.word, f"bold {color}"), f": {status.stream.why}"))
    if status.stream.advice:
        parts.append(Text(f"  next: {status.stream.advice}"))
    if status.figures:
        parts.append(Text(_figures_line(status.figures), style="dim"))
    if status.hours:
        parts += [Text(""), _hours_table(status.hours, status.sealed_before)]
    if status.figures:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in status.rejected.items()) or "none"
        parts.append(Text(f"\nRejected in 24 h: {reasons}"))
    return Group(*parts)


def summary_line(status: Status) -> str:
    """One line, for where no screen can be drawn."""
    down = [service.name for service in status.services if not service.up]
    words = f"stream {status.stream.word}: {status.stream.why}"
    if status.figures:
        words += f"; {status.figures.records_per_second:,.0f} records/s, lag {status.figures.lag:,}"
    return f"{words}; down: {', '.join(down)}" if down else words


def _services(settings: Settings) -> list[ServiceStatus]:
    ports = {"postgres": settings.db_port, "kafka": settings.kafka_port, "api-server": settings.airflow_port}
    return [
        ServiceStatus(
            name=name,
            state=program.state.lower(),
            up=program.state == "RUNNING" or (name == "simulator" and program.state == "STOPPED"),
            pid=program.pid,
            port=ports.get(name),
            uptime_seconds=program.uptime_seconds,
        )
        for name, program in Supervisor(settings).states().items()
    ]


def _query(name: str) -> bytes:
    return (QUERIES / f"{name}.sql").read_bytes()


def read_stream(connection: psycopg.Connection) -> StreamFigures | None:
    """What the streaming driver last wrote; None before the first one."""
    with connection.cursor(row_factory=class_row(StreamFigures)) as cursor:
        return cursor.execute(_query("status_stream"), {"topic": TOPIC}).fetchone()


def read_hours(connection: psycopg.Connection) -> tuple[list[HourStatus], datetime | None]:
    """The newest hours, newest first, and the instant before which every hour is sealed."""
    rows = connection.execute(_query("status_hours"), {"newest": SHOWN_HOURS}).fetchall()
    sealed = connection.execute(_query("sealed_before"), {"grace_seconds": SEAL_GRACE_SECONDS}).fetchone()
    return [HourStatus(*row) for row in rows], sealed[0] if sealed else None


def read_rejected(connection: psycopg.Connection) -> dict[str, int]:
    """Reason -> records rejected in the last 24 hours, most first."""
    return dict(connection.execute(_query("status_rejected")).fetchall())


def _services_table(services: list[ServiceStatus]) -> Table:
    table = Table("service", "state", "pid", "port", "up for", box=None, pad_edge=False)
    for service in services:
        color = "green" if service.up else "red"
        table.add_row(
            service.name,
            Text(service.state, style=color),
            str(service.pid or ""),
            str(service.port or ""),
            _duration(service.uptime_seconds) if service.pid else "",
        )
    return table


def _hours_table(hours: list[HourStatus], sealed_before: datetime | None) -> Table:
    table = Table("hour (UTC)", "events", "state", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for hour in hours:
        state = judge_hour(hour.hour, sealed_before, computed=hour.computed, late=hour.late)
        table.add_row(f"{hour.hour:%Y-%m-%d %H:%M}", f"{hour.events:,}", state)
    return table


def _figures_line(figures: StreamFigures) -> str:
    last = "none yet" if figures.commit_age is None else f"{_duration(figures.commit_age)} ago"
    ui = f", Spark UI {figures.spark_ui_url}" if figures.spark_ui_url else ""
    return (
        f"  {figures.records_per_second:,.0f} records/s, lag {figures.lag:,} records, last commit {last}, "
        f"driver pid {figures.driver_pid}{ui}"
    )


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
