"""What people are told, when, and by which way, with a real webhook and a real mail server."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowException

from antenna_airflow.alerts import ALERT_CONNECTION, AntennaNotifier, conditions, send, tell_changes
from tests.conftest import Database
from tests.integration.conftest import RunDag
from tests.receivers import Webhook, mail_server

Connect = Callable[..., None]
NOW = datetime.now(UTC)
HOUR = NOW.replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def webhook(connection_env: Connect) -> Iterator[Webhook]:
    made = Webhook()
    connection_env(
        ALERT_CONNECTION,
        conn_type="http",
        schema="http",
        host="127.0.0.1",
        port=made.port,
        password="a-token",
    )
    yield made
    made.stop()


@pytest.fixture
def connection(postgres_connection: Database) -> Iterator[psycopg.Connection]:
    with postgres_connection.connect() as connection:
        yield connection


def stream(connection: psycopg.Connection, heartbeat_age: int) -> None:
    connection.execute(
        "INSERT INTO ops.streams VALUES ('devices', 1, 'running', '', 'host', 1, NULL, now(), now(), now()) "
        "ON CONFLICT DO NOTHING"
    )
    connection.execute(
        "UPDATE ops.streams SET heartbeat_at = now() - make_interval(secs => %s), "
        "started_at = now() - interval '1 hour'",
        (heartbeat_age,),
    )


def archived(connection: psycopg.Connection, hour: datetime) -> None:
    connection.execute(
        "WITH batch AS (INSERT INTO ops.micro_batches (topic, epoch, accepted, rejected, rejected_by_reason, "
        "executor_ms) VALUES ('devices', 1, 1, 0, '{}', 1) RETURNING commit_id) "
        "INSERT INTO ops.archive_files (path, kind, hour, rows, total_bytes, file_size, offsets, commit_id) "
        "SELECT %s, 'events', %s, 1, 1, 1, '{}', commit_id FROM batch",
        (f"events/{hour.isoformat()}", hour),
    )


def computed(connection: psycopg.Connection, hour: datetime) -> None:
    connection.execute("INSERT INTO ops.hours VALUES (%s, 1, 1, 1)", (hour,))


def test_a_stale_stream_is_told_once_and_once_when_it_is_over(
    run_dag: RunDag, connection: psycopg.Connection, webhook: Webhook
) -> None:
    stream(connection, 0)
    assert run_dag("alerts")[0] == "success"
    assert webhook.texts == []
    stream(connection, 90)
    for _ in range(2):
        assert run_dag("alerts")[0] == "success"
    (text,) = webhook.texts
    assert text.startswith("The stream is stalled\nthe driver (pid 1) gave no sign of life for 9")
    assert "look at the log of run_stream in antenna_streaming" in text
    assert webhook.authorizations == ["Bearer a-token"]
    stream(connection, 0)
    assert run_dag("alerts")[0] == "success"
    assert webhook.texts[1:] == ["Over: The stream is stalled\nIt is no longer so."]


def test_an_hour_that_is_overdue(
    connection: psycopg.Connection, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTENNA_BATCH_START", raising=False)
    stream(connection, 0)
    hours = [HOUR - timedelta(hours=number) for number in range(6)]
    for hour in hours[:5]:
        archived(connection, hour)
    # Without a computed hour nobody knows where the schedule begins.
    assert conditions(connection) == {}
    computed(connection, hours[4])
    expected = [f"The hour {hour:%Y-%m-%d %H:%M} UTC is not computed" for hour in (hours[3], hours[2])]
    # The last hour is overdue from 20 minutes after its end on.
    assert [name for name in conditions(connection) if name in expected] == expected
    monkeypatch.setenv("ANTENNA_BATCH_START", hours[2].isoformat())
    assert expected[0] not in conditions(connection)
    assert tell_changes(connection, conditions(connection))[0] == expected[1]
    computed(connection, hours[2])
    assert f"Over: {expected[1]}" in tell_changes(connection, conditions(connection))


def test_what_cannot_be_sent_is_told_by_the_next_run(
    connection: psycopg.Connection, webhook: Webhook
) -> None:
    webhook.status = 503
    with pytest.raises(AirflowException, match="the webhook answered 503; check its host and password"):
        tell_changes(connection, {"A condition": "why"})
    webhook.status = 200
    assert tell_changes(connection, {"A condition": "why"}) == ["A condition"]
    assert webhook.texts == ["A condition\nwhy"]


def test_who_passed_the_quota_is_told_once(
    run_dag: RunDag, connection: psycopg.Connection, webhook: Webhook
) -> None:
    def breach(email: str, hour: datetime) -> None:
        connection.execute("INSERT INTO user_quota_limit VALUES (%s, 2500000, 1000000, %s)", (email, hour))

    hour = HOUR - timedelta(hours=1)
    breach("ana@x.org", hour)
    breach("old@x.org", HOUR - timedelta(days=3))
    assert run_dag("quota_alerts")[0] == "success"
    when = f"{hour:%Y-%m-%d %H:%M} UTC"
    assert webhook.texts == [
        f"1 users over quota in the hour {when}\nana@x.org: 2,500,000 of 1,000,000 bytes"
    ]
    # The hour is computed again: only who is new is told.
    breach("bob@x.org", hour)
    for _ in range(2):
        assert run_dag("quota_alerts")[0] == "success"
    assert len(webhook.texts) == 2
    assert "bob@x.org" in webhook.texts[1]
    assert "ana@x.org" not in webhook.texts[1]


def test_by_mail(connection_env: Connect) -> None:
    with mail_server() as (port, mails):
        connection_env(
            ALERT_CONNECTION,
            conn_type="smtp",
            host="127.0.0.1",
            port=port,
            extra={
                "to": "on-call@example.org",
                "from_email": "antenna@example.org",
                "disable_ssl": True,
                "disable_tls": True,
            },
        )
        AntennaNotifier("The subject", "The text <1>").notify({})
    (mail,) = mails
    assert (mail["To"], mail["From"], mail["Subject"]) == (
        "on-call@example.org",
        "antenna@example.org",
        "The subject",
    )
    body = mail.get_body(("html",))
    assert body is not None
    assert body.get_content().strip() == "<pre>The text &lt;1&gt;</pre>"


def test_without_a_connection_a_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    send("The subject", "the text")
    assert "ALERT The subject: the text" in caplog.text


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"conn_type": "smtp", "host": "127.0.0.1"}, "its extra names no address to send mail to"),
        ({"conn_type": "postgres"}, "is of the type 'postgres'; give smtp or http"),
        (
            {"conn_type": "http", "host": "http://127.0.0.1:9/secret-path"},
            "the webhook does not answer (ConnectError)",
        ),
    ],
)
def test_a_connection_that_is_no_way(
    connection_env: Connect, fields: dict[str, object], complaint: str
) -> None:
    connection_env(ALERT_CONNECTION, **fields)
    with pytest.raises(AirflowException) as caught:
        send("subject", "text")
    assert complaint in str(caught.value)
    assert "secret-path" not in str(caught.value)


def test_a_task_that_fails_is_told(run_dag: RunDag, postgres_connection: Database, webhook: Webhook) -> None:
    assert run_dag("antenna_batch", {"timestamp": "2121-09-26T16:00:00Z"})[0] == "failed"
    (text,) = [text for text in webhook.texts if text.startswith("antenna_batch.choose_hour failed")]
    assert "has not begun" in text
    assert "NEXT: give a timestamp" in text
