"""Tells people what needs them: by mail or a webhook, as the connection `antenna_alerts` says."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from html import escape
from itertools import groupby
from typing import Any, Final

import httpx
import psycopg
from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk import BaseNotifier, Connection
from airflow.sdk.exceptions import AirflowException

from antenna_airflow.connections import find_connection
from antenna_airflow.defaults import QUERIES
from include.local_stack.health import judge_stream
from include.local_stack.status import read_stream

logger = logging.getLogger(__name__)

ALERT_CONNECTION: Final = "antenna_alerts"
OVERDUE_MINUTES: Final = 20
# A mail about more is not read.
SHOWN_USERS: Final = 50
SECONDS: Final = 30
Send = Callable[[str, str], None]


class AntennaNotifier(BaseNotifier):
    """For callbacks of any DAG: sends a subject and a text, both templates."""

    template_fields: Sequence[str] = ("subject", "text")

    def __init__(self, subject: str, text: str) -> None:
        super().__init__()
        self.subject = subject
        self.text = text

    def notify(self, context: Any) -> None:
        """Send; raises what `send` raises."""
        send(self.subject, self.text)


def send(subject: str, text: str) -> None:
    """Send by the connection `antenna_alerts`; without one, log a line.

    A connection of type smtp sends a mail to the address `to` of its extra; one of type http posts
    {"text": ...}, which chat services understand, to the address in its host, with its password as a bearer
    token. Raises AirflowException, which names no secret, when it is not accepted.
    """
    connection = find_connection(ALERT_CONNECTION)
    logger.warning("ALERT %s: %s", subject, text)
    if connection is None:
        logger.info("There is no connection %s, so nobody else is told: see docs/alerts.md", ALERT_CONNECTION)
    elif connection.conn_type == "smtp":
        _mail(connection, subject, text)
    elif connection.conn_type in ("http", "https"):
        _post(connection, subject, text)
    else:
        raise AirflowException(
            f"Connection {ALERT_CONNECTION} is of the type {connection.conn_type!r}; give smtp or http."
        )


def _mail(connection: Connection, subject: str, text: str) -> None:
    to = str(connection.extra_dejson.get("to", ""))
    if "@" not in parseaddr(to)[1]:
        raise AirflowException(
            f"Connection {ALERT_CONNECTION}: its extra names no address to send mail to; "
            'give {"to": "somebody@example.org", "from_email": "antenna@example.org"}.'
        )
    with SmtpHook(smtp_conn_id=ALERT_CONNECTION) as hook:
        hook.send_email_smtp(to=to, subject=subject, html_content=f"<pre>{escape(text)}</pre>")


def _post(connection: Connection, subject: str, text: str) -> None:
    host = str(connection.host or "")
    port = f":{connection.port}" if connection.port else ""
    url = host if "://" in host else f"{connection.schema or 'https'}://{host}{port}"
    headers = {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
    try:
        answer = httpx.post(url, json={"text": f"{subject}\n{text}"}, headers=headers, timeout=SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The address itself may be a secret.
        raise AirflowException(
            f"Connection {ALERT_CONNECTION}: the webhook does not answer ({type(error).__name__}); "
            "check its host."
        ) from None
    if not answer.is_success:
        raise AirflowException(
            f"Connection {ALERT_CONNECTION}: the webhook answered {answer.status_code}; "
            "check its host and password."
        )


def conditions(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Name -> message of what is wrong now: the stream, and each hour that is overdue."""
    found = {}
    judged = judge_stream(read_stream(connection))
    if not judged.healthy:
        found["The stream is " + judged.word] = f"{judged.why}. Next: {judged.advice}."
    parameters = {
        "scheduled_from": os.environ.get("ANTENNA_BATCH_START"),
        "overdue": timedelta(minutes=OVERDUE_MINUTES),
    }
    query = (QUERIES / "overdue_hours.sql").read_bytes()
    for (hour,) in connection.execute(query, parameters).fetchall():
        found[f"The hour {_utc(hour)} is not computed"] = (
            f"It ended more than {OVERDUE_MINUTES} minutes ago and holds events. Next: look at its run of "
            "antenna_batch; if it waits, the log of wait_until_hour_sealed says for what."
        )
    return found


def tell_changes(
    connection: psycopg.Connection[Any], wrong: Mapping[str, str], send: Send = send
) -> list[str]:
    """Tell of each condition when it begins and when it has ended; returns the subjects.

    What cannot be sent counts as not told, so that the next call tells it (perhaps again).
    """
    with connection.transaction():
        rows = connection.execute("SELECT name FROM ops.alerts FOR UPDATE").fetchall()
        known = {name for (name,) in rows}
        told = []
        for name in [name for name in wrong if name not in known]:
            statement = "INSERT INTO ops.alerts (name, message) VALUES (%s, %s)"
            connection.execute(statement, (name, wrong[name]))
            send(name, wrong[name])
            told.append(name)
        for name in sorted(known - wrong.keys()):
            connection.execute("DELETE FROM ops.alerts WHERE name = %s", (name,))
            send(f"Over: {name}", "It is no longer so.")
            told.append(f"Over: {name}")
    return told


def tell_breaches(connection: psycopg.Connection[Any], send: Send = send) -> int:
    """Tell who passed the quota in an hour of the last two days, each user once an hour; returns how many."""
    with connection.transaction():
        connection.execute("DELETE FROM ops.told_breaches WHERE timestamp < now() - INTERVAL '7 days'")
        rows = connection.execute((QUERIES / "new_breaches.sql").read_bytes()).fetchall()
        for hour, of_hour in groupby(rows, key=lambda row: row[0]):
            users = list(of_hour)
            lines = [
                f"{email}: {usage:,} of {quota:,} bytes" for _, email, usage, quota in users[:SHOWN_USERS]
            ]
            if len(users) > SHOWN_USERS:
                lines.append(f"and {len(users) - SHOWN_USERS:,} more, see user_quota_limit")
            send(f"{len(users):,} users over quota in the hour {_utc(hour)}", "\n".join(lines))
    return len(rows)


def _utc(hour: datetime) -> str:
    return f"{hour.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
