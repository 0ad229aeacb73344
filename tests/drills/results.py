"""The results of `make drill`: a line of JSON for each trial as it ends, and a table of all of them."""

import json
import statistics
from typing import Any

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from include.local_stack.settings import PROJECT_ROOT

from .system import System, WrongRowsError

RESULTS = PROJECT_ROOT / "artifacts" / "drills.jsonl"
RECOVERY_SECONDS = 30


class Trial:
    """One drill with one seed. `figures` holds `drill`, `seed`, `seconds` (to the first commit after the
    fault), `wrong_rows`, and `chosen` (what the seed has decided)."""

    def __init__(self, drill: str, seed: int) -> None:
        self.drill = drill
        self.figures: dict[str, Any] = {"drill": drill, "seed": seed}
        self._system: System | None = None

    def watch(self, system: System) -> None:
        """What `recover` and `check` mean from now on."""
        self._system = system

    def choose(self, **chosen: object) -> None:
        """Tell what the seed has decided."""
        self.figures["chosen"] = chosen
        print(f"drill {self.drill}, seed {self.figures['seed']}: {chosen}")

    def recover(self, ended: float, after_epoch: int = 0) -> None:
        """Wait for the first commit after the end of the fault (epoch seconds), by a driver of an epoch
        greater than `after_epoch`; what that one still committed after the fault shortens the outage."""
        assert self._system is not None
        self.figures["seconds"] = round(self._system.seconds_to_commit(ended, after_epoch), 1)

    def check(self) -> None:
        """Compare everything with the ledger; every drill ends with this."""
        assert self._system is not None
        try:
            self._system.check()
        except WrongRowsError as error:
            self.figures["wrong_rows"] = len(error.differences)
            raise
        self.figures["wrong_rows"] = 0


def seeds_of(text: str) -> list[int]:
    """The seeds that `25` (1 to 25, by `make drill SEEDS=25`) or `3-7` names."""
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise pytest.UsageError(f"--seeds {text!r} is neither a seed nor a range of seeds, such as 1-25")
    return list(range(int(first), int(last or first) + 1))


def read_results() -> list[dict[str, Any]]:
    """The trials of the last `make drill`, also of one that was cut off."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


class DrillReport:
    """A plugin of pytest that writes the results down and shows the table."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        RESULTS.parent.mkdir(exist_ok=True)
        if not config.getoption("--resume"):
            RESULTS.write_text("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a trial shows, as soon as it has ended."""
        figures = dict(report.user_properties).get("trial")
        if not isinstance(figures, dict) or not (report.when == "call" or report.failed):
            return
        line = {**figures, "outcome": report.outcome, "duration": round(report.duration, 1)}
        if report.failed:
            line["error"] = str(report.longrepr)[-2000:]
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, and how to replay what failed."""
        results = read_results()
        Console(width=110).print(_table(results))
        for result in results:
            if result["outcome"] != "passed":
                words = f"make drill SEED={result['seed']} ONLY={result['drill'].partition('[')[0]}"
                terminalreporter.write_line(
                    f"failed: {result['drill']} with seed {result['seed']}; replay: {words}"
                )
        terminalreporter.write_line(
            f"recovery: {_recovery(results):.1f} s in the median (limit {RECOVERY_SECONDS} s)"
        )
        terminalreporter.write_line(f"results: {RESULTS}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A recovery that takes too long in the median fails the run too."""
        if session.exitstatus == 0 and _recovery(read_results()) > RECOVERY_SECONDS:
            session.exitstatus = 1


def _by_drill(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        grouped.setdefault(result["drill"], []).append(result)
    return grouped


def _seconds(trials: list[dict[str, Any]]) -> list[float]:
    return [trial["seconds"] for trial in trials if "seconds" in trial]


def _recovery(results: list[dict[str, Any]]) -> float:
    """Seconds to the next commit in the median of all trials; 0 where none stops the commits."""
    seconds = _seconds(results)
    return statistics.median(seconds) if seconds else 0.0


def _table(results: list[dict[str, Any]]) -> Table:
    table = Table("drill", "trials", "failed", "wrong rows", "s to commit: median", "worst", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for drill, trials in _by_drill(results).items():
        seconds = _seconds(trials)
        failed = sum(trial["outcome"] != "passed" for trial in trials)
        wrong = sum(trial.get("wrong_rows", 0) for trial in trials)
        unknown = "?" if any("wrong_rows" not in trial for trial in trials) else ""
        median = f"{statistics.median(seconds):.1f}" if seconds else ""
        worst = f"{max(seconds):.1f}" if seconds else ""
        table.add_row(escape(drill), str(len(trials)), str(failed), f"{wrong}{unknown}", median, worst)
    return table
