"""The management API: JSON under /api/v1, one route a reading, behind the one auth dependency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from tidemill import __version__
from tidemill.api import flows, views
from tidemill.api.auth import LOOPBACK, SECURITY, Door, Keyring, NotSignedIn, may_read, may_write
from tidemill.api.mlflow import errors
from tidemill.api.mlflow import router as mlflow
from tidemill.api.routes import readings
from tidemill.api.views.shaping import Shown
from tidemill.core.errors import BadInput, Busy, Conflict, NotFound, Refused, TidemillError
from tidemill.project import Project

PREFIX = "/api/v1"

# The first that an error is an instance of counts; 500 for all others.
STATUS: Mapping[type[TidemillError], int] = {
    NotSignedIn: 401,
    Refused: 403,
    NotFound: 404,
    Conflict: 409,
    BadInput: 422,
    Busy: 503,
}

ShowError = Callable[[Request, int, str, str], Response]


def create(project: Project, token: str, *, hosts: Iterable[str] = LOOPBACK) -> FastAPI:
    """The API over one project. token: what callers must show. hosts: names under which it may be called.

    An error is `{"error": {"kind", "text"}}` with the status that fits.
    """
    # Their pages load scripts from elsewhere; /api/v1/openapi.json is ours, behind the token.
    app = FastAPI(title="Tidemill", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.keyring = Keyring(token)
    app.add_middleware(Door, hosts=(*LOOPBACK, *hosts))
    for reading in readings(project):
        path = PREFIX + ("/workspace" if reading.path == "/" else reading.path)
        app.add_api_route(path, reading.read, methods=["GET"], dependencies=[may_read])

    def acknowledge(alert_id: str, note: Annotated[str, Body(embed=True, max_length=2000)] = "") -> Shown:
        return views.acknowledge(project, alert_id, note=note)

    app.add_api_route(f"{PREFIX}/alerts/{{alert_id}}/acknowledge", acknowledge, methods=["POST"],
                      dependencies=[may_write])  # fmt: skip

    flows.add_writes(app, project, PREFIX)
    mlflow.add(app, project)

    def schema() -> dict[str, Any]:
        return app.openapi()

    app.add_api_route(
        f"{PREFIX}/openapi.json", schema, methods=["GET"], dependencies=[may_read], include_in_schema=False
    )
    show_errors(app, as_json)
    return app


def show_errors(app: FastAPI, show: ShowError) -> None:
    """Answer every error with `show(request, status, kind, text)`."""

    async def ours(request: Request, error: Exception) -> Response:
        if mlflow.is_ours(request.url.path):
            return errors.answer(error)
        return show(request, status_of(error), type(error).__name__, str(error))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if mlflow.is_ours(request.url.path):
            return errors.answer(errors.Told("ENDPOINT_NOT_FOUND", f"no {request.method} {request.url.path}"))
        text = f"there is nothing at {request.url.path}" if error.status_code == 404 else str(error.detail)
        return show(request, error.status_code, "HTTP", text)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return show(request, 422, "BadInput", "; ".join(map(_wrong, error.errors())))

    async def unforeseen(request: Request, error: Exception) -> Response:
        text = "something unforeseen went wrong; see the server's terminal"
        answer = show(request, 500, type(error).__name__, text)
        answer.headers.update(SECURITY)  # such an error passes the door on its way out
        return answer

    app.add_exception_handler(TidemillError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unforeseen)


def as_json(_request: Request, status: int, kind: str, text: str) -> Response:
    """An error for programs."""
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": {"kind": kind, "text": text}}, status, headers)


def status_of(error: Exception) -> int:
    """The HTTP status that says it best."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)


def _wrong(found: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in found["loc"][1:])
    return f"{where} {found.get('input')!r}: {found['msg']}"
