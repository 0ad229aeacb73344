"""Drills that leave much behind; the last ones of a seed, since the rig is given up after them."""

import time
from random import Random

from include.simulator.generator import device_id

from .results import Trial
from .rig import PARTITIONS, Rig


def test_a_million_devices(rig: Rig, trial: Trial, luck: Random, full: bool, seed: int) -> None:
    """Each sends one event in one hour: a million of them with every fifth seed, else fewer."""
    rig.stop_traffic()
    devices = 1_000_000 if full and seed % 5 == 1 else 50_000
    trial.choose(devices=devices)
    driver, hour = rig.driver, int(time.time()) // 3600 * 3600 - 86_400 * luck.randint(2, 300)
    line = b'{"bytes":%d,"timestamp":%d,"app":"SKYPE","id":"%b","antenna_id":"%d"}'
    events = [
        line % (number % 5000, hour + number % 3600, device_id(number).encode(), number % 9)
        for number in range(1, devices + 1)
    ]
    for partition in range(PARTITIONS):
        rig.send([(value, None) for value in events[partition::PARTITIONS]], partition)
    sent = time.time()
    rig.wait_until_consumed(180)
    trial.figures["chosen"]["seconds_to_count"] = round(time.time() - sent, 1)
    assert driver.exit_code is None
    trial.check()
    ((found,),) = rig.query(
        "SELECT count(*) FROM bytes WHERE type = 'user_total_bytes' "
        "AND timestamp >= to_timestamp(%s) AND timestamp < to_timestamp(%s)",
        hour, hour + 3600,
    )  # fmt: skip
    assert found == devices
    rig.retired = True
