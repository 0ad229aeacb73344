"""Runs the streaming job and replaces a driver that hangs."""

import time
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException
from psycopg import connect

from antenna_airflow.connections import load_connection, load_spark_master, postgres_conninfo
from antenna_airflow.links import PageLink, SparkUiLink, store_link
from antenna_airflow.operators.spark_submit import AntennaSparkSubmitOperator
from antenna_airflow.watchdog import DriverWatchdog, Heartbeat, HeartbeatWatch

PAGE_LINK, SPARK_UI_LINK = PageLink(), SparkUiLink()


class StreamingSubmitOperator(AntennaSparkSubmitOperator):
    """Runs the streaming driver until it ends, and ends it when it hangs. Durations in seconds.

    A driver whose heartbeat in ops.streams stands still for `hang_limit` is killed with all its processes,
    also when they are stopped (SIGSTOP) and cannot end themselves; the task then fails and is tried again.
    """

    operator_extra_links = (PAGE_LINK, SPARK_UI_LINK)

    def __init__(
        self,
        *,
        topic: str,
        hang_limit: float,
        start_limit: float = 180,
        leftover_limit: float = 15,
        poll_seconds: float = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._topic = topic
        self._hang_limit = hang_limit
        self._start_limit = start_limit
        self._leftover_limit = leftover_limit
        self._poll_seconds = poll_seconds

    def execute(self, context: Context) -> None:
        """Run the driver to its end; raises AirflowException when it fails or had to be killed.

        A driver in a cluster is beyond the watchdog's reach: it ends itself when it makes no progress.
        """
        if load_spark_master(self._conn_id).cluster_mode:
            super().execute(context)
            return
        if "ti" in context:
            key: Any = context["ti"]
            store_link(context, PAGE_LINK, PAGE_LINK.get_link(self, ti_key=key))
        conninfo = postgres_conninfo(load_connection(self._db_conn_id))
        watchdog = DriverWatchdog(
            tree=self._process_tree,
            connect=lambda: connect(conninfo, connect_timeout=5, autocommit=True),
            topic=self._topic,
            watch=HeartbeatWatch(
                started=time.monotonic(),
                start_limit=self._start_limit,
                hang_limit=self._hang_limit,
                leftover_limit=self._leftover_limit,
            ),
            poll_seconds=self._poll_seconds,
            on_start=lambda heartbeat: self._show_spark_ui(context, heartbeat),
        )
        watchdog.start()
        try:
            super().execute(context)
        except AirflowException as error:
            if watchdog.reason is None:
                raise
            raise AirflowException(f"{self.name} was killed: {watchdog.reason}") from error
        finally:
            watchdog.stop()

    @staticmethod
    def _show_spark_ui(context: Context, heartbeat: Heartbeat) -> None:
        if "ti" in context and heartbeat.spark_ui_url is not None:
            store_link(context, SPARK_UI_LINK, heartbeat.spark_ui_url)
