"""
# provision_schema

Prepares everything that the other DAGs need. Runs once by itself; run it again after every upgrade and
after a change of the users. It only does what is still to be done: a second run changes nothing.

* `apply_migrations` checks the shape of the public tables, applies the numbered SQL of
  `include/sql/migrations/` that is not applied yet (schema `ops` keeps the list), and sets the database's
  time zone to UTC.
* `create_topic` creates the Kafka topic `devices` with 4 partitions, unless it exists.
* `grant_page_reader` lets the role of the connection `postgres_antenna_reader` read what the page "Antennas"
  shows. The role itself is made by whoever administers the server; without that connection it is skipped.
* `load_user_metadata` inserts new users and updates changed ones; users missing from the file stay.

**Inputs**: connections `postgres_antenna`, `postgres_antenna_reader`, `kafka_default`; a CSV file with the
header `id,name,email,quota` (quota: bytes per hour). The Variable `antenna_user_metadata_csv` names it;
without that it is `include/provisioner/user_metadata.csv`.

**Outputs**: the tables, the topic, the users.

**Rerun**: trigger it, or clear a task.

**Recover**, then clear the failed task:

* *A table has the wrong shape*: nothing was changed. Move it away or alter it, as the message says.
* *A broken CSV*: no user was loaded. Correct the lines that the message names.
"""

from airflow.sdk import DAG, task

from antenna_airflow import assets
from antenna_airflow.defaults import (
    DEFAULT_ARGS,
    KAFKA_CONNECTION,
    OWNER_LINKS,
    POSTGRES_CONNECTION,
    PROJECT_ROOT,
    READER_CONNECTION,
    TOPIC,
    Tag,
)

DEFAULT_USERS = PROJECT_ROOT / "include" / "provisioner" / "user_metadata.csv"

with DAG(
    dag_id="provision_schema",
    description="Creates the tables, the topic and the users; idempotent",
    doc_md=__doc__,
    schedule="@once",
    # Two at once would only wait for each other.
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    owner_links=OWNER_LINKS,
    tags=[Tag.PROVISION],
) as dag:

    @task(
        outlets=[assets.BYTES, assets.BYTES_HOURLY, assets.USER_QUOTA_LIMIT],
        doc_md="If it fails: read which table or migration the message names; nothing was changed by it.",
    )
    def apply_migrations() -> list[str]:
        """Bring the database up to date; returns the ids of the migrations newly applied."""
        from antenna_airflow.connections import antenna_db_conninfo
        from include.provisioner import schema

        return schema.apply_migrations(antenna_db_conninfo())

    @task(
        outlets=[assets.TOPIC_DEVICES],
        doc_md="If it fails: check Kafka and what the connection kafka_default says, then clear it.",
    )
    def create_topic() -> int:
        """Create the topic unless it exists; returns its number of partitions."""
        from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook

        from include.provisioner.topic import ensure_topic

        return ensure_topic(KafkaAdminClientHook(KAFKA_CONNECTION), TOPIC)

    @task(
        outlets=[assets.USER_METADATA],
        doc_md="If it fails: correct the lines of the CSV file that the message names, then clear it.",
    )
    def load_user_metadata() -> dict[str, int]:
        """Load the users; returns how many were inserted, updated and left unchanged."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook
        from airflow.sdk import Variable

        from include.provisioner import user_metadata

        csv_path = Variable.get("antenna_user_metadata_csv", default=str(DEFAULT_USERS))
        with PostgresHook(POSTGRES_CONNECTION).get_conn() as connection:
            return user_metadata.load_user_metadata(connection, csv_path)._asdict()

    @task(doc_md="If it fails: make the role as the message says, then clear it.")
    def grant_page_reader() -> list[str]:
        """Let the page's role read; returns the tables that it may read."""
        from airflow.providers.postgres.hooks.postgres import PostgresHook
        from airflow.sdk.exceptions import AirflowSkipException

        from antenna_airflow.connections import find_connection
        from include.provisioner.reader import grant_reader

        reader = find_connection(READER_CONNECTION)
        if reader is None:
            raise AirflowSkipException(f"There is no connection {READER_CONNECTION}: the page is not set up.")
        with PostgresHook(POSTGRES_CONNECTION).get_conn() as connection:
            return grant_reader(connection, reader.login or "")

    apply_migrations() >> [load_user_metadata(), grant_page_reader()]
    create_topic()
