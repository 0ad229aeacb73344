"""The stack's processes under a real supervisord: restarts, order of the end, what a crash leaves."""

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from include.local_stack import processes
from include.local_stack.memory import MemorySampler
from include.local_stack.settings import STACK_MARKER, Settings, base_environment
from include.local_stack.stop import stop_stack
from include.local_stack.supervision import Program, Supervisor

SLEEPER = "import time; print('100% awake', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
STACK_PROGRAMS = (
    *("scheduler-watch", "simulator", "scheduler", "triggerer", "dag-processor", "api-server"),
    *("kafka", "postgres"),
)


def program(name: str, code: str = SLEEPER, stop_seconds: int = 20) -> Program:
    return Program(name, [sys.executable, "-c", code], stop_seconds=stop_seconds)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    home = tmp_path / "a home; 100%"
    made = Settings(home, 1, 2, 3, tmp_path / "jars")
    made.create_home()
    yield made
    for process in processes.find(home):
        process.kill()


@pytest.fixture
def start(settings: Settings) -> Callable[..., Supervisor]:
    def run(*programs: Program) -> Supervisor:
        supervisor = Supervisor(settings)
        supervisor.start(programs, {**base_environment(), STACK_MARKER: str(settings.home)})
        for one in programs:
            supervisor.start_program(one.name)
        assert processes.wait_until(
            lambda: {state.state for state in supervisor.states().values()} == {"RUNNING"}, 15
        )
        return supervisor

    return run


def test_a_program_that_dies_is_started_again(settings: Settings, start: Callable[..., Supervisor]) -> None:
    supervisor = start(program("one"))
    first = supervisor.states()["one"].pid
    os.kill(first, signal.SIGKILL)
    assert processes.wait_until(
        lambda: (
            supervisor.states()["one"].pid not in (0, first) and supervisor.states()["one"].state == "RUNNING"
        ),
        15,
    )
    assert (settings.logs / "one.log").read_text() == "100% awake\n" * 2
    assert stat.S_IMODE((settings.home / "supervisord.conf").stat().st_mode) == 0o600


def test_starting_and_stopping_twice_is_no_error(start: Callable[..., Supervisor]) -> None:
    supervisor = start(program("one"))
    supervisor.start_program("one")
    supervisor.stop_program("one")
    supervisor.stop_program("one")
    assert supervisor.states()["one"].state == "STOPPED"
    assert supervisor.states()["one"].pid == 0


def test_processes_are_found_by_their_mark_alone(
    settings: Settings, start: Callable[..., Supervisor]
) -> None:
    supervisor = start(program("one"), program("two"))
    found = {process.pid for process in processes.find(settings.home)}
    assert found >= {state.pid for state in supervisor.states().values()}
    assert len(found) == 3
    assert os.getpid() not in found
    assert processes.find(settings.home.parent) == []


def test_the_end_in_order_leaves_nothing(settings: Settings, start: Callable[..., Supervisor]) -> None:
    supervisor = start(*(program(name) for name in STACK_PROGRAMS))
    settings.stack_env_file.touch()
    assert stop_stack(settings) == 0
    assert processes.find(settings.home) == []
    assert not supervisor.is_running()
    assert supervisor.states() == {}
    assert not settings.stack_env_file.exists()
    assert stop_stack(settings) == 0


def test_the_end_after_a_crash_of_the_supervisor(
    settings: Settings, start: Callable[..., Supervisor]
) -> None:
    start(program("one"), program("two", STUBBORN))
    for process in processes.find(settings.home):
        if "supervisord" in processes.command_line(process):
            process.kill()
    assert len(processes.find(settings.home)) == 2
    assert stop_stack(settings) == 2
    assert processes.find(settings.home) == []


def test_memory_is_sampled_over_all_processes(settings: Settings, start: Callable[..., Supervisor]) -> None:
    start(program("big", "import time; held = b'x' * 200_000_000; time.sleep(600)"))
    sampler = MemorySampler(settings)
    sampler.start()
    assert processes.wait_until(lambda: sampler.peak_bytes > 200_000_000, 10)
    assert sampler.stop() < 400_000_000


def test_a_zombie_does_not_run() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    zombie = psutil.Process(pid)
    assert processes.wait_until(lambda: zombie.status() == psutil.STATUS_ZOMBIE, 5)
    assert not processes.runs(zombie)
    os.waitpid(pid, 0)
    assert processes.command_line(zombie) == ""
