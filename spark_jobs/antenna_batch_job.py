"""Batch layer: computes one hour from its archive files and replaces it in PostgreSQL.

Run it with spark-submit. Exit codes: 0 done, 1 failed, 2 bad arguments. The same hour twice, or two runs of
it at once, leave the same rows.
"""

import sys
import time
from argparse import Namespace
from typing import NamedTuple

import psycopg
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import functions as sf

from metering import logs
from metering.archive import Storage, StorageError
from metering.arguments import batch_parser
from metering.database import DatabaseError, check_tables, connect, conninfo, read_password
from metering.failures import cause, say_last
from metering.hour_store import HourStore, Manifest
from metering.hourly import USER_TYPE, files_table, hour_totals, mail_totals, quota_breaches, users_table
from metering.session import start_session
from metering.telemetry import Telemetry, measure_hour

FILES_PER_TASK = 200
EVENTS_PER_TASK = 2_000_000


class HourRows(NamedTuple):
    """Rows of ``bytes_hourly`` (type, id, value) and of ``user_quota_limit`` (email, usage, quota)."""

    hourly: list[tuple[str, str, int]]
    breaches: list[tuple[str, int, int]]


def main() -> int:
    """Compute the hour of ``--timestamp``; returns the exit code."""
    started = time.monotonic()
    arguments = batch_parser().parse_args()
    try:
        dsn = check_inputs(arguments)
        with HourStore.locked(dsn, arguments.timestamp) as store:
            manifest = store.manifest()
            users = store.users(arguments.user_metadata_table)
            rows = compute(manifest, users, arguments.storage_path) if manifest.files else HourRows([], [])
            store.replace(
                arguments.bytes_hourly_table,
                rows.hourly,
                arguments.user_quota_limit_table,
                rows.breaches,
                manifest,
            )
    except (DatabaseError, StorageError) as error:
        return failed(str(error))
    except (PySparkException, Py4JJavaError) as error:
        # Several stages that fail at once come as Java's own error.
        return failed(cause(error))
    except psycopg.Error as error:
        return failed(f"PostgreSQL refused the hour {arguments.timestamp.isoformat()}: {str(error).strip()}")
    telemetry = Telemetry("antenna-batch", {})
    seconds = time.monotonic() - started
    measure_hour(telemetry, manifest.events, manifest.total_bytes, len(rows.breaches), seconds)
    telemetry.flush()
    logs.info(
        f"hour {arguments.timestamp.isoformat()}: "
        f"{manifest.events:,} events of {manifest.total_bytes:,} bytes in {len(manifest.files):,} files; "
        f"{len(rows.hourly):,} rows in {arguments.bytes_hourly_table}, "
        f"{len(rows.breaches):,} in {arguments.user_quota_limit_table}",
        hour=arguments.timestamp.isoformat(),
        commit_id=manifest.commit_id,
        events=manifest.events,
        bytes=manifest.total_bytes,
    )
    return 0


def check_inputs(arguments: Namespace) -> str:
    """The libpq connection string, once it is known to work and the tables are there."""
    dsn = conninfo(arguments.jdbc_uri, arguments.jdbc_user, read_password(arguments.jdbc_password_file))
    with connect(dsn, wait_seconds=15) as connection:
        check_tables(
            connection,
            [
                arguments.user_metadata_table,
                arguments.bytes_hourly_table,
                arguments.user_quota_limit_table,
                "ops.hours",
            ],
        )
    Storage(arguments.storage_path)
    return dsn


def compute(
    manifest: Manifest, users: list[tuple[str, str | None, int | None]], storage_path: str
) -> HourRows:
    """Total the hour's files and find who passed the quota."""
    spark = start_session("antenna-batch", ui=False)
    tasks = 1 + len(manifest.files) // FILES_PER_TASK + manifest.events // EVENTS_PER_TASK
    files = spark.createDataFrame(files_table(manifest.files)).repartition(tasks)
    owners = spark.createDataFrame(users_table(users))
    hour = hour_totals(files, storage_path).cache()
    mails = mail_totals(hour.where(sf.col("type") == USER_TYPE), owners)
    hourly = hour.where(sf.col("type") != USER_TYPE).unionByName(mails).select("type", "id", "value")
    breaches = quota_breaches(mails, owners).select("email", "usage", "quota")
    return HourRows([tuple(row) for row in hourly.collect()], [tuple(row) for row in breaches.collect()])


def failed(message: str) -> int:
    """Say what failed in one line; returns the exit code."""
    say_last(f"antenna_batch_job.py: {message}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
