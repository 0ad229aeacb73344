"""Drills run with one seed in `make test`, and with many in `make drill`, from the same functions."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.object_store import Fault, ObjectStore

from .airflow_stack import AirflowStack
from .batch import BatchServer
from .results import DrillReport, Trial, read_results, seeds_of
from .rig import ObjectStoreRig, Rig, Servers, mixed_traffic

TEST_SEED = 1
# What a drill waits for has a limit of its own; the first one also starts the servers.
TIMEOUT_SECONDS = 900


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("drills")
    group.addoption("--seeds", help="drill with these seeds, in full: 25 or 3-7")
    group.addoption("--all-drills", action="store_true", help="every drill with every seed, not in turns")
    group.addoption("--resume", action="store_true", help="leave out what the last results hold as passed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "in_turns(count): of the drills of the module each seed runs so many, and every drill has its turn",
    )
    # The workers of xdist report to the process that started them.
    if config.getoption("--seeds", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(DrillReport(config), "drill-report")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        text = metafunc.config.getoption("--seeds", None)
        seeds = seeds_of(text) if text else [TEST_SEED]
        metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One seed after the other; in turns, unless drills are named or all are wanted; not what is done."""
    for item in items:
        if "trial" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))
    if not config.getoption("--seeds", None):
        return
    items.sort(key=_seed)
    left = list(items)
    if not config.option.keyword and not config.getoption("--all-drills"):
        left = [item for item in left if _has_its_turn(item, items)]
    if config.getoption("--resume"):
        passed = [result for result in read_results() if result["outcome"] == "passed"]
        done = {(result["drill"], result["seed"]) for result in passed}
        left = [item for item in left if (_drill_name(item), _seed(item)) not in done]
    config.hook.pytest_deselected(items=[item for item in items if item not in left])
    items[:] = left


def _has_its_turn(item: Any, items: list[Any]) -> bool:
    mark = item.get_closest_marker("in_turns")
    if mark is None:
        return True
    (count,) = mark.args
    of_module = [other for other in items if other.module is item.module and _seed(other) == _seed(item)]
    return bool((of_module.index(item) - _seed(item) * count) % len(of_module) < count)


def _seed(item: Any) -> int:
    return int(item.callspec.params["seed"])


def _drill_name(item: Any) -> str:
    variants = [text for text in item.callspec.id.split("-") if not text.startswith("seed")]
    name = item.originalname.removeprefix("test_")
    return f"{name}[{'-'.join(variants)}]" if variants else name


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this trial."""
    return int(request.param)


@pytest.fixture
def trial(request: pytest.FixtureRequest, seed: int) -> Trial:
    """What this trial shows; goes into the table."""
    made = Trial(_drill_name(request.node), seed)
    request.node.user_properties.append(("trial", made.figures))
    return made


@pytest.fixture
def luck(seed: int, trial: Trial) -> Random:
    """Decides when, how often and what: by seed and drill, so that one drill can be replayed alone."""
    return Random(f"{seed} {trial.drill}")


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the drill is to run in its full size."""
    return bool(request.config.getoption("--seeds", None))


@pytest.fixture(scope="package")
def servers(
    jars: Path, spark_conf_dir: Path, object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """The servers of all drills."""
    made = Servers(tmp_path_factory.mktemp("drills"), jars, spark_conf_dir, object_store)
    try:
        made.start()
        yield made
    finally:
        made.stop()


class _Rigs:
    """The rig of the present seed; a fresh one after a drill that failed."""

    def __init__(self, servers: Servers, kind: type[Rig]) -> None:
        self._servers = servers
        self._kind = kind
        self._rig: Rig | None = None
        self._seed = 0

    def get(self, seed: int) -> Rig:
        if self._rig is None or seed != self._seed or self._rig.retired or not self._rig.checked:
            self.close()
            self._servers.repair()
            self._rig, self._seed = self._servers.new_rig(self._kind), seed
        return self._rig

    def close(self) -> None:
        if self._rig is not None:
            self._rig.close()
        self._rig = None


@pytest.fixture(scope="package")
def _rigs(servers: Servers) -> Iterator[_Rigs]:
    made = _Rigs(servers, Rig)
    yield made
    made.close()


@pytest.fixture(scope="module")
def _object_store_rigs(servers: Servers) -> Iterator[_Rigs]:
    made = _Rigs(servers, ObjectStoreRig)
    yield made
    made.close()


@pytest.fixture
def object_store_rig(
    _object_store_rigs: _Rigs, seed: int, luck: Random, trial: Trial
) -> Iterator[ObjectStoreRig]:
    """As `rig`, with the archive in an object store that serves every request again after the drill."""
    made = _object_store_rigs.get(seed)
    assert isinstance(made, ObjectStoreRig)
    trial.watch(made)
    made.begin(luck)
    yield made
    made.servers.object_store.fault = lambda method, key: Fault.NONE


@pytest.fixture
def rig(_rigs: _Rigs, seed: int, luck: Random, trial: Trial) -> Iterator[Rig]:
    """The rig with a driver that commits what the traffic sends. A drill ends with `trial.check()`."""
    made = _rigs.get(seed)
    trial.watch(made)
    made.begin(luck)
    yield made
    made.extra_arguments = []


class _Stacks:
    """The stack of all drills on Airflow; a fresh one after a drill that failed."""

    def __init__(self, folder: Path, jars: Path, spark_conf_dir: Path) -> None:
        self._folder = folder
        self._jars = jars
        self._batch = BatchServer(folder / "batch", spark_conf_dir)
        self._stack: AirflowStack | None = None
        self._number = 0

    def get(self) -> AirflowStack:
        if self._stack is not None and not self._stack.checked:
            self._end()
        if self._stack is None:
            self._number += 1
            self._stack = AirflowStack.start(self._folder / str(self._number), self._jars, self._batch)
        return self._stack

    def _end(self) -> None:
        if self._stack is not None:
            self._stack.abandon_traffic()
            self._stack.close()
        self._stack = None

    def close(self) -> None:
        self._end()
        self._batch.stop()


@pytest.fixture(scope="package")
def _stacks(jars: Path, spark_conf_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Stacks]:
    made = _Stacks(tmp_path_factory.mktemp("airflow"), jars, spark_conf_dir)
    yield made
    made.close()


@pytest.fixture
def stack(_stacks: _Stacks, luck: Random, trial: Trial) -> AirflowStack:
    """A whole stack under traffic. A drill ends with `trial.check()`."""
    made = _stacks.get()
    trial.watch(made)
    made.start_traffic(mixed_traffic(luck))
    made.seconds_to_commit(time.time())
    return made
