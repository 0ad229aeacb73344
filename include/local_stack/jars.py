"""The jars that are not in pyspark: the Kafka broker's and those of Spark's Kafka source, fetched once."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from include.local_stack.settings import StackError, package_folder, write_private

FOLDER = Path(__file__).parent
IVY_FILE = FOLDER / "ivy.xml"

LOG4J2_PROPERTIES = """\
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.console.type = Console
appender.console.name = stderr
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
"""


def resolve(jars: Path) -> bool:
    """Make `jars`/spark and `jars`/kafka hold the pinned jars; return whether anything had to be fetched.

    Raises StackError with Ivy's own words when they cannot be had.
    """
    wanted = hashlib.sha256(IVY_FILE.read_bytes()).hexdigest()
    stamp = jars / "complete"
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    jars.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars, prefix=".fetching-") as work:
        _retrieve(Path(work))
        for name in ("spark", "kafka"):
            shutil.rmtree(jars / name, ignore_errors=True)
            (Path(work) / name).rename(jars / name)
    stamp.write_text(wanted)
    return True


def spark_jars(jars: Path) -> list[Path]:
    """The jar files that a Spark job needs besides pyspark's."""
    return sorted((jars / "spark").glob("*.jar"))


def kafka_class_path(jars: Path) -> str:
    """Java class path of the broker."""
    return str(jars / "kafka" / "*")


def write_spark_conf(folder: Path, jars: Path, driver_memory: str = "1g") -> Path:
    """Write what SPARK_CONF_DIR names: jars as files (no download at submit time), memory, 127.0.0.1 only."""
    folder.mkdir(parents=True, exist_ok=True)
    defaults = {
        "spark.jars": ",".join(map(str, spark_jars(jars))),
        "spark.driver.memory": driver_memory,
        # On one small machine start-up dominates: the quick compiler and collector save 40 % of a job's
        # processor time there. A cluster sets its own.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.showConsoleProgress": "false",
        # What Spark tells of itself, and of the stream's rates, stands in its web page for Prometheus.
        "spark.sql.streaming.metricsEnabled": "true",
        "spark.metrics.conf.driver.sink.prometheusServlet.class": (
            "org.apache.spark.metrics.sink.PrometheusServlet"
        ),
        "spark.metrics.conf.driver.sink.prometheusServlet.path": "/metrics/prometheus",
    }
    write_private(folder / "spark-defaults.conf", "".join(f"{k} {v}\n" for k, v in defaults.items()))
    write_private(folder / "log4j2.properties", LOG4J2_PROPERTIES)
    return folder


def java_program() -> str:
    """The java to run: of JAVA_HOME, or else from PATH. Raises StackError when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        where = f"JAVA_HOME={home} has no bin/java" if home else "there is no java on PATH"
        raise StackError(f"Java 17 or newer is needed, and {where}. `make setup` installs it on Debian.")
    return found


def _retrieve(work: Path) -> None:
    ivy = next((package_folder("pyspark") / "jars").glob("ivy-*.jar"))
    command = [
        java_program(), "-jar", str(ivy),
        "-settings", str(FOLDER / "ivysettings.xml"), "-ivy", str(IVY_FILE), "-cache", str(work / "cache"),
        "-types", "jar", "-retrieve", str(work / "[conf]" / "[artifact]-[revision].[ext]"),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        _, _, problems = result.stdout.partition(":: problems summary ::")
        lines = [line.strip() for line in (problems or result.stderr).splitlines() if line.strip(" \t:")]
        raise StackError(
            "The jars of Kafka and of Spark's Kafka source could not be fetched from Maven Central. "
            "Is the network there? Ivy says:\n" + "\n".join(lines[:15])
        )
