"""Checks one hour with SQL and fails with the figures."""

from collections.abc import Sequence
from typing import Any

from airflow.providers.common.sql.operators.sql import SQLCheckOperator
from airflow.sdk import Context


class HourCheckOperator(SQLCheckOperator):
    """Runs a query that returns one row: whether the check passed (boolean), and the figures (text).

    Only TRUE passes: no row and NULL fail too. What differs does not heal by itself, so it is not tried
    again; a database that cannot be reached is. `parameters` is templated.
    """

    template_fields: Sequence[str] = (*SQLCheckOperator.template_fields, "parameters")

    def __init__(self, *, retry_on_failure: bool = False, **kwargs: Any) -> None:
        super().__init__(retry_on_failure=retry_on_failure, **kwargs)

    def execute(self, context: Context) -> None:
        """Raise AirflowFailException with the figures unless the check passed."""
        passed, figures = self.get_db_hook().get_first(self.sql, self.parameters) or (None, "no row")
        if passed is not True:
            self._raise_exception(f"Check {self.task_id} failed: {figures}")
        self.log.info("Check %s passed: %s", self.task_id, figures)
