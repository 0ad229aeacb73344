"""The Spark session of a job, with the project's own package sent to the executors."""

import tempfile
import zipfile
from pathlib import Path

from pyspark.sql import SparkSession


def start_session(name: str, *, ui: bool = True) -> SparkSession:
    """Start Spark under whatever master ``spark-submit`` was given, with or without its web page."""
    spark = (
        SparkSession.builder.appName(name)
        .config("spark.ui.enabled", ui)
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", 100_000)
        .config("spark.sql.execution.arrow.maxBytesPerBatch", "64m")
        .config("spark.sql.streaming.noDataMicroBatches.enabled", False)
        .config("spark.sql.streaming.minBatchesToRetain", 2)
        .config("spark.sql.ansi.enabled", True)
        # What is shuffled is one row per file and key, which is little.
        .config("spark.sql.shuffle.partitions", 8)
        .getOrCreate()
    )
    _ship_package(spark)
    return spark


def _ship_package(spark: SparkSession) -> None:
    # Executors import what the passes are made of; bare spark-submit ships only the job's own file.
    package = Path(__file__).parent
    archive = Path(tempfile.mkdtemp(prefix="antenna-")) / f"{package.name}.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for module in sorted(package.glob("*.py")):
            bundle.write(module, f"{package.name}/{module.name}")
    spark.sparkContext.addPyFile(str(archive))
