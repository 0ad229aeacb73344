"""The commands behind `make check` and `make replay`, on the running local stack.

Exit codes: 0 done (check: nothing differs); 1 failed (check: something differs); 2 bad settings.
"""

import os
import sys
from collections.abc import Mapping
from datetime import datetime

import psycopg

from include.local_stack.settings import MAX_LATENESS, Settings, StackError, flag
from include.maintenance.integrity import check_integrity
from include.maintenance.replay import Choice, Rules, replay_rejected
from include.maintenance.session import MaintenanceError, MaintenanceSession
from metering.archive import StorageError
from metering.arguments import DEFAULT_MAX_FUTURE, parse_lateness
from metering.database import DatabaseError
from metering.hours import parse_instant
from metering.reasons import BROKEN_RULES, REASONS


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code."""
    if len(arguments) != 1 or arguments[0] not in ("check", "replay"):
        return _fail("usage: python -m include.maintenance check|replay", 2)
    try:
        settings = Settings.from_environment()
        dsn = _db_url(settings)
        deep, choice = flag(os.environ, "DEEP", False), choice_of(os.environ)
    except (StackError, ValueError) as error:
        return _fail(str(error), 2)
    try:
        if arguments[0] == "check":
            report = check_integrity(dsn, str(settings.storage), deep=deep)
            print(report)
            return 1 if report.differences else 0
        with MaintenanceSession.open(dsn, str(settings.storage)) as session:
            print(replay_rejected(session, choice, Rules(DEFAULT_MAX_FUTURE, parse_lateness(MAX_LATENESS))))
        return 0
    except psycopg.errors.UndefinedTable:
        return _fail("the tables do not exist: run the DAG provision_schema first", 1)
    except (DatabaseError, MaintenanceError, StorageError) as error:
        return _fail(str(error), 1)
    except psycopg.Error as error:
        return _fail(f"PostgreSQL refused: {str(error).strip()}", 1)


def choice_of(environment: Mapping[str, str]) -> Choice:
    """Read REASON, FROM and BEFORE; raises ValueError that names value, rule and fix."""
    reason = environment.get("REASON", "")
    if reason and reason not in REASONS:
        raise ValueError(f"REASON={reason!r} is none of {', '.join(REASONS)}")
    return Choice(
        (reason,) if reason else BROKEN_RULES, _instant(environment, "FROM"), _instant(environment, "BEFORE")
    )


def _instant(environment: Mapping[str, str], name: str) -> datetime | None:
    text = environment.get(name, "")
    try:
        return parse_instant(text) if text else None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _db_url(settings: Settings) -> str:
    if not (settings.home / "secrets.json").exists():
        raise StackError(f"There is no stack in ANTENNA_HOME={settings.home}: start it with `make run`.")
    return settings.db_url(settings.load_secrets().db_password)


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
