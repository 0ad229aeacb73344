"""Speed layer: meters the Kafka topic into the table of 5-minute windows and the Parquet archive.

Run it with spark-submit and Spark's Kafka connector on the class path. Exit codes: 0 done
(--available-now), 1 failed, 2 bad arguments, 3 superseded by a newer driver, 4 hung, 143 ended by SIGTERM.
"""

import json
import os
import signal
import socket
import sys
import threading
from argparse import Namespace
from types import FrameType

import psycopg
from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from metering import logs
from metering.archive import Storage, StorageError
from metering.arguments import streaming_parser
from metering.checkpoints import begin_checkpoint
from metering.commits import StreamStore, SupersededError
from metering.database import DatabaseError, check_tables, connect, conninfo, read_password
from metering.failures import cause, say_last
from metering.heartbeat import EXIT_SUPERSEDED, Heartbeat, end_process
from metering.kafka_log import KafkaError, KafkaLog
from metering.micro_batch import MicroBatchWriter
from metering.offsets import check_offsets, starting_offsets
from metering.session import start_session
from metering.telemetry import StreamMetrics, Telemetry

# Measured: the size of a fetch is the largest single lever on the rate.
FETCH_OPTIONS = {
    "kafka.max.poll.records": "20000",
    "kafka.max.partition.fetch.bytes": str(32 * 1024 * 1024),
    "kafka.fetch.max.bytes": str(64 * 1024 * 1024),
    "kafka.isolation.level": "read_committed",
}
MAX_RECORDS_PER_MICRO_BATCH = 1_000_000
STOP_SECONDS = 3.0


def main() -> int:
    """Take over the topic, meter it until told to stop; returns the exit code."""
    arguments = streaming_parser().parse_args()
    stop = stop_on_signals()
    try:
        dsn = check_database(arguments)
        storage = Storage(arguments.storage_path)
        storage.check_writable()
        spark = start_session(f"antenna-streaming {arguments.topic}")
        log = KafkaLog(
            spark, arguments.kafka_bootstrap_servers, arguments.topic, arguments.kafka_options_file
        )
        store = take_over(dsn, arguments, log, storage, spark)
        return meter(spark, arguments, dsn, store, log, storage, stop)
    except psycopg.Error as error:
        say_last(f"antenna_streaming_job.py: PostgreSQL refused: {str(error).strip()}")
        return 1
    except (DatabaseError, StorageError, KafkaError) as error:
        say_last(f"antenna_streaming_job.py: {error}")
        return 1


def check_database(arguments: Namespace) -> str:
    """The libpq connection string, once it is known to work and the tables are there."""
    dsn = conninfo(arguments.jdbc_uri, arguments.jdbc_user, read_password(arguments.jdbc_password_file))
    with connect(dsn, wait_seconds=15) as connection:
        check_tables(connection, [arguments.user_metadata_table, arguments.bytes_table, "ops.streams"])
    return dsn


def take_over(
    dsn: str, arguments: Namespace, log: KafkaLog, storage: Storage, spark: SparkSession
) -> StreamStore:
    """Open a new epoch, which shuts out older drivers, and remove what they left uncommitted."""
    log.partitions()
    store = StreamStore(dsn, arguments.topic, arguments.bytes_table)
    epoch = store.open_epoch(socket.gethostname(), os.getpid(), spark.sparkContext.uiWebUrl)
    leftovers = store.sweep(storage)
    logs.bind(topic=arguments.topic, epoch=epoch)
    logs.info(f"epoch {epoch} meters topic {arguments.topic}; removed {len(leftovers)} uncommitted files")
    return store


