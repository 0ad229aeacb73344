"""Who may see the page, and what the browser may do on it."""

from typing import Annotated

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, HTTPException, Request, status
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BATCH_DAG = "antenna_batch"
# plotly.js puts a style sheet for maps, which are not drawn here, into the page; any other is refused.
PLOTLY_MAP_STYLE = "'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o='"
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'self' {PLOTLY_MAP_STYLE}",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            # Airflow shows the page in a frame.
            "frame-ancestors 'self'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# 401 for who is not logged in, 403 for who may not read the DAG and its runs: Airflow's own rule.
require_reader = requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=BATCH_DAG)
_require_trigger = requires_access_dag("POST", DagAccessEntity.RUN, param_dag_id=BATCH_DAG)


def may_recompute(request: Request, user: GetUserDep) -> bool:
    """Whether Airflow would let this user trigger antenna_batch; the page then shows the button.

    Only a convenience: the browser triggers by Airflow's API, which asks again.
    """
    try:
        _require_trigger(request, user)
    except HTTPException as error:
        if error.status_code == status.HTTP_403_FORBIDDEN:
            return False
        raise
    return True


MayRecompute = Annotated[bool, Depends(may_recompute)]


class SecurityHeaders:
    """Adds `HEADERS` to every answer, refusals among them. What sets no cache rule is not kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)
