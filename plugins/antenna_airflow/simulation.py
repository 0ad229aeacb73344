"""Sends the traffic of one run of simulate_devices."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException

from antenna_airflow.connections import load_connection
from include.simulator.generator import Traffic
from include.simulator.ledger import Ledger
from include.simulator.producer import SimulationPlan, send

logger = logging.getLogger(__name__)


def send_events_of_run(context: Mapping[str, Any], conn_id: str, topic: str) -> dict[str, int]:
    """Send what the run's params say to `topic`; return the counts of events sent, accepted and rejected.

    Raises AirflowFailException for a param out of range; what cannot be sent raises KafkaSendError.
    """
    plan = plan_traffic(context["params"])
    kafka_config = load_connection(conn_id).extra_dejson
    with ExitStack() as stack:
        path = Variable.get("antenna_simulator_ledger", default=None)
        ledger = stack.enter_context(Ledger(path, create=True)) if path else None
        # Every run keeps its own place in the ledger.
        sender = f"simulate_devices {context['dag_run'].run_id}"
        summary = send(kafka_config, topic, plan, ledger, stop=lambda: False, sender=sender)
    logger.info(
        "Sent %d events, %s to %s", summary.events, summary.start.isoformat(), summary.end.isoformat()
    )
    return {"events": summary.events, "accepted": summary.accepted, "rejected": summary.rejected}


def plan_traffic(params: Mapping[str, Any]) -> SimulationPlan:
    """What to send, from the params of the DAG.

    Raises AirflowFailException that names the value and the rule.
    """
    try:
        traffic = Traffic(
            seed=params["seed"],
            devices=params["devices"],
            antennas=params["antennas"],
            events_per_second=params["events_per_second"],
        )
        start = None if params["start"] is None else datetime.fromisoformat(params["start"])
        return SimulationPlan(traffic, start, params["minutes"])
    except ValueError as error:
        raise AirflowFailException(str(error)) from error
