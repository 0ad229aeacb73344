"""Loads the users, with their quotas, from a CSV file into user_metadata."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg

UPSERT = Path(__file__).resolve().parents[1] / "sql" / "queries" / "upsert_user_metadata.sql"
COLUMNS = ("id", "name", "email", "quota")
MAX_QUOTA = 2**63 - 1
PROBLEMS_SHOWN = 20
SURPLUS = ""  # where csv.DictReader puts the fields beyond the header


class UserMetadataError(Exception):
    """The CSV file cannot be used as it is; the message names line, value and rule."""


class User(NamedTuple):
    """One device and its owner; quota in bytes per hour."""

    id: str
    name: str
    email: str
    quota: int


class Counts(NamedTuple):
    """What a load did to user_metadata, in rows."""

    inserted: int
    updated: int
    unchanged: int


def load_user_metadata(connection: psycopg.Connection, csv_path: str | Path) -> Counts:
    """Insert new users and update changed ones in one transaction; users missing from the file stay.

    Raises UserMetadataError when the file is missing or a row breaks a rule; nothing is changed then.
    """
    users = read_user_metadata(csv_path)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE incoming_user_metadata (id TEXT, name TEXT, email TEXT, quota BIGINT) "
            "ON COMMIT DROP"
        )
        with cursor.copy("COPY incoming_user_metadata (id, name, email, quota) FROM STDIN") as copy:
            for user in users:
                copy.write_row(user)
        counts = cursor.execute(UPSERT.read_bytes()).fetchone()
        cursor.execute("DROP TABLE incoming_user_metadata")
    assert counts is not None
    inserted, updated = counts
    return Counts(inserted, updated, unchanged=len(users) - inserted - updated)


def read_user_metadata(csv_path: str | Path) -> list[User]:
    """Read and check the whole file: UTF-8, columns id, name, email, quota in any order, others ignored.

    Raises UserMetadataError with every broken row, or when the file cannot be read.
    """
    problems: list[str] = []
    users: list[User] = []
    lines_by_id: dict[str, int] = {}
    for line, row in _read_rows(Path(csv_path)):
        broken = _broken_rules(row)
        if row["id"] in lines_by_id:
            broken.append(f"id {row['id']!r} stands on line {lines_by_id[row['id']]} already; each id once")
        elif row["id"]:
            lines_by_id[row["id"]] = line
        problems += [f"line {line}: {problem}" for problem in broken]
        if not broken:
            users.append(User(row["id"], row["name"], row["email"], int(row["quota"])))
    if problems:
        more = len(problems) - PROBLEMS_SHOWN
        shown = problems[:PROBLEMS_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise UserMetadataError(
            f"{csv_path}: {len(problems)} problem(s), no user was loaded. Correct the file and run again.\n  "
            + "\n  ".join(shown)
        )
    return users


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, column to stripped value); a column that a short row lacks is empty."""
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey=SURPLUS, restval="", strict=True)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise UserMetadataError(
                    f"{path}: line 1 lacks {', '.join(missing)}: the header must name {', '.join(COLUMNS)}"
                )
            for row in reader:
                if SURPLUS in row:
                    raise UserMetadataError(
                        f"{path}: line {reader.line_num}: {','.join(row[SURPLUS])!r} is more than the header "
                        "names; quote a value that holds a comma."
                    )
                yield reader.line_num, {column: row[column].strip() for column in COLUMNS}
    except OSError as error:
        raise UserMetadataError(
            f"{path}: cannot be read: {error.strerror}. Name a readable CSV file in the Variable "
            "antenna_user_metadata_csv."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserMetadataError(f"{path}: is no CSV file in UTF-8: {error}") from error


def _broken_rules(row: dict[str, str]) -> list[str]:
    broken = [f"{column} is empty; it must be given" for column in ("id", "email") if not row[column]]
    if not re.fullmatch(r"[0-9]+", row["quota"]) or int(row["quota"]) > MAX_QUOTA:
        broken.append(f"quota {row['quota']!r} must be a whole number of bytes per hour, 0 to {MAX_QUOTA}")
    nul = [column for column in COLUMNS if "\0" in row[column]]
    return broken + [f"{column} {row[column]!r} must not contain a NUL character" for column in nul]
