"""
# alerts

Looks whether the stream is stale, and whether an hour that ended 20 minutes ago is not computed, and tells
people by mail or a webhook: once when it begins, and once when it is over.

**Schedule**: every 5 minutes.

**Inputs**: `ops.streams`, the archive's manifest, `ops.hours`; connections `postgres_antenna` and
`antenna_alerts`. Without the latter the log of the task is all that tells.

**Outputs**: messages; `ops.alerts` keeps what is under way.

**Rerun**: trigger it. What was told is not told again.

**Recover**:

* *`tell_what_is_wrong` fails*: its message says what the mail server or the webhook answered; mend the
  connection `antenna_alerts`. What could not be told is told by the next run.
* *An alert tells of what is known*: pause this DAG as long as it lasts.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable, task

from antenna_airflow import assets
from antenna_airflow.defaults import DEFAULT_ARGS, OWNER_LINKS, Tag

with DAG(
    dag_id="alerts",
    description="Tells people when the stream is stale or an hour is overdue",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    start_date=datetime(2021, 1, 1, tzinfo=UTC),
    # Only what is wrong now matters.
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=10),
    default_args=DEFAULT_ARGS,
    owner_links=OWNER_LINKS,
    tags=[Tag.ALERTS],
) as dag:

    @task(
        inlets=[assets.BYTES, assets.BYTES_HOURLY],
        doc_md="If it fails: mend the connection antenna_alerts as the message says; the next run tells it.",
    )
    def tell_what_is_wrong() -> list[str]:
        """Return the subjects of what was told."""
        import psycopg

        from antenna_airflow.alerts import conditions, tell_changes
        from antenna_airflow.connections import antenna_db_conninfo

        with psycopg.connect(antenna_db_conninfo(), autocommit=True) as connection:
            return tell_changes(connection, conditions(connection))

    tell_what_is_wrong()
