"""
# late_hours

Finds the hours that received events after their batch ran, and has `antenna_batch` compute exactly those
again: there is one way of computing an hour, and each one is checked.

Late events are in `bytes` and in the archive as soon as the stream commits them; only `bytes_hourly` and
`user_quota_limit` lag behind, until this DAG has seen to them.

**Schedule**: every 10 minutes.

**Inputs**: the archive's manifest and `ops.hours`; connection `postgres_antenna`.

**Outputs**: one run of `antenna_batch` for each such hour, and by way of it `bytes_hourly` and
`user_quota_limit`.

**Rerun**: trigger it. Without late hours `recompute_hour` is skipped.

**Recover**:

* *`recompute_hour` fails*: open the run of `antenna_batch` that its log names. The next run of this DAG
  finds the hour again.
* *`antenna_batch` is paused*: unpause it.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, CronTriggerTimetable, task

from antenna_airflow import assets
from antenna_airflow.defaults import DEFAULT_ARGS, OWNER_LINKS, POSTGRES_CONNECTION, QUERIES, Tag

# Beyond these the next run goes on; Airflow allows a thousand mapped tasks.
HOURS_PER_RUN = 100

with DAG(
    dag_id="late_hours",
    description="Recomputes the hours that received events after their batch ran",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("*/10 * * * *", timezone="UTC"),
    start_date=datetime(2021, 1, 1, tzinfo=UTC),
    # Only the hours that are late now matter.
    catchup=False,
    # A second run would find the hours that the first still computes.
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    default_args=DEFAULT_ARGS,
    owner_links=OWNER_LINKS,
    tags=[Tag.BATCH],
) as dag:

    @task(inlets=[assets.ARCHIVE_EVENTS])
    def find_late_hours() -> list[dict[str, str]]:
        """Return the config of one run of antenna_batch for each late hour, the oldest first."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        hours = PostgresHook(POSTGRES_CONNECTION).get_records((QUERIES / "late_hours.sql").read_text())
        return [{"timestamp": hour.isoformat()} for (hour,) in hours[:HOURS_PER_RUN]]

    TriggerDagRunOperator.partial(
        task_id="recompute_hour",
        trigger_dag_id="antenna_batch",
        # Several runs of one hour must be possible, so they have no logical date.
        logical_date=None,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=5,
        # Otherwise the run would wait for ever.
        fail_when_dag_is_paused=True,
        # The next run of this DAG is the retry: it finds what is still late.
        retries=0,
        map_index_template="{{ task.conf['timestamp'] }}",
        outlets=[assets.BYTES_HOURLY, assets.USER_QUOTA_LIMIT],
        doc_md="If it fails: open the run of antenna_batch that the log names. It is tried again in 10 min.",
    ).expand(conf=find_late_hours())
