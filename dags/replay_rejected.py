"""
# replay_rejected

Takes up rejected records again, after the rules of `metering/events.py` or the Variable
`antenna_max_lateness` were changed. What the rules of today accept is counted as if the stream had accepted
it: in `bytes`, and in the archive with its topic, partition and offset. What they still refuse stays
rejected, with the reason of today. Nothing is read from Kafka.

A record counts once, whatever crashes and however often this runs: its sums, its event and its removal from
the rejected ones are one transaction. `late_hours` then computes the hours of these events again.

How old an event may be, or how far ahead, is judged as of the moment when its record came to Kafka.

**Inputs**: the archive of rejected records; the params of the form; connection `postgres_antenna`; Variables
`antenna_storage`, `antenna_max_lateness`.

**Outputs**: `bytes`, the archives of events and of rejected records.

**Rerun**: trigger it; what was taken up before is not there any more.

**Recover**:

* *It crashed*: run it again; it begins with what it left.
* *A sum would not fit BIGINT*: choose another reason or time, so that the record that is named is left out.
* *A file is damaged*: restore it; `make check DEEP=1` names all that are.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from antenna_airflow import assets
from antenna_airflow.defaults import DEFAULT_ARGS, OWNER_LINKS, Tag
from antenna_airflow.params import instant_param
from metering.reasons import REASONS


def instant(title: str, description: str) -> Param:
    """An instant; empty: no bound."""
    return instant_param(
        title, f"{description} ISO 8601 **with its offset from UTC**: `2026-11-24T16:00:00Z`. Empty: all."
    )


PARAMS = {
    "reason": Param(
        None,
        type=["null", "string"],
        enum=[None, *REASONS],
        title="Reason",
        description="Only records rejected for this reason. Empty: all but those refused by hand.",
    ),
    "came_from": instant("Came from", "Only records that came to Kafka at this instant or later."),
    "came_before": instant("Came before", "Only records that came to Kafka before this instant."),
}

with DAG(
    dag_id="replay_rejected",
    description="Counts rejected records that the rules of today accept",
    doc_md=__doc__,
    schedule=None,
    # Two would only wait for each other.
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    owner_links=OWNER_LINKS,
    params=PARAMS,
    tags=[Tag.MAINTENANCE],
) as dag:

    @task(
        inlets=[assets.ARCHIVE_REJECTED],
        outlets=[assets.BYTES, assets.ARCHIVE_EVENTS, assets.ARCHIVE_REJECTED],
        execution_timeout=timedelta(hours=12),
        doc_md="If it fails: read the message; what was taken up before stays counted. Then clear it.",
    )
    def take_up_rejected_records(**context: object) -> dict[str, object]:
        """Returns how many records were accepted and are still rejected, and the hours with new events."""
        from antenna_airflow import maintenance

        return maintenance.replay(context["params"])  # type: ignore[arg-type]

    take_up_rejected_records()
