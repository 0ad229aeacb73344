"""The rig of most drills: bare spark-submit drivers, a broker and a PostgreSQL server that may be harmed."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from confluent_kafka.admin import AdminClient, NewTopic

from include.local_stack.kafka import Kafka
from include.local_stack.postgres import Postgres
from include.local_stack.settings import free_port
from include.provisioner.schema import apply_migrations
from include.provisioner.user_metadata import load_user_metadata
from include.simulator.generator import Traffic
from include.simulator.ledger import User
from tests.object_store import ObjectStore

from .batch import BatchServer
from .disk import Disk
from .driver import Driver, Supervisor
from .proxy import Proxy
from .system import LARGEST_MESSAGE, USERS_CSV, System

PARTITIONS = 4
PASSWORD = "antenna-drill-password"
YEAR_SECONDS = 365 * 86_400
DRIVER = Path(__file__).with_name("faulty_driver.py")


class Servers:
    """Kafka, PostgreSQL with its data on a small file system, and the batch job: once a session."""

    def __init__(self, folder: Path, jars: Path, spark_conf_dir: Path, object_store: ObjectStore) -> None:
        self.folder = folder
        self.spark_conf_dir = spark_conf_dir
        self.kafka = Kafka(folder / "kafka", free_port(), jars, folder / "kafka.log")
        self.database_disk = Disk(folder / "postgres")
        log = folder / "postgres.log"
        self.postgres = Postgres(self.database_disk.folder, free_port(), PASSWORD, log)
        self.object_store = object_store
        self.batch = BatchServer(folder / "batch", spark_conf_dir, object_store.environment)
        self.other_batch = BatchServer(folder / "other-batch", spark_conf_dir)
        self._systems = 0

    def start(self) -> None:
        """Start both servers."""
        self.postgres.start()
        with self.postgres.connect_as_superuser() as connection:
            # The small file system is to hold data, not old log.
            connection.execute("ALTER SYSTEM SET max_wal_size = '96MB'")
            connection.execute("SELECT pg_reload_conf()")
        self.kafka.start()

    def repair(self) -> None:
        """Start what a failed drill left stopped, and give back what it took."""
        self.database_disk.release()
        for service in (self.postgres, self.kafka):
            if not service.is_running:
                service.start()

    def stop(self) -> None:
        """Stop everything."""
        for server in (self.batch, self.other_batch, self.kafka, self.postgres):
            server.stop()
        self.database_disk.unmount()

    def new_rig(self, kind: type["Rig"]) -> "Rig":
        """A fresh topic, database, storage and driver."""
        self._systems += 1
        name = f"drill_{self._systems}"
        config = {"max.message.bytes": str(LARGEST_MESSAGE)}
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers})
        admin.create_topics([NewTopic(name, PARTITIONS, 1, config=config)])[name].result(30)
        self.postgres.ensure_database(name, PASSWORD)
        return kind(self, name)


class Rig(System):
    """A system whose driver is kept running by a supervisor, and reaches PostgreSQL by way of a proxy."""

    def __init__(self, servers: Servers, name: str) -> None:
        self.servers = servers
        self.disk = Disk(servers.folder / name / "storage")
        url = f"postgresql://{name}:{PASSWORD}@127.0.0.1:{servers.postgres.port}/{name}"
        super().__init__(
            folder=servers.folder / name,
            storage=self.disk.folder,
            bootstrap_servers=servers.kafka.bootstrap_servers,
            topic=name,
            db_url=url,
            batch=servers.batch,
        )
        apply_migrations(url)
        with self.connect() as connection:
            load_user_metadata(connection, USERS_CSV)
        self.proxy = Proxy(servers.postgres.port)
        self.proxy.start()
        self.supervisor = Supervisor(self._start_driver)
        self.extra_arguments: list[str] = []
        self.retired = False
        self._prepare()
        self.supervisor.start()

    def _prepare(self) -> None:
        """What another kind of rig does before its first driver starts."""

    @property
    def driver(self) -> Driver:
        """The driver that runs now."""
        return self.supervisor.current

    def begin(self, luck: Random) -> None:
        """Send traffic of every kind, and wait until the driver commits it."""
        self.start_traffic(mixed_traffic(luck))
        self.seconds_to_commit(time.time())

    def close(self) -> None:
        """End the driver and give the storage back."""
        self.abandon_traffic()
        self.disk.release()
        self.supervisor.stop()
        self.proxy.stop()
        self.disk.unmount()

    def describe(self) -> str:
        return f"the driver's log ends:\n{self.driver.log[-3000:]}"

    def driver_pid(self) -> int:
        """The Python process of the driver that holds the stream."""
        ((pid,),) = self.query("SELECT driver_pid FROM ops.streams WHERE topic = %s", self.topic)
        return int(pid)

    @contextmanager
    def no_driver(self) -> Iterator[Driver]:
        """Kill the driver; its successor starts when the block is left."""
        self.supervisor.hold()
        driver = self.driver
        driver.kill()
        yield driver
        self.supervisor.start()

    @contextmanager
    def changed_users(self, device: str, quota: int, gone: str) -> Iterator[None]:
        """Another quota for one device, and no owner any more for the device `gone`."""
        before = dict(self.users)
        self.users[device] = User(before[device].email, quota)
        del self.users[gone]
        with self.connect() as connection:
            connection.execute("UPDATE user_metadata SET quota = %s WHERE id = %s", (quota, device))
            connection.execute("DELETE FROM user_metadata WHERE id = %s", (gone,))
        yield
        self.users = before
        with self.connect() as connection:
            load_user_metadata(connection, USERS_CSV)

    def start_other(self, folder: str, *, checkpoint: str = "checkpoint") -> Driver:
        """A second driver beside the supervised one."""
        return Driver(self.folder / folder, self._command(checkpoint), self._environment())

    def _start_driver(self, number: int) -> Driver:
        folder = self.folder / f"driver-{number}"
        return Driver(folder, self._command("checkpoint"), self._environment())

    def _command(self, checkpoint: str) -> list[str]:
        return [
            *("spark-submit", "--master", "local[2]", str(DRIVER)),
            *("--kafka-bootstrap-servers", self.bootstrap_servers, "--topic", self.topic),
            *("--jdbc-uri", f"jdbc:postgresql://127.0.0.1:{self.proxy.port}/{self.topic}"),
            *("--jdbc-user", self.topic, "--user-metadata-table", "user_metadata"),
            *("--bytes-table", "bytes", "--storage-path", self.storage_path),
            *("--checkpoint-path", str(self.folder / checkpoint)),
            *("--trigger-interval", "500 milliseconds", "--max-lateness", str(YEAR_SECONDS)),
            *self.extra_arguments,
        ]

    def _environment(self) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        return {
            # Without PYTHONPATH but for what the drills themselves need: the job ships its own package.
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            "SPARK_CONF_DIR": str(self.servers.spark_conf_dir),
            "ANTENNA_DB_PASSWORD": PASSWORD,
            **self.servers.object_store.environment,
        }


class ObjectStoreRig(Rig):
    """A rig whose archive is in an object store."""

    def _prepare(self) -> None:
        self.storage_path = self.servers.object_store.uri(self.topic)

    def differences(self) -> list[str]:
        """As of any system, on a copy of the objects."""
        shutil.rmtree(self.storage / "copy", ignore_errors=True)
        self.storage = self.disk.folder / "copy"
        self.servers.object_store.download(self.topic, self.storage)
        return super().differences()


def mixed_traffic(luck: Random) -> Traffic:
    """Ordinary events, and broken, late, future and unknown-device ones."""
    return Traffic(
        seed=luck.randrange(2**32),
        events_per_second=luck.choice((100, 200, 400)),
        broken_share=0.05,
        late_share=0.05,
        unknown_share=0.05,
        future_share=0.02,
        max_late_minutes=30,
    )
