"""Drills with the archive in an object store: the driver dies while it publishes, and requests fail."""

import signal
import threading
import time
from random import Random

import pytest

from tests.object_store import Fault

from .results import Trial
from .rig import ObjectStoreRig

pytestmark = pytest.mark.in_turns(2)
# Step -> how the request looks before which the driver dies.
STEPS = {
    "staged": ("PUT", "/_staging/"),
    "copied": ("COPY", "/events/"),
    "staged_object_deleted": ("DELETE", "/_staging/"),
}


@pytest.mark.parametrize("step", STEPS)
def test_driver_killed_beside_an_object_store(
    object_store_rig: ObjectStoreRig, trial: Trial, luck: Random, step: str
) -> None:
    """It dies as it asks for one of the requests that publish a file, which is then served or not."""
    rig, store = object_store_rig, object_store_rig.servers.object_store
    method, part = STEPS[step]
    number, served = luck.randint(1, 8), luck.choice((True, False))
    trial.choose(request=number, served=served)
    driver, asked, counting = rig.driver, 0, threading.Lock()
    killed = threading.Event()

    def kill(of: str, key: str) -> Fault:
        nonlocal asked
        if of != method or part not in f"/{key}":
            return Fault.NONE
        with counting:
            asked += 1
            if asked != number:
                return Fault.NONE
        driver.signal(signal.SIGKILL)
        killed.set()
        return Fault.NONE if served else Fault.REFUSED

    store.fault = kill
    assert killed.wait(60), f"request {number} of {method} {part} never came"
    trial.recover(time.time())
    trial.check()


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.ANSWER_LOST], ids=["refuses", "answers_lost"])
def test_object_store(object_store_rig: ObjectStoreRig, trial: Trial, luck: Random, fault: Fault) -> None:
    """Requests fail for a while, some or all of them, done or not done."""
    store = object_store_rig.servers.object_store
    seconds, share = luck.uniform(1, 8), luck.choice((0.2, 0.5, 1.0))
    trial.choose(seconds=seconds, share=share)
    store.fault = lambda method, key: fault if luck.random() < share else Fault.NONE
    time.sleep(seconds)
    store.fault = lambda method, key: Fault.NONE
    trial.recover(time.time())
    trial.check()
