"""Why a record is rejected: the fixed vocabulary, in the order in which the rules are tried."""

from typing import Final

REASONS: Final = (
    "not_json",
    "not_an_object",
    "missing_field",
    "null_field",
    "wrong_type",
    "negative",
    "out_of_range",
    "empty_field",
    "nul_character",
    "in_the_future",
    "too_late",
)
