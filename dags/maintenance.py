"""
# maintenance

Keeps the archive in order, once a day. Streams and batches go on meanwhile.

* `sweep_leftovers` removes files that crashed drivers and maintenance runs left.
* `compact_closed_hours` merges the many small files of each sealed hour. The events, and what the batch
  layer has computed from them, stay what they are.
* `remove_old` removes what is older than the ages below. By default everything is kept.
* `check_integrity` compares the archive's manifest with its folder and with the tables. It fails with the
  figures of each difference and with what to do. With `deep` it reads every file.

**Schedule**: daily, at 03:40 UTC.

**Inputs**: the archives, `bytes`, `bytes_hourly` and the operational tables; connection `postgres_antenna`;
Variables `antenna_storage`, `antenna_max_lateness`. The environment of Airflow sets the ages, in days, and
with them the defaults of the form: `ANTENNA_RETENTION_EVENTS_DAYS`, `ANTENNA_RETENTION_BYTES_DAYS`,
`ANTENNA_RETENTION_REJECTED_DAYS`, `ANTENNA_RETENTION_HISTORY_DAYS`. One that is not set means: for ever.

**Outputs**: the archives, with fewer and larger files; `bytes`, without old windows.

**Rerun**: trigger it, or clear a task. Two runs at once take turns.

**Recover**:

* *It crashed*: run it again; it begins with what it left.
* *`remove_old` keeps hours that are old enough*: its log names them; they are not computed with all their
  events. `late_hours` sees to late events; trigger `antenna_batch` for hours that were never computed.
* *`check_integrity` fails*: do what stands below each difference, then clear it.

More: `docs/maintenance.md`.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param, task

from antenna_airflow import assets
from antenna_airflow.defaults import DEFAULT_ARGS, OWNER_LINKS, Tag
from antenna_airflow.retention_ages import days_from_environment

# An archive of terabytes takes hours to be read or merged for the first time.
LONG = timedelta(hours=12)


def days(name: str, title: str, description: str) -> Param:
    """The age in days after which something is removed; empty: never."""
    return Param(
        days_from_environment(name),
        type=["null", "integer"],
        minimum=1,
        title=title,
        description=f"{description} Empty: for ever. Default: ANTENNA_RETENTION_{name}_DAYS.",
    )


PARAMS = {
    "keep_events_days": days(
        "EVENTS",
        "Keep events for (days)",
        "Older hours of the archive are removed, once they are computed; they cannot be computed again then.",
    ),
    "keep_bytes_days": days(
        "BYTES", "Keep 5-minute windows for (days)", "Older rows of `bytes` are removed, hour by hour."
    ),
    "keep_rejected_days": days(
        "REJECTED",
        "Keep rejected records for (days)",
        "Older ones are removed, and cannot be replayed any more.",
    ),
    "keep_history_days": days(
        "HISTORY",
        "Keep the history for (days)",
        "Older rows of ops.micro_batches are removed, except those that a file refers to.",
    ),
    "target_file_mb": Param(
        128,
        type="integer",
        minimum=1,
        maximum=4096,
        title="Size of merged files (MiB)",
        description="Files are merged up to this size.",
    ),
    "deep": Param(
        False,
        type="boolean",
        title="Read every file",
        description="Also compare what each file holds, byte by byte. Takes as long as reading the archive.",
    ),
}

with DAG(
    dag_id="maintenance",
    description="Merges small files, removes what is too old, and checks that archive and tables agree",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("40 3 * * *", timezone="UTC"),
    start_date=datetime(2021, 1, 1, tzinfo=UTC),
    catchup=False,
    # Two would only wait for each other.
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=23),
    default_args=DEFAULT_ARGS,
    owner_links=OWNER_LINKS,
    params=PARAMS,
    tags=[Tag.MAINTENANCE],
) as dag:

    @task(
        execution_timeout=LONG,
        doc_md="If it fails: look whether PostgreSQL and the storage path can be reached, then clear it.",
    )
    def sweep_leftovers() -> int:
        """Returns how many files were removed."""
        from antenna_airflow import maintenance

        return maintenance.sweep_leftovers()

    @task(
        inlets=[assets.ARCHIVE_EVENTS, assets.ARCHIVE_REJECTED],
        outlets=[assets.ARCHIVE_EVENTS, assets.ARCHIVE_REJECTED],
        execution_timeout=LONG,
        doc_md="If it fails: make room on the storage path, or start PostgreSQL, then clear it.",
    )
    def compact_closed_hours(**context: object) -> list[str]:
        """Returns the paths of damaged files, which stay as they are."""
        from antenna_airflow import maintenance

        return maintenance.compact_hours(context["params"])  # type: ignore[arg-type]

    @task(
        outlets=[assets.ARCHIVE_EVENTS, assets.ARCHIVE_REJECTED, assets.BYTES],
        execution_timeout=LONG,
        doc_md="If it fails: correct the age that the message names, then trigger the DAG anew.",
    )
    def remove_old(**context: object) -> None:
        """Removes what is older than the params say."""
        from antenna_airflow import maintenance

        maintenance.remove_old(context["params"])  # type: ignore[arg-type]

    @task(
        inlets=[assets.ARCHIVE_EVENTS, assets.ARCHIVE_REJECTED, assets.BYTES, assets.BYTES_HOURLY],
        execution_timeout=LONG,
        doc_md="If it fails: do what stands below each difference, then clear it.",
    )
    def check_integrity(suspects: list[str], **context: object) -> None:
        """Reads the suspects whole in any case."""
        from antenna_airflow import maintenance

        maintenance.check_archive(context["params"], suspects)  # type: ignore[arg-type]

    damaged = compact_closed_hours()
    sweep_leftovers() >> damaged >> remove_old()
    check_integrity(damaged)  # type: ignore[arg-type]
