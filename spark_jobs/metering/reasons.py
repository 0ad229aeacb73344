"""Why a record is rejected: the fixed vocabulary."""

from typing import Final

# In the order in which the rules are tried.
BROKEN_RULES: Final = (
    "not_json",
    "not_an_object",
    "missing_field",
    "null_field",
    "wrong_type",
    "negative",
    "out_of_range",
    "empty_field",
    "nul_character",
    "too_long",
    "in_the_future",
    "too_late",
)
# By a person, whatever the rules say.
REFUSED: Final = "refused"
REASONS: Final = (*BROKEN_RULES, REFUSED)
