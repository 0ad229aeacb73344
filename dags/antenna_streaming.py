"""
# antenna_streaming

Runs the streaming job, always one: it reads the topic `devices`, adds up 5-minute windows in `bytes` and
writes the archive, each event exactly once. The task's log shows its progress: rate, lag, last commit.

A driver that dies is replaced at once. One that hangs ends itself, or is killed when its heartbeat in
`ops.streams` has stood still for half a minute, even when it is frozen; then it is replaced too. A newer
driver takes the stream over from an older one, so that two can never count an event twice.

**Inputs**: the topic `devices`; connections `kafka_default`, `postgres_antenna`, `spark_default`; Variables

* `antenna_storage`, `antenna_checkpoint`: where the archive and Spark's checkpoint stand
* `antenna_max_lateness`: older events are rejected; seconds or `unlimited`, 7 days by default
* `antenna_trigger_interval`: `5 seconds` by default
* `antenna_refused_offsets`: records to reject by hand, such as `2:41` or `2:41,0:7-9`; `none` by default

**Outputs**: `bytes`, the archives of events and of rejected records, the operational tables (schema `ops`).

**Rerun**: clear the task: the driver stops, and a new one goes on where it was. To stop the stream, pause
the DAG and mark the task failed.

**Recover**:

* *Not provisioned, or no topic*: run `provision_schema`; the stream starts by itself.
* *Kafka or PostgreSQL away*: it goes on by itself when they are back.
* *Checkpoint lost*: nothing to do, the committed offsets stand in PostgreSQL.
* *`ALARM: records lost`*: Kafka's retention removed records before they were read. The log and
  `ops.lost_offsets` name the offsets, and the check `no_records_lost` of `antenna_batch` fails. The stream
  goes on. Send the records again or accept the loss, then `UPDATE ops.lost_offsets SET acknowledged_at =
  now()`.
* *A sum would be greater than the largest BIGINT*: nothing was committed, and each driver fails at it. Its
  last line names the record to look at; set the Variable `antenna_refused_offsets` to that place. The record
  is rejected, with the reason `refused`, and the stream goes on. The Variable may be deleted after that.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from antenna_airflow import assets
from antenna_airflow.defaults import (
    DEFAULT_ARGS,
    JDBC_URI,
    JDBC_USER,
    KAFKA_BOOTSTRAP_SERVERS,
    OWNER_LINKS,
    SPARK_CONNECTION,
    SPARK_JOBS,
    STORAGE,
    TOPIC,
    Tag,
)
from antenna_airflow.operators.streaming_submit import StreamingSubmitOperator

with DAG(
    dag_id="antenna_streaming",
    description="Runs and supervises the streaming job",
    doc_md=__doc__,
    schedule="@continuous",
    # Without a start in the past the second run gets the logical date of the first, and is never created.
    start_date=datetime(2021, 1, 1, tzinfo=UTC),
    # One driver; a second run would only take the stream over from the first.
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    owner_links=OWNER_LINKS,
    tags=[Tag.SPEED],
) as dag:
    StreamingSubmitOperator(
        task_id="run_stream",
        name="antenna-streaming",
        conn_id=SPARK_CONNECTION,
        topic=TOPIC,
        # The driver writes a heartbeat every 2 s and ends itself after 60 s with lag but without a commit;
        # this is for one that cannot do even that.
        hang_limit=30,
        application=str(SPARK_JOBS / "antenna_streaming_job.py"),
        application_args=[
            *("--kafka-bootstrap-servers", KAFKA_BOOTSTRAP_SERVERS),
            *("--topic", TOPIC),
            *("--jdbc-uri", JDBC_URI),
            *("--jdbc-user", JDBC_USER),
            *("--user-metadata-table", "user_metadata"),
            *("--bytes-table", "bytes"),
            *("--storage-path", STORAGE),
            *("--checkpoint-path", "{{ var.value.antenna_checkpoint }}"),
            *("--trigger-interval", "{{ var.value.get('antenna_trigger_interval', '5 seconds') }}"),
            *("--max-lateness", "{{ var.value.get('antenna_max_lateness', '604800') }}"),
            *("--refuse-offsets", "{{ var.value.get('antenna_refused_offsets', 'none') }}"),
        ],
        inlets=[assets.TOPIC_DEVICES, assets.USER_METADATA],
        outlets=[assets.BYTES, assets.ARCHIVE_EVENTS, assets.ARCHIVE_REJECTED],
        # A stream has no end, so no time limit either; the watchdog sees to one that hangs.
        execution_timeout=None,
        # The first restart comes at once; while the cause lasts (Kafka away), the pauses grow to 10 s.
        # After five the run fails, which calls the failure callback, and the schedule starts the next run.
        retries=5,
        retry_delay=timedelta(seconds=1),
        retry_exponential_backoff=2.0,
        max_retry_delay=timedelta(seconds=10),
        doc_md="If it fails: read the driver's last lines in the log. A new driver is started in any case.",
    )
