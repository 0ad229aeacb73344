"""Links from a task's page. Airflow stores them when a task ends; a task that has no end stores its own."""

from typing import Any

from airflow.configuration import conf
from airflow.sdk import BaseOperator, BaseOperatorLink, Context
from airflow.sdk.types import TaskInstanceKey

from antenna_airflow.page.entry import PREFIX


class PageLink(BaseOperatorLink):
    """The page "Antennas", at what belongs to the DAG."""

    name = "Antennas"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The page's address."""
        return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}{PREFIX}/?dag={operator.dag_id}"


class SparkUiLink(BaseOperatorLink):
    """Spark's own page of the running driver, where it has one that was stored."""

    name = "Spark UI"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Nothing: at the end of the task, the driver's page is gone."""
        return ""


def store_link(context: Context, link: BaseOperatorLink, address: str) -> None:
    """Show a link of the running task from now on."""
    ti: Any = context["ti"]
    ti.xcom_push(key=link.xcom_key, value=address)
