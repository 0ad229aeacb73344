"""Prints the tables that must come of a ledger, or compares them with the database.

Exit codes: 0 done, or equal; 1 the database differs; 2 bad arguments, or something cannot be read.
"""

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg

from include.simulator.arguments import ArgumentParser, hour
from include.simulator.ledger import Ledger, LedgerError, User, compare_with_database, read_users
from include.simulator.ledger.tables import QuotaRow, TotalRow

DIFFERENCES_SHOWN: Final = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        users = read_users(options.users)
        with Ledger(options.ledger) as ledger:
            if options.command == "expected":
                _print_table(ledger, options.table, users)
                return 0
            url = os.environ.get(options.db_url_env)
            if not url:
                parser.error(
                    f"environment variable {options.db_url_env} is not set; put the database URL there"
                )
            with psycopg.connect(url) as connection:
                return _report(compare_with_database(ledger, connection, users, options.hours))
    except (ValueError, LedgerError, psycopg.Error) as error:
        sys.stderr.write(f"{parser.prog}: error: {' '.join(str(error).split())}\n")
        return 2


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m include.simulator.ledger", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = ArgumentParser(add_help=False)
    shared.add_argument("--ledger", type=Path, required=True, help="the simulator's ledger")
    shared.add_argument("--users", type=Path, required=True, help="CSV file with id, email and quota")
    expected = commands.add_parser("expected", parents=[shared], help="print an expected table as CSV")
    expected.add_argument("--table", choices=["bytes", "bytes_hourly", "user_quota_limit"], required=True)
    compare = commands.add_parser("compare", parents=[shared], help="compare with the database")
    compare.add_argument(
        "--db-url-env",
        default="ANTENNA_DB_URL",
        help="environment variable with the URL (default %(default)s)",
    )
    compare.add_argument(
        "--hours",
        type=hour,
        nargs="+",
        help="starts of the hours to compare, ISO 8601 with offset (default: everything)",
    )
    return parser


def _print_table(ledger: Ledger, table: str, users: dict[str, User]) -> None:
    columns: Sequence[str] = TotalRow._fields
    rows: Sequence[TotalRow | QuotaRow]
    if table == "bytes":
        rows = ledger.expected_bytes()
    elif table == "bytes_hourly":
        rows = ledger.expected_bytes_hourly(users)
    else:
        columns, rows = QuotaRow._fields, ledger.expected_user_quota_limit(users)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        timestamp = f"{row.timestamp:%Y-%m-%dT%H:%M:%SZ}"
        writer.writerow(timestamp if field == "timestamp" else getattr(row, field) for field in columns)


def _report(differences: Sequence[str]) -> int:
    if not differences:
        print("equal: the database holds exactly what was sent")
        return 0
    for difference in differences[:DIFFERENCES_SHOWN]:
        print(difference)
    if len(differences) > DIFFERENCES_SHOWN:
        print(f"... and {len(differences) - DIFFERENCES_SHOWN} more")
    print(f"{len(differences)} differences between ledger and database")
    return 1


if __name__ == "__main__":
    sys.exit(main())
