"""The Spark session of a job, with the project's own package sent to the executors."""

from pyspark.sql import SparkSession

from metering.bundle import zip_package


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
    # Executors import what the passes are made of; bare spark-submit ships only the job's own file.
    archive = zip_package()
    if archive is not None:
        spark.sparkContext.addPyFile(str(archive))
    return spark
