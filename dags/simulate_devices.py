"""
# simulate_devices

Sends simulated traffic to the topic `devices`: devices that move between antennas and use five apps. The
same `seed`, `start` and sizes give the same events.

Without `start` it sends in real time from now on, for `minutes`. With a `start` in the past it sends what
has passed as fast as Kafka takes it.

**Inputs**: the params of the form; connection `kafka_default`; optionally the Variable
`antenna_simulator_ledger`, the file of the simulator's ledger, in which the events are then counted.

**Outputs**: events in the topic `devices`.

**Rerun**: trigger it; every run sends its events anew, and they count anew.

**Recover**: what was sent is sent. Clearing the task sends all of it again; with a ledger and a `start` it
goes on where it stopped.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from antenna_airflow import assets
from antenna_airflow.defaults import DEFAULT_ARGS, KAFKA_CONNECTION, OWNER_LINKS, TOPIC, Tag
from antenna_airflow.params import instant_param

MAX_MINUTES = 10_080

PARAMS = {
    "minutes": Param(
        5,
        type="number",
        exclusiveMinimum=0,
        maximum=MAX_MINUTES,
        title="Minutes",
        description="How much event time to send; a week at most.",
    ),
    "events_per_second": Param(
        100,
        type="number",
        minimum=0.001,
        maximum=1_000_000,
        title="Events per second",
        description="The rate in event time, all devices together.",
    ),
    "devices": Param(
        20,
        type="integer",
        minimum=1,
        maximum=1_000_000_000,
        title="Devices",
        description="How many devices send; the first 20 are the users of the CSV file.",
    ),
    "antennas": Param(
        5,
        type="integer",
        minimum=1,
        maximum=1_000_000,
        title="Antennas",
        description="How many antennas the devices move between.",
    ),
    "seed": Param(
        1,
        type="integer",
        minimum=0,
        title="Seed",
        description="The same seed, start and sizes give the same events.",
    ),
    "start": instant_param(
        "Start",
        description_md=(
            "First event time, ISO 8601 **with its offset from UTC**, in the past: `2026-11-24T16:00:00Z`. "
            "Empty: now, in real time."
        ),
    ),
}

with DAG(
    dag_id="simulate_devices",
    description="Sends simulated traffic to Kafka",
    doc_md=__doc__,
    schedule=None,
    # Several people may send at once.
    max_active_runs=4,
    default_args=DEFAULT_ARGS,
    owner_links=OWNER_LINKS,
    params=PARAMS,
    tags=[Tag.SIMULATION],
) as dag:

    @task(
        outlets=[assets.TOPIC_DEVICES],
        # A second try would send the events a second time.
        retries=0,
        execution_timeout=timedelta(minutes=MAX_MINUTES) + timedelta(hours=1),
        doc_md="If it fails: correct the value that the message names, or start Kafka; then trigger it anew.",
    )
    def send_events(**context: object) -> dict[str, int]:
        """Send the traffic; returns how many events were sent, and how many of them are valid and broken."""
        from antenna_airflow.simulation import send_events_of_run

        return send_events_of_run(context, KAFKA_CONNECTION, TOPIC)

    send_events()
