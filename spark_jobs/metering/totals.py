"""Totals of bytes per window and key: the one aggregation of both layers."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from metering.events import INT64_MAX

# type of a total -> the column of an event that is its id
KEYS: Final[Mapping[str, str]] = {
    "antenna_total_bytes": "antenna_id",
    "user_total_bytes": "id",
    "app_total_bytes": "app",
}
TOTALS_SCHEMA: Final = {"window": pl.Int64, "type": pl.String, "id": pl.String, "value": pl.Int64}


def no_totals() -> pl.DataFrame:
    """Totals of no events at all."""
    return pl.DataFrame(schema=TOTALS_SCHEMA)


def totals(events: pl.DataFrame, window_seconds: int, keys: Mapping[str, str] = KEYS) -> pl.DataFrame:
    """Sum the bytes of events per window, type and id.

    Args:
        events: at least ``event_time`` (epoch seconds), ``bytes`` and the columns that ``keys`` names.
        window_seconds: length of the tumbling windows, which start at multiples of it.
        keys: type of total -> column that is its id.

    Returns:
        ``window`` (its start, epoch seconds), ``type``, ``id``, ``value`` (bytes), one row per key.

    Raises:
        OverflowError: a sum does not fit BIGINT.
    """
    event_time = pl.col("event_time")
    windowed = events.with_columns(window=event_time - event_time % window_seconds)
    return sum_totals(
        pl.concat(
            windowed.select(
                "window",
                pl.lit(kind).alias("type"),
                pl.col(column).alias("id"),
                pl.col("bytes").alias("value"),
            )
            for kind, column in keys.items()
        )
    )


def sum_totals(parts: pl.DataFrame) -> pl.DataFrame:
    """Sum partial totals (the columns of ``totals``) to one row per window, type and id.

    Raises:
        OverflowError: a sum does not fit BIGINT; names the window, type, id and sum.
    """
    if parts.is_empty():
        return no_totals()
    # Int64 sums wrap around silently; 128 bits are needed only where the total of all might overflow.
    might_overflow = int(parts["value"].max() or 0) * parts.height > INT64_MAX  # type: ignore[arg-type]
    value = pl.col("value").cast(pl.Int128) if might_overflow else pl.col("value")
    summed = parts.group_by("window", "type", "id").agg(value.sum())
    too_large = summed.filter(pl.col("value") > INT64_MAX) if might_overflow else summed.clear()
    if not too_large.is_empty():
        window, kind, key, total = too_large.row(0)
        raise OverflowError(
            f"the sum of bytes {total} for {kind} of {key!r} in the window {window} (epoch seconds) "
            f"is greater than {INT64_MAX}, the largest BIGINT"
        )
    return summed.cast(TOTALS_SCHEMA)  # type: ignore[arg-type]
