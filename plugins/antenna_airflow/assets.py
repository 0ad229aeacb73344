"""The data that the DAGs read and write, as Airflow assets."""

from airflow.sdk import Asset

# Where these stand is known only to the connections, so the addresses name the connection.
TOPIC_DEVICES = Asset(name="topic devices", uri="antenna://kafka_default/devices")
ARCHIVE_EVENTS = Asset(name="archive of events", uri="antenna://storage/events")
ARCHIVE_REJECTED = Asset(name="archive of rejected records", uri="antenna://storage/rejected")
USER_METADATA = Asset(name="user_metadata", uri="antenna://postgres_antenna/public/user_metadata")
BYTES = Asset(name="bytes", uri="antenna://postgres_antenna/public/bytes")
BYTES_HOURLY = Asset(name="bytes_hourly", uri="antenna://postgres_antenna/public/bytes_hourly")
USER_QUOTA_LIMIT = Asset(name="user_quota_limit", uri="antenna://postgres_antenna/public/user_quota_limit")
