"""The batch layer's transformations: literal rows in, literal rows out, on a local Spark."""

from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual

from metering.hourly import mail_totals, quota_breaches, users_table

HOUR = 1_600_603_200


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", False)
        .config("spark.sql.shuffle.partitions", 1)
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture(scope="module")
def users(spark: SparkSession) -> DataFrame:
    rows = [
        ("d1", "one@x.org", 100),
        ("d2", "two@x.org", 40),
        ("d3", "two@x.org", 60),
        ("d4", "idle@x.org", 0),
        ("d5", None, 1),
        ("d6", "free@x.org", None),
    ]
    return spark.createDataFrame(users_table(rows))


def totals_of(spark: SparkSession, *rows: tuple[str, int]) -> DataFrame:
    return spark.createDataFrame(
        pa.table(
            {
                "window": pa.array([HOUR] * len(rows), pa.int64()),
                "type": ["user_total_bytes"] * len(rows),
                "id": [row[0] for row in rows],
                "value": pa.array([row[1] for row in rows], pa.int64()),
            }
        )
    )


def test_mail_totals(spark: SparkSession, users: DataFrame) -> None:
    devices = totals_of(spark, ("d1", 7), ("d2", 11), ("d3", 13), ("d5", 17), ("stranger", 19), ("other", 23))
    expected = [
        (HOUR, "mail_total_bytes", "one@x.org", 7),
        (HOUR, "mail_total_bytes", "two@x.org", 24),
        (HOUR, "mail_total_bytes", "unknown", 59),
    ]
    actual = mail_totals(devices, users)
    assert actual.columns == ["window", "type", "id", "value"]
    assertDataFrameEqual(actual, spark.createDataFrame(expected, actual.schema))


def test_quota_breaches_are_strict_and_add_up_devices(spark: SparkSession, users: DataFrame) -> None:
    devices = totals_of(spark, ("d1", 100), ("d2", 101), ("d4", 1), ("d6", 10**12), ("stranger", 10**12))
    expected = [("two@x.org", 101, 100, HOUR), ("idle@x.org", 1, 0, HOUR)]
    actual = quota_breaches(mail_totals(devices, users), users)
    assert actual.columns == ["email", "usage", "quota", "window"]
    assertDataFrameEqual(actual, spark.createDataFrame(expected, actual.schema))


def test_at_the_quota_nothing_is_passed(spark: SparkSession, users: DataFrame) -> None:
    devices = totals_of(spark, ("d1", 100), ("d2", 40), ("d3", 60), ("d4", 0))
    assert quota_breaches(mail_totals(devices, users), users).count() == 0
