"""The Kafka broker: one KRaft node from its own jars, on 127.0.0.1."""

import base64
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from include.local_stack.jars import LOG4J2_PROPERTIES, java_program, kafka_class_path
from include.local_stack.service import Service
from include.local_stack.settings import StackError, free_port, port_is_free, write_private

RETENTION_HOURS = 7 * 24


class Kafka(Service):
    """Broker and controller in one process. `folder` keeps its configuration and data."""

    name = "kafka"

    def __init__(self, folder: Path, port: int, jars: Path, log_file: Path) -> None:
        super().__init__(log_file)
        self.folder = folder
        self.port = port
        self.jars = jars

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write the configuration, with a free port for the controller, and format the data folder once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        controller = f"127.0.0.1:{free_port()}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": str(self.folder / "data"),
            "log.retention.hours": str(RETENTION_HOURS),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # How long a broker that was killed keeps its successor waiting.
            "broker.session.timeout.ms": "6000",
            "broker.heartbeat.interval.ms": "1000",
            "group.initial.rebalance.delay.ms": "0",
        }
        write_private(self.properties_file, "".join(f"{key}={value}\n" for key, value in properties.items()))
        write_private(self.log_configuration, LOG4J2_PROPERTIES)
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()

    @property
    def properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def log_configuration(self) -> Path:
        return self.folder / "log4j2.properties"

    def command(self) -> list[str]:
        return self._java("-Xms256m", "-Xmx512m", "kafka.Kafka", str(self.properties_file))

    def is_ready(self) -> bool:
        # The client would write a log line at every refused connection.
        if port_is_free(self.port):
            return False
        client = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        try:
            return bool(client.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def _java(self, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.log_configuration}"
        return [java_program(), logging, "-cp", kafka_class_path(self.jars), *arguments]

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # With "=": an id may begin with a dash.
        options = [f"--cluster-id={cluster_id}", f"--config={self.properties_file}"]
        command = self._java("-Xmx256m", "kafka.tools.StorageTool", "format", *options)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise StackError(f"Kafka's data folder in {self.folder} cannot be formatted:\n{result.stderr}")
