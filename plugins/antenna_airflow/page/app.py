"""Makes the app that Airflow's API server serves."""

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError

from antenna_airflow.page import files, health, hours, quotas, rejected, usage
from antenna_airflow.page.database import UnreadableError
from antenna_airflow.page.models import Problem
from antenna_airflow.page.security import SecurityHeaders, require_reader


def create_app() -> FastAPI:
    """The page, its files and its data: GET alone, and every route only for who may read antenna_batch."""
    app = FastAPI(
        title="Antennas",
        dependencies=[Depends(require_reader)],
        # They would be open to everybody.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(SecurityHeaders)
    for module in (files, health, usage, quotas, hours, rejected):
        app.include_router(module.router)
    app.add_exception_handler(UnreadableError, _tell_problem)
    app.add_exception_handler(OperationalError, _tell_airflow_database_problem)
    return app


def _tell_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UnreadableError)
    return JSONResponse(error.problem.model_dump(), status_code=503)


def _tell_airflow_database_problem(request: Request, error: Exception) -> JSONResponse:
    problem = Problem(
        kind="airflow_database",
        title="Airflow's own database does not answer",
        detail="Airflow cannot look up what you may see.",
        advice="Start PostgreSQL again. This page goes on by itself.",
    )
    return JSONResponse(problem.model_dump(), status_code=503)
