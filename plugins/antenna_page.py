"""Registers the page "Antennas" with Airflow: in the navigation, and as a tab of each DAG."""

from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from antenna_airflow.page.entry import PREFIX, PageApp

# Airflow may be served below a path of its host.
PAGE_URL = f"{urlsplit(conf.get('api', 'base_url', fallback='')).path.rstrip('/')}{PREFIX}/"
VIEW = {"name": "Antennas", "icon": f"{PAGE_URL}static/antenna.svg"}


class AntennaPagePlugin(AirflowPlugin):
    """The page and the ways to it."""

    name = "antennas"
    fastapi_apps = [{"app": PageApp(), "url_prefix": PREFIX, "name": "Antennas"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {**VIEW, "href": PAGE_URL, "destination": "nav", "url_route": "antennas", "nav_top_level": True},
        {**VIEW, "href": f"{PAGE_URL}?dag={{DAG_ID}}", "destination": "dag", "url_route": "antennas-of-dag"},
    ]
