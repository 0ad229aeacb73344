"""Params that several DAGs have."""

from airflow.sdk import Param

# An instant in ISO 8601 with its offset from UTC.
INSTANT_PATTERN = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?([Zz]|[+-]\d{2}(:?\d{2})?)$"


def instant_param(title: str, description_md: str) -> Param:
    """An instant, or nothing: the form shows a date picker, and another text is refused at the trigger."""
    return Param(
        None,
        type=["null", "string"],
        format="date-time",
        pattern=INSTANT_PATTERN,
        title=title,
        description_md=description_md,
    )