def meter(
    spark: SparkSession,
    arguments: Namespace,
    dsn: str,
    store: StreamStore,
    log: KafkaLog,
    storage: Storage,
    stop: threading.Event,
) -> int:
    """Run the query until it ends, fails or ``stop`` is set; returns the exit code."""
    check_offsets(store, log)
    telemetry = Telemetry("antenna-streaming", {"topic": arguments.topic, "epoch": store.epoch})
    metrics = StreamMetrics(telemetry)
    writer = MicroBatchWriter(
        store, log, storage, arguments.max_future, arguments.max_lateness, arguments.refuse_offsets, metrics
    )
    query = start_query(spark, arguments, store, writer)
    heartbeat = Heartbeat(
        dsn,
        arguments.topic,
        store.epoch,
        log,
        lambda: completed_positions(query, arguments.topic),
        writer.progress,
        arguments.hang_timeout,
        end_process,
        metrics,
    )
    heartbeat.start()
    java_lives = wait_for_end(query, stop)
    heartbeat.stop()
    if stop.is_set():
        # Airflow kills after 5 seconds: let an open transaction finish if it is quick, begin no other.
        writer.committing.acquire(timeout=STOP_SECONDS)
        store.close_epoch("stopped", "stopped by a signal")
        end_process(128 + signal.SIGTERM, "stopped by a signal; everything committed is kept")
    if not java_lives:
        message = "Spark's Java process ended; see the lines above, or whether it was killed for its memory"
        store.close_epoch("failed", message)
        end_process(1, f"antenna_streaming_job.py: {message}")
    telemetry.flush()
    return outcome(query, writer, store)


def wait_for_end(query: StreamingQuery, stop: threading.Event) -> bool:
    """Wait until the query ends or ``stop`` is set; returns whether Spark's Java process still answers."""
    try:
        while not stop.wait(0.2) and query.isActive:
            pass
    except (Py4JError, OSError):
        # The signal that ended Java may be on its way to this process too.
        stop.wait(1)
        return False
    return True


def start_query(
    spark: SparkSession, arguments: Namespace, store: StreamStore, writer: MicroBatchWriter
) -> StreamingQuery:
    """Start reading where the committed offsets end.

    The checkpoint only frames the micro-batches of this epoch: it is begun afresh by every driver, since
    the offsets in PostgreSQL are the truth.
    """
    security = {f"kafka.{name}": value for name, value in arguments.kafka_options_file.items()}
    records = (
        spark.readStream.format("kafka")
        .options(**FETCH_OPTIONS)
        .options(**security)
        .option("kafka.bootstrap.servers", arguments.kafka_bootstrap_servers)
        .option("subscribe", arguments.topic)
        .option("startingOffsets", starting_offsets(arguments.topic, store.next_offsets()))
        .option("failOnDataLoss", False)  # lost ranges are found and recorded by the micro-batch itself
        .option("maxOffsetsPerTrigger", MAX_RECORDS_PER_MICRO_BATCH)
        .load()
    )
    timing = records.writeStream.queryName("antenna_streaming").foreachBatch(writer)
    if arguments.available_now:
        timing = timing.trigger(availableNow=True)
    else:
        timing = timing.trigger(processingTime=arguments.trigger_interval)
    checkpoint = begin_checkpoint(arguments.checkpoint_path, arguments.topic, store.epoch)
    return timing.option("checkpointLocation", checkpoint).start()


def completed_positions(query: StreamingQuery, topic: str) -> dict[int, int]:
    """Partition -> the offset up to which micro-batches are complete, by Spark's own account."""
    progress = query.lastProgress
    if progress is None or not progress.sources or not progress.sources[0].endOffset:
        return {}
    offsets = json.loads(progress.sources[0].endOffset)[topic]
    return {int(partition): int(offset) for partition, offset in offsets.items()}


def outcome(query: StreamingQuery, writer: MicroBatchWriter, store: StreamStore) -> int:
    """Report how the query ended, in the log and in ``ops.streams``; returns the exit code."""
    failure = writer.failure or query.exception()
    if failure is None:
        store.close_epoch("stopped", "everything available was consumed")
        return 0
    message = cause(failure)
    say_last(f"antenna_streaming_job.py: {message}")
    if isinstance(failure, SupersededError):
        return EXIT_SUPERSEDED
    store.close_epoch("failed", message)
    return 1


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


if __name__ == "__main__":
    sys.exit(main())
