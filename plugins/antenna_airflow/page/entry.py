"""What the plugin registers. Every process of Airflow loads it, so it imports nothing heavy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

PREFIX = "/antennas"


class PageApp:
    """The app of the page, made at the first request: only the API server ever gets one."""

    def __init__(self) -> None:
        self._app: FastAPI | None = None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if self._app is None:
            from antenna_airflow.page.app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)
