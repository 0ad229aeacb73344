"""Runs a Spark job of the project with spark-submit."""

import contextlib
import ctypes
import functools
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from airflow.providers.apache.spark.hooks import spark_submit
from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseOperatorLink, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from antenna_airflow.connections import SparkMaster, load_connection, load_spark_master
from antenna_airflow.defaults import POSTGRES_CONNECTION
from antenna_airflow.links import PageLink
from antenna_airflow.process_tree import ProcessTree
from metering.bundle import zip_package

PASSWORD_VARIABLE = "ANTENNA_DB_PASSWORD"  # noqa: S105 - the name of a variable
# On a standalone cluster an application would take every core, and leave none to the other.
DEFAULT_CONF = {"spark.cores.max": "2"}
# Airflow sends SIGKILL 5 s after SIGTERM.
GRACE_SECONDS = 3.5
EXIT_CODES = {
    1: "it failed",
    2: "it was given bad arguments",
    3: "a newer driver took the stream over",
    4: "it noticed that it made no progress, and ended itself",
}

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


class AntennaSparkSubmitOperator(SparkSubmitOperator):
    """SparkSubmitOperator that fails clearly, keeps the password to itself and leaves no process behind.

    The database password goes from the connection `db_conn_id` into the environment of spark-submit when
    the task runs: never into a template, never into `env_vars` (which YARN and Kubernetes put on the
    command line).

    Where the job runs, the connection says, with the Spark properties in its extra's `conf`. In cluster mode,
    a retry finds the driver of the try before; its password comes from `conf`, as docs/cluster.md says.
    """

    operator_extra_links: tuple[BaseOperatorLink, ...] = (PageLink(),)

    def __init__(self, *, db_conn_id: str = POSTGRES_CONNECTION, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._db_conn_id = db_conn_id
        self._tree: ProcessTree | None = None

    def execute(self, context: Context) -> None:
        """Run the job to its end.

        Raises AirflowFailException when a connection cannot be used, AirflowException when the job fails.
        """
        self._adapt_to(load_spark_master(self._conn_id))
        password = load_connection(self._db_conn_id).password
        with _environment(PASSWORD_VARIABLE, password or ""):
            try:
                super().execute(context)
            except AirflowException as error:
                raise AirflowException(self._describe_failure()) from error
            finally:
                self._end_processes(grace_seconds=0)

    def _adapt_to(self, master: SparkMaster) -> None:
        if master.is_kubernetes and not hasattr(spark_submit, "kube_client"):
            raise AirflowFailException(
                f"Connection {self._conn_id} names Kubernetes, which needs the package "
                "apache-airflow-providers-cncf-kubernetes: install it where Airflow's tasks run."
            )
        self.conf = {**DEFAULT_CONF, **(self.conf or {}), **master.conf}
        if not master.cluster_mode:
            return
        if master.is_kubernetes:
            # The image of driver and executors holds the project where Airflow has it.
            self.application = f"local://{self.application}"
            self._track_driver_via_k8s_api = True
        else:
            # What the driver imports; it has no other file of the project than its own.
            self.py_files = str(zip_package())
            self._yarn_track_via_rm_api = True

    def on_kill(self) -> None:
        """End the job: it has a moment to stop gracefully, then every process of it is killed."""
        self._end_processes(GRACE_SECONDS)
        if self._hook is not None:
            super().on_kill()

    def _get_hook(self) -> SparkSubmitHook:
        hook = super()._get_hook()
        # A task process that dies by SIGKILL takes spark-submit with it.
        hook.submit = functools.partial(hook.submit, preexec_fn=_end_with_parent)  # type: ignore[method-assign]
        return hook

    def _process_tree(self) -> ProcessTree | None:
        """The processes of the running job; None before it was submitted."""
        process = None if self._hook is None else self._hook._submit_sp
        # Once reaped, its pid may be somebody else's.
        if self._tree is None and process is not None and process.returncode is None:
            self._tree = ProcessTree(process.pid)
        return self._tree

    def _end_processes(self, grace_seconds: float) -> None:
        tree = self._process_tree()
        if tree is not None:
            tree.end(grace_seconds)

    def _describe_failure(self) -> str:
        process = None if self._hook is None else self._hook._submit_sp
        if process is None:
            return "spark-submit could not be started: see the cause below"
        code = process.returncode
        # A shell, and so spark-submit, tells the end by a signal as 128 + its number.
        number = -code if code < 0 else code - 128
        with contextlib.suppress(ValueError):
            return f"{self.name} was ended by {signal.Signals(number).name}; its last lines stand above"
        meaning = EXIT_CODES.get(code, "it failed")
        return f"{self.name} ended with exit code {code}: {meaning}; its last lines stand above"


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _end_with_parent() -> None:
    """Runs in the child before spark-submit: ask the kernel for SIGTERM when the parent dies (Linux)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
