"""A running stack: every service started in order, and Airflow's DAGs turned on."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg

from include.local_stack import jars, processes
from include.local_stack.airflow_client import AirflowClient
from include.local_stack.environment import batch_start, stack_environment
from include.local_stack.programs import (
    AIRFLOW_PROGRAMS,
    SCHEDULER_WATCH,
    kafka_service,
    postgres_service,
    prepare_airflow,
    prepare_databases,
    programs,
    provisioned_files,
)
from include.local_stack.progress import Steps
from include.local_stack.settings import Settings, StackError
from include.local_stack.stop import stop_stack
from include.local_stack.supervision import Supervisor
from include.simulator.ledger import Ledger

DAGS = (
    "antenna_streaming",
    "antenna_batch",
    "late_hours",
    "simulate_devices",
    "maintenance",
    "replay_rejected",
    "alerts",
    "quota_alerts",
)
START_SECONDS = 180
POLL_SECONDS = 0.5


class Stack:
    """The stack of one home. `start` makes everything run but the simulator."""

    def __init__(self, settings: Settings, steps: Steps) -> None:
        settings.create_home()
        self.settings = settings
        self.steps = steps
        self.secrets = settings.load_secrets()
        self.supervisor = Supervisor(settings)
        self.airflow = AirflowClient(settings.airflow_url, "admin", self.secrets.airflow_password)
        self.batch_start = batch_start(settings)
        self.started_at = datetime.now(UTC)

    def start(self) -> None:
        """Start the services, provision where needed, and turn the DAGs on.

        Raises StackError when a port is taken, a service does not start, or provisioning fails.
        """
        settings, step = self.settings, self.steps.step
        if processes.find(settings.home):
            with step("Ending what an earlier run left behind"):
                stop_stack(settings)
        settings.check_ports_are_free()
        with step("Jars of Kafka and of Spark's Kafka source"):
            jars.resolve(settings.jars)
        kafka = kafka_service(settings)
        postgres = postgres_service(settings, self.secrets)
        environment = stack_environment(settings, self.secrets)
        with step("PostgreSQL and Kafka"):
            postgres.prepare()
            kafka.prepare()
            self.supervisor.start(programs(settings, kafka, postgres), environment)
            self.supervisor.start_program("postgres")
            self.supervisor.start_program("kafka")
            postgres.wait_until_ready()
            prepare_databases(postgres, self.secrets)
        with step("Airflow's database"):
            prepare_airflow(settings, self.secrets, environment)
        for name in (*AIRFLOW_PROGRAMS, SCHEDULER_WATCH):
            self.supervisor.start_program(name)
        with step("Kafka answers"):
            kafka.wait_until_ready()
        with step("Airflow: API server, scheduler, DAG processor, triggerer"):
            self._wait(self._airflow_is_up)
        settings.write_stack_env(self.secrets)
        self._provision()
        with step("DAGs on"):
            for dag_id in DAGS:
                self.airflow.unpause(dag_id)

    def start_simulator(self) -> None:
        """Start the traffic and wait until the past is in Kafka."""
        now = time.time()
        with self.steps.step("Simulator sends the past") as show:
            self.supervisor.start_program("simulator")

            def sent() -> bool:
                reached = self._simulated_until()
                if reached is not None:
                    behind = max(now - reached, 0)
                    show(f"{behind / 60:.0f} min to go" if behind else "")
                return reached is not None and reached >= now

            self._wait(sent, seconds=None, needed=("simulator",))

    def connect(self) -> psycopg.Connection:
        """An autocommit connection to the database of the project."""
        return psycopg.connect(self.settings.db_url(self.secrets.db_password), autocommit=True)

    def stop(self) -> None:
        """Stop everything."""
        with self.steps.step("Stopping"):
            stop_stack(self.settings)

    def _simulated_until(self) -> float | None:
        file = self.settings.ledger_file
        if not file.exists():
            return None
        with Ledger(file) as ledger:
            state = ledger.state("live")
        return None if state is None else state.next_second

    def _airflow_is_up(self) -> bool:
        if not self.airflow.is_ready():
            return False
        if errors := self.airflow.import_errors():
            raise StackError("Airflow cannot read a DAG:\n" + "\n".join(errors))
        known = {*DAGS, "provision_schema"} <= self.airflow.dag_ids()
        return known and set(self.airflow.component_health().values()) == {"healthy"}

    def _provision(self) -> None:
        """Run provision_schema once, and again when what it reads has changed."""
        wanted = hashlib.sha256(b"".join(file.read_bytes() for file in provisioned_files())).hexdigest()
        stamp = self.settings.home / "provisioned"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        with self.steps.step("Provisioning: tables, topic, users"):
            dag_id = "provision_schema"
            first = not self.airflow.runs(dag_id)
            self.airflow.unpause(dag_id)
            if first:
                self._wait(lambda: bool(self.airflow.runs(dag_id)))
                run_id = self.airflow.runs(dag_id)[0]["dag_run_id"]
            else:
                run_id = self.airflow.trigger(dag_id)
            if self.airflow.wait_for_run(dag_id, run_id) != "success":
                raise StackError(self.airflow.failure(dag_id, run_id))
        stamp.write_text(wanted)

    def _wait(
        self,
        condition: Callable[[], bool],
        seconds: float | None = START_SECONDS,
        needed: tuple[str, ...] = tuple(AIRFLOW_PROGRAMS),
    ) -> None:
        """Wait for a condition; raise StackError when a needed program ends again and again."""
        started = time.monotonic()
        while not condition():
            self.require_running(needed)
            if seconds is not None and time.monotonic() - started > seconds:
                raise StackError(f"Not ready after {seconds:.0f} s; the logs are in {self.settings.logs}")
            time.sleep(POLL_SECONDS)

    def require_running(self, names: tuple[str, ...]) -> None:
        """Raise StackError with the end of the log when one of these programs cannot stay up."""
        states = self.supervisor.states()
        if not states:
            raise StackError("The stack was stopped.")
        for name in names:
            if states[name].state in ("BACKOFF", "FATAL", "EXITED"):
                log = self.settings.logs / f"{name}.log"
                lines = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
                raise StackError("\n".join([f"{name} ended by itself. The end of {log}:", *lines]))
