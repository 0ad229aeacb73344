"""The configured ages after which the DAG maintenance removes things."""

import os


def days_from_environment(name: str) -> int | None:
    """The number of days in ANTENNA_RETENTION_`name`_DAYS; None where it is not set.

    Raises ValueError that names variable, value and rule.
    """
    variable = f"ANTENNA_RETENTION_{name}_DAYS"
    text = os.environ.get(variable, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{variable}={text!r} is no number of days from 1 on; unset it to keep everything")
    return int(text)
