"""The page itself, its scripts and its style sheet. Served by hand, so that they too ask who is there."""

import gzip
from functools import cache
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, Response

router = APIRouter()

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
CHARTS = "plotly.min.js"


@router.get("/")
def page() -> FileResponse:
    """The page."""
    return _file("index.html", "text/html")


@router.get(f"/static/{CHARTS}")
def charts(request: Request) -> Response:
    """The library that draws the charts, from its package."""
    headers = {"Cache-Control": "private, max-age=86400", "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(gzip.decompress(_packed_charts()), media_type="text/javascript", headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(_packed_charts(), media_type="text/javascript", headers=headers)


@router.get("/static/{name}")
def static(name: str) -> FileResponse:
    """A file of the folder `static`; nothing else can be named."""
    if name not in {path.name for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}:
        raise HTTPException(404, "no such file")
    return _file(name, MEDIA_TYPES[Path(name).suffix])


def _file(name: str, media_type: str) -> FileResponse:
    # Asked for anew each time, and answered with 304 while it is unchanged: an upgrade shows at once.
    return FileResponse(FOLDER / name, media_type=media_type, headers={"Cache-Control": "private, no-cache"})


@cache
def _packed_charts() -> bytes:
    """Packed once: 4.8 MB become 1.4."""
    from plotly.offline import get_plotlyjs

    return gzip.compress(get_plotlyjs().encode(), compresslevel=9)
