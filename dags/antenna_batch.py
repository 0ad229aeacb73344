"""
# antenna_batch

Computes one hour: the totals per antenna, app and mail address in `bytes_hourly`, and the users over their
quota in `user_quota_limit`. The hour is replaced as a whole in one transaction, so that computing it again
gives the same rows.

* `choose_hour`: the config's `timestamp`, or else the run's data interval; for a run by hand without a
  config the last sealed hour.
* `wait_until_hour_sealed` waits, holding no worker, until the stream has consumed every partition past
  the hour.
* `compute_hour`: the Spark batch job, on the files of the archive's manifest.
* `checks`: the hour equals its twelve windows in `bytes`, and its files in the archive; antenna, app and
  mail totals agree; every row of `user_quota_limit` is over quota; no record was lost that nobody has
  acknowledged. A failed check shows the figures.

**Schedule**: hourly, one run for each closed hour. Its data interval is the hour, in UTC.

**Inputs**: the archive of events, `bytes`, `user_metadata`; connections `spark_default`, `postgres_antenna`;
Variable `antenna_storage`. The environment of Airflow may set `ANTENNA_BATCH_START`, the first hour (then
hours that passed while Airflow was not running are made up for), and `ANTENNA_BATCH_HOURS_AT_ONCE` (1).

**Outputs**: `bytes_hourly`, `user_quota_limit`.

**Rerun**: clear the run, or trigger the DAG with the config `{"timestamp": "2021-09-26T17:00:00+01:00"}`,
which computes the hour that contains that instant (16:00-17:00 UTC), whatever the logical date. Many hours:

    airflow backfill create --dag-id antenna_batch --reprocess-behavior completed \
        --from-date 2021-09-26T00:00:00Z --to-date 2021-09-26T09:00:00Z

**Recover**:

* *Waits for long*: the log of `wait_until_hour_sealed` names the partition that holds the hour back; look
  at `antenna_streaming`.
* *A check fails*: clear `compute_hour` with what follows it. If the figures still differ, the stream and the
  archive disagree: keep both as they are and look for the cause.
* *`no_records_lost` fails*: Kafka's retention overtook the stream, and the check names the offsets. The hour
  is computed from what was read. Send the records again or accept the loss, then `UPDATE ops.lost_offsets
  SET acknowledged_at = now()`, and clear the check.
* *Late events* need nothing: `late_hours` sees to them.
"""

import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, TaskGroup, task

from antenna_airflow import assets
from antenna_airflow.defaults import (
    CHECKS,
    DEFAULT_ARGS,
    JDBC_URI,
    JDBC_USER,
    OWNER_LINKS,
    POSTGRES_CONNECTION,
    SPARK_CONNECTION,
    SPARK_JOBS,
    STORAGE,
    Tag,
)
from antenna_airflow.operators.hour_check import HourCheckOperator
from antenna_airflow.operators.spark_submit import AntennaSparkSubmitOperator
from antenna_airflow.params import instant_param
from antenna_airflow.sensors.hour_sealed import HourSealedSensor

# Where this is set, the schedule also makes up for the hours since then in which Airflow was not running.
CATCH_UP_FROM = os.environ.get("ANTENNA_BATCH_START")
HOURS_AT_ONCE = int(os.environ.get("ANTENNA_BATCH_HOURS_AT_ONCE", "1"))

HOUR = "{{ ti.xcom_pull(task_ids='choose_hour') }}"

TIMESTAMP = instant_param(
    "Hour to compute",
    description_md=(
        "An instant in ISO 8601 **with its offset from UTC**: the hour that contains it is computed.\n\n"
        "* `2021-09-26T17:00:00+01:00` computes 16:00-17:00 UTC\n"
        "* `2021-09-26T16:35:00Z` computes the same hour\n\n"
        "Empty: the last sealed hour."
    ),
)

with DAG(
    dag_id="antenna_batch",
    description="Computes each closed hour from the archive, once it is sealed, and checks it",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime.fromisoformat(CATCH_UP_FROM or "2021-01-01T00:00:00+00:00"),
    catchup=bool(CATCH_UP_FROM),
    # A run that waits for its hour costs nothing; it must not keep a run by hand or a late hour waiting.
    max_active_runs=16,
    default_args=DEFAULT_ARGS,
    owner_links=OWNER_LINKS,
    params={"timestamp": TIMESTAMP},
    template_searchpath=[str(CHECKS)],
    tags=[Tag.BATCH],
) as dag:

    @task(doc_md="If it fails: give a timestamp as the message says. Spark was not started.")
    def choose_hour(**context: object) -> str:
        """Return the start of the hour to compute, ISO 8601 in UTC."""
        from antenna_airflow.hour_choice import choose_hour_of_run

        return choose_hour_of_run(context)

    wait_until_hour_sealed = HourSealedSensor(
        task_id="wait_until_hour_sealed",
        hour=HOUR,
        # Longer than any outage of the stream that is mended without looking here.
        timeout=timedelta(hours=12),
        doc_md="If it fails: look at antenna_streaming; the log names the partition that is behind.",
    )

    compute_hour = AntennaSparkSubmitOperator(
        task_id="compute_hour",
        name="antenna-batch",
        conn_id=SPARK_CONNECTION,
        application=str(SPARK_JOBS / "antenna_batch_job.py"),
        application_args=[
            *("--timestamp", HOUR),
            *("--storage-path", STORAGE),
            *("--jdbc-uri", JDBC_URI),
            *("--jdbc-user", JDBC_USER),
            *("--user-metadata-table", "user_metadata"),
            *("--bytes-hourly-table", "bytes_hourly"),
            *("--user-quota-limit-table", "user_quota_limit"),
        ],
        inlets=[assets.ARCHIVE_EVENTS, assets.USER_METADATA],
        outlets=[assets.BYTES_HOURLY, assets.USER_QUOTA_LIMIT],
        # Each Spark application takes about 1 GB: by default, a backfill computes one hour after the other.
        max_active_tis_per_dag=HOURS_AT_ONCE,
        # An hour of tens of millions of events takes minutes.
        execution_timeout=timedelta(hours=1),
        doc_md="If it fails: read the job's last lines in the log. The hour still has its former rows.",
    )

    with TaskGroup("checks") as checks:
        for name in (
            "hour_equals_windows",
            "hour_equals_archive",
            "totals_agree",
            "quota_limits_exceeded",
            "no_records_lost",
        ):
            HourCheckOperator(
                task_id=name,
                conn_id=POSTGRES_CONNECTION,
                sql=f"{name}.sql",
                parameters={"hour": HOUR},
                inlets=[assets.BYTES, assets.BYTES_HOURLY, assets.USER_QUOTA_LIMIT],
                doc_md="If it fails: clear compute_hour with what follows it. If the figures still differ, "
                "keep the archive and the tables as they are and look for the cause.",
            )

    choose_hour() >> wait_until_hour_sealed >> compute_hour >> checks
