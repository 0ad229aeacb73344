"""
# quota_alerts

Tells people, by mail or a webhook, which users passed their hourly quota: each user once for each hour, also
when the hour is computed again. Hours of more than two days ago are not told.

**Schedule**: whenever `user_quota_limit` was written, that is after each computed hour.

**Inputs**: `user_quota_limit`; connections `postgres_antenna` and `antenna_alerts`. Without the latter the
log of the task is all that tells.

**Outputs**: messages; `ops.told_breaches` keeps whom they named.

**Rerun**: trigger it. Who was told of is not told of again.

**Recover**:

* *`tell_who_passed_the_quota` fails*: its message says what the mail server or the webhook answered; mend the
  connection `antenna_alerts` and clear the task. Nobody counts as told until it was sent.
"""

from datetime import timedelta

from airflow.sdk import DAG, task

from antenna_airflow import assets
from antenna_airflow.defaults import DEFAULT_ARGS, OWNER_LINKS, Tag

with DAG(
    dag_id="quota_alerts",
    description="Tells people which users passed their hourly quota",
    doc_md=__doc__,
    schedule=[assets.USER_QUOTA_LIMIT],
    max_active_runs=1,
    dagrun_timeout=timedelta(minutes=10),
    default_args=DEFAULT_ARGS,
    owner_links=OWNER_LINKS,
    tags=[Tag.ALERTS],
) as dag:

    @task(
        inlets=[assets.USER_QUOTA_LIMIT],
        doc_md="If it fails: mend the connection antenna_alerts as the message says, and clear the task.",
    )
    def tell_who_passed_the_quota() -> int:
        """Return how many users were told of."""
        import psycopg

        from antenna_airflow.alerts import tell_breaches
        from antenna_airflow.connections import antenna_db_conninfo

        with psycopg.connect(antenna_db_conninfo(), autocommit=True) as connection:
            return tell_breaches(connection)

    tell_who_passed_the_quota()
