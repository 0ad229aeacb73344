"""Who may see the page, and what the browser is allowed to do on it."""

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from antenna_airflow.defaults import READER_CONNECTION
from antenna_airflow.page import files
from antenna_airflow.page.app import create_app
from include.local_stack.settings import free_port
from include.provisioner.reader import READ_TABLES
from tests.conftest import Database
from tests.integration.conftest import READER_ROLE

from .conftest import LogIn

FILES = sorted(path.name for path in Path(files.FOLDER).iterdir() if path.suffix != ".html")
ROUTES = [
    "/antennas/",
    "/antennas/static/plotly.min.js",
    *(f"/antennas/static/{name}" for name in FILES),
    "/antennas/data/health",
    "/antennas/data/usage?by=app&step=hour&start=2026-11-24T00:00:00Z&end=2026-11-24T01:00:00Z",
    "/antennas/data/usage.csv?by=app&step=hour&start=2026-11-24T00:00:00Z&end=2026-11-24T01:00:00Z",
    "/antennas/data/quotas",
    "/antennas/data/quotas/user?email=ana@x.org",
    "/antennas/data/hours",
    "/antennas/data/rejected",
]


def test_the_list_of_routes_is_complete() -> None:
    routes = [route for route in create_app().routes if isinstance(route, APIRoute)]
    assert {route.path for route in routes} == {
        re.sub(r"^/antennas|\?.*$", "", route).replace(f"/{name}", "/{name}")
        for route in ROUTES
        for name in [route.rsplit("/", 1)[-1] if route.removeprefix("/antennas/static/") in FILES else "?"]
    }
    # Nothing is written, by whatever method.
    assert {method for route in routes for method in route.methods} == {"GET"}
    assert len(routes) == len(create_app().routes)


@pytest.mark.parametrize("url", ROUTES)
def test_nobody_sees_anything_without_a_login(visitor: TestClient, url: str) -> None:
    answer = visitor.get(url)
    assert answer.status_code == 401
    assert answer.json() == {"detail": "Not authenticated"}


@pytest.mark.parametrize("url", ROUTES)
def test_a_token_that_airflow_did_not_sign_is_refused(visitor: TestClient, url: str) -> None:
    assert visitor.get(url, headers={"Authorization": "Bearer e30.e30.e30"}).status_code == 403


@pytest.mark.parametrize("url", ROUTES)
def test_a_viewer_sees_everything(viewer: TestClient, url: str) -> None:
    assert viewer.get(url).status_code == 200


@pytest.mark.parametrize("url", ROUTES)
def test_who_may_not_read_the_dag_sees_nothing(
    log_in: LogIn, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    asked = []

    def refuse(self: object, **question: object) -> bool:
        asked.append(question["details"])
        return False

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", refuse)
    assert log_in("admin").get(url).status_code == 403
    assert {details.id for details in asked} == {"antenna_batch"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(log_in: LogIn, method: str) -> None:
    client = log_in("admin")
    assert {client.request(method, url).status_code for url in ROUTES} == {405}


@pytest.mark.parametrize(
    "path", ["/antennas/docs", "/antennas/openapi.json", "/antennas/static/..%2Fapp.py", "/antennas/static/"]
)
def test_what_is_not_there_is_not_there(log_in: LogIn, path: str) -> None:
    assert log_in("admin").get(path).status_code == 404


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("user", True), ("op", True), ("admin", True)])
def test_the_button_is_for_who_may_trigger(
    log_in: LogIn, connection: psycopg.Connection, role: str, may: bool
) -> None:
    client = log_in(role)
    assert client.get("/antennas/data/hours").json()["may_recompute"] is may
    assert client.get("/antennas/data/health").json()["may_recompute"] is may


def test_airflow_refuses_a_viewer_who_triggers_all_the_same(viewer: TestClient) -> None:
    body = {"logical_date": None, "conf": {"timestamp": "2026-11-24T00:00:00Z"}}
    assert viewer.post("/api/v2/dags/antenna_batch/dagRuns", json=body).status_code == 403


@pytest.mark.parametrize("url", [*ROUTES, "/antennas/nothing"])
@pytest.mark.parametrize("logged_in", [True, False])
def test_every_answer_carries_the_policy(
    viewer: TestClient, visitor: TestClient, url: str, logged_in: bool
) -> None:
    headers = (viewer if logged_in else visitor).get(url).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store" or "private" in headers["cache-control"]


def test_the_reader_reads_what_the_page_shows_and_nothing_else(
    connection: psycopg.Connection, reader_connection: Database
) -> None:
    rights = connection.execute(
        """
        SELECT table_schema, table_name, privilege
        FROM information_schema.tables
        CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
        WHERE table_schema IN ('public', 'ops')
            AND has_table_privilege(%s, format('%%I.%%I', table_schema, table_name), privilege)
        """,
        (READER_ROLE,),
    ).fetchall()
    assert set(rights) == {(*table, "SELECT") for table in READ_TABLES}
    role = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = %s"
    assert connection.execute(role, (READER_ROLE,)).fetchone() == (False, False, False)
    create = "SELECT has_schema_privilege(%s, 'public', 'CREATE'), has_schema_privilege(%s, 'ops', 'CREATE')"
    assert connection.execute(create, (READER_ROLE, READER_ROLE)).fetchone() == (False, False)


def test_the_session_of_the_page_cannot_write_even_with_rights(
    log_in: LogIn, connection: psycopg.Connection, reader_connection: Database
) -> None:
    from antenna_airflow.page.database import reading

    connection.execute("GRANT ALL ON public.bytes TO PUBLIC")
    with reading() as page, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        page.execute("DELETE FROM public.bytes")


def data_routes() -> list[str]:
    return [route for route in ROUTES if "/data/" in route]


@pytest.mark.parametrize("url", data_routes())
def test_before_provisioning_it_says_what_to_trigger(
    log_in: LogIn, reader_connection: Database, url: str
) -> None:
    with reader_connection.connect() as connection:
        connection.execute("DROP SCHEMA ops CASCADE")
    answer = log_in("viewer").get(url)
    assert answer.status_code == 503
    assert answer.json()["kind"] == "not_provisioned"
    assert "provision_schema" in answer.json()["advice"]
    assert answer.json()["dag_id"] == "provision_schema"


@pytest.mark.parametrize("url", data_routes())
def test_without_postgresql_it_says_so(log_in: LogIn, connection_env: Callable[..., None], url: str) -> None:
    connection_env(READER_CONNECTION, conn_type="postgres", host="127.0.0.1", port=free_port(), schema="x")
    answer = log_in("viewer").get(url)
    assert answer.status_code == 503
    assert answer.json()["title"] == "PostgreSQL does not answer"
    assert "connection refused" in answer.json()["detail"].lower()


def test_a_wrong_password_is_told_without_telling_it(
    log_in: LogIn, reader_connection: Database, connection_env: Callable[..., None]
) -> None:
    connection_env(
        READER_CONNECTION,
        conn_type="postgres",
        host=reader_connection.host,
        port=reader_connection.port,
        schema=reader_connection.name,
        login=READER_ROLE,
        password="not-this-one",
    )
    answer = log_in("viewer").get("/antennas/data/health")
    assert answer.status_code == 503
    assert "password authentication failed" in answer.json()["detail"]
    assert "not-this-one" not in answer.text


def test_without_a_connection_it_says_how_to_make_one(log_in: LogIn) -> None:
    answer = log_in("viewer").get("/antennas/data/health")
    assert answer.status_code == 503
    assert READER_CONNECTION in answer.json()["detail"]
