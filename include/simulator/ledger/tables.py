"""The tables that must come of the ledger's totals, by the rules of the project and in its own arithmetic."""

import csv
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from include.simulator.tally import TotalKey, TotalType

HOUR_SECONDS: Final = 3600
MAIL_TOTAL: Final = "mail_total_bytes"
UNKNOWN: Final = "unknown"


class TotalRow(NamedTuple):
    """A row of ``bytes`` or ``bytes_hourly``; ``timestamp`` is the window's start, UTC."""

    timestamp: datetime
    id: str
    value: int
    type: str


class QuotaRow(NamedTuple):
    """A row of ``user_quota_limit``; ``timestamp`` is the hour's start, UTC."""

    email: str
    usage: int
    quota: int
    timestamp: datetime


class User(NamedTuple):
    """Who owns a device, and the device's bytes per hour."""

    email: str
    quota: int


def read_users(path: Path) -> dict[str, User]:
    """Users by device id, from a CSV file with the columns id, email and quota.

    Raises:
        ValueError: the file is missing, lacks a column, or has a row without id, email or whole quota.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ValueError(f"users file {path} cannot be read: {error.strerror}; give a readable CSV") from None
    users: dict[str, User] = {}
    for line, row in enumerate(rows, start=2):
        identity, email, quota = (row.get(column) for column in ("id", "email", "quota"))
        if not identity or not email or not quota or not quota.strip().isdecimal():
            raise ValueError(f"{path}: row {line} must have an id, an email and a whole quota, but is {row}")
        users[identity.strip()] = User(email.strip(), int(quota))
    return users


def hour_of(epoch_seconds: int) -> datetime:
    """The start of the hour, UTC."""
    return utc(epoch_seconds - epoch_seconds % HOUR_SECONDS)


def utc(epoch_seconds: int) -> datetime:
    """Epoch seconds as an aware datetime."""
    return datetime.fromtimestamp(epoch_seconds, UTC)


def bytes_rows(totals: Mapping[TotalKey, int]) -> list[TotalRow]:
    """Table ``bytes``, ordered by timestamp, type, id."""
    return sorted(
        (TotalRow(utc(key.window_start), key.id, value, key.type) for key, value in totals.items()),
        key=_order,
    )


def bytes_hourly_rows(totals: Mapping[TotalKey, int], users: Mapping[str, User]) -> list[TotalRow]:
    """Table ``bytes_hourly``, by timestamp, type, id; devices that nobody owns are `unknown`."""
    sums: Counter[tuple[datetime, str, str]] = Counter()
    for key, value in totals.items():
        total_type, identity = key.type, key.id
        if key.type == TotalType.DEVICE:
            total_type = MAIL_TOTAL
            identity = users[key.id].email if key.id in users else UNKNOWN
        sums[hour_of(key.window_start), total_type, identity] += value
    return sorted(
        (TotalRow(hour, identity, value, total_type) for (hour, total_type, identity), value in sums.items()),
        key=_order,
    )


def user_quota_limit_rows(totals: Mapping[TotalKey, int], users: Mapping[str, User]) -> list[QuotaRow]:
    """Table ``user_quota_limit``, ordered by timestamp, email: usage strictly above the email's quota.

    The quota of an email is the sum over all of its devices, also those without traffic.
    """
    quotas: Counter[str] = Counter()
    for user in users.values():
        quotas[user.email] += user.quota
    usage: Counter[tuple[datetime, str]] = Counter()
    for key, value in totals.items():
        if key.type == TotalType.DEVICE and key.id in users:
            usage[hour_of(key.window_start), users[key.id].email] += value
    return [
        QuotaRow(email, used, quotas[email], hour)
        for (hour, email), used in sorted(usage.items())
        if used > quotas[email]
    ]


def in_hours(totals: Mapping[TotalKey, int], hours: Collection[datetime]) -> dict[TotalKey, int]:
    """The totals of these hours (aware datetimes)."""
    wanted = set(hours)
    return {key: value for key, value in totals.items() if hour_of(key.window_start) in wanted}


def _order(row: TotalRow) -> tuple[datetime, str, str]:
    return row.timestamp, row.type, row.id
