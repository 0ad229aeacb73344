"""Drills run with one seed in `make test`, and with many in `make drill`, from the same functions."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from .results import DrillReport, Trial, read_results, seeds_of
from .rig import Rig, Servers

TEST_SEED = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("drills")
    group.addoption("--seeds", help="drill with these seeds, in full: 25 or 3-7")
    group.addoption("--resume", action="store_true", help="leave out what the last results hold as passed")


def pytest_configure(config: pytest.Config) -> None:
    # The workers of xdist report to the process that started them.
    if config.getoption("--seeds", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(DrillReport(config), "drill-report")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        text = metafunc.config.getoption("--seeds", None)
        seeds = seeds_of(text) if text else [TEST_SEED]
        metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One seed after the other, and with --resume only what is not done."""
    if not config.getoption("--seeds", None):
        return
    items.sort(key=lambda item: item.callspec.params["seed"] if hasattr(item, "callspec") else 0)
    if config.getoption("--resume", False):
        done = {(result["drill"], result["seed"]) for result in read_results() if result["outcome"] == "passed"}
        left = [item for item in items if (_drill_name(item), _seed(item)) not in done]
        config.hook.pytest_deselected(items=[item for item in items if item not in left])
        items[:] = left


def _seed(item: pytest.Item) -> int:
    return int(item.callspec.params["seed"])  # type: ignore[attr-defined]


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
    """Decides when, how often and what exactly: by seed and drill, so that one drill can be replayed alone."""
    return Random(f"{seed} {trial.drill}")


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the drill is to run in its full size."""
    return bool(request.config.getoption("--seeds", None))


@pytest.fixture(scope="package")
def servers(jars: Path, spark_conf_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of all drills."""
    made = Servers(tmp_path_factory.mktemp("drills"), jars, spark_conf_dir)
    try:
        made.start()
        yield made
    finally:
        made.stop()


class _Rigs:
    """The rig of the present seed; a fresh one after a drill that failed."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._rig: Rig | None = None
        self._seed = 0

    def get(self, seed: int) -> Rig:
        if self._rig is None or seed != self._seed or not self._rig.checked:
            self.close()
            self._servers.repair()
            self._rig, self._seed = self._servers.new_rig(), seed
        return self._rig

    def close(self) -> None:
        if self._rig is not None:
            self._rig.close()
        self._rig = None


@pytest.fixture(scope="package")
def _rigs(servers: Servers) -> Iterator[_Rigs]:
    made = _Rigs(servers)
    yield made
    made.close()


@pytest.fixture
def rig(_rigs: _Rigs, seed: int, luck: Random, trial: Trial) -> Iterator[Rig]:
    """The rig with a driver that commits what the traffic sends. A drill ends with `rig.check()`."""
    made = _rigs.get(seed)
    trial.watch(made)
    made.begin(luck)
    yield made
    made.extra_arguments = []
