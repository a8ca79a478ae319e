"""The routes of MLflow's protocol: each behind the one auth dependency, read into a struct, answered without a thread.

A write is handed to the workspace's committer and awaited, so that what many clients log at once is one transaction. A
read goes to a thread: it may take long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse, Response

from tidemill.api.auth import may_read, may_write, open_to_all
from tidemill.api.mlflow import artifacts, errors, experiments, logged_models, registry, runs, traces, versions
from tidemill.api.mlflow.errors import Told, invalid
from tidemill.api.mlflow.routes import Route
from tidemill.api.mlflow.wire import told
from tidemill.core.workspace import Workspace
from tidemill.project import Project

PREFIXES = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")
VERSION = "3.17.2"  # of the protocol that is answered here
# All that is below these is MLflow's; what of it has no route of its own is answered as not there.
OURS = (
    *PREFIXES,
    "/api/3.0/mlflow",
    "/ajax-api/3.0/mlflow",
    "/api/2.0/mlflow-artifacts",
    "/ajax-api/2.0/mlflow-artifacts",
    "/graphql",
    "/gateway",
    "/v1",
)

_log = logging.getLogger("tidemill.api.mlflow")


def add(app: FastAPI, project: Project) -> None:
    """Add all routes to the app."""
    for route in (
        *experiments.ROUTES,
        *runs.ROUTES,
        *artifacts.ROUTES,
        *logged_models.ROUTES,
        *registry.ROUTES,
        *versions.ROUTES,
    ):
        endpoint = _endpoint(project.ws, route)
        permission = may_write if route.writes else may_read
        for prefix in PREFIXES:
            app.add_api_route(
                prefix + route.path,
                endpoint,
                methods=list(route.methods),
                dependencies=[permission],
                include_in_schema=False,
                response_model=None,
            )
    artifacts.add(app, project.ws)
    traces.add(app, project.ws)
    _around(app)


def is_ours(path: str) -> bool:
    """Whether an error at this path is told in MLflow's words."""
    return path.startswith(tuple(f"{start}/" for start in OURS))


def _around(app: FastAPI) -> None:
    async def health() -> Response:
        return PlainTextResponse("OK")

    async def version() -> Response:
        return PlainTextResponse(VERSION)

    async def server_info() -> Response:
        return told({"store_type": "SqlStore", "workspaces_enabled": False, "trace_archival_enabled": False})

    async def missing(request: Request) -> Response:
        return errors.answer(
            Told("NOT_IMPLEMENTED", f"tidemill does not answer {request.method} {request.url.path} of MLflow's API")
        )

    for path, call, permission in (
        ("/health", health, open_to_all),
        ("/version", version, open_to_all),
        ("/api/3.0/mlflow/server-info", server_info, may_read),
        ("/ajax-api/3.0/mlflow/server-info", server_info, may_read),
    ):
        app.add_api_route(path, call, methods=["GET"], dependencies=[permission], include_in_schema=False)
    for path in OURS:
        app.add_api_route(
            f"{path}/{{rest:path}}",
            missing,
            methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            dependencies=[may_read],
            include_in_schema=False,
        )


def _endpoint(ws: Workspace, route: Route) -> Callable[[Request], Awaitable[Response]]:
    decoder = msgspec.json.Decoder(route.takes, strict=False)
    lists = _lists(route.takes)

    async def endpoint(request: Request) -> Response:
        try:
            if request.method == "GET":
                given = _of_query(request, route.takes, lists)
            else:
                given = decoder.decode(await request.body() or b"{}")
            for name, value in request.path_params.items():
                setattr(given, name, value)
            if route.writes:
                made = route.answer(ws, given)
                value = await asyncio.wrap_future(made) if isinstance(made, Future) else await asyncio.to_thread(made)
            else:
                value = await asyncio.to_thread(route.answer, ws, given)
        except msgspec.ValidationError as error:
            return errors.answer(invalid(f"Invalid value in the request: {error}"))
        except msgspec.DecodeError as error:
            return errors.answer(Told("BAD_REQUEST", f"Failed to parse the request's body as JSON: {error}"))
        except Exception as error:
            if errors.code_of(error) == "INTERNAL_ERROR":
                _log.exception("%s %s", request.method, request.url.path)
            return errors.answer(error)
        return value if isinstance(value, Response) else told(value)

    return endpoint


def _of_query(request: Request, takes: type[Any], lists: frozenset[str]) -> Any:  # Any: a struct
    found: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in lists:
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return msgspec.convert(found, takes, strict=False)


def _lists(takes: type[Any]) -> frozenset[str]:
    """The fields that are lists: in a query each of their values is given by itself."""
    return frozenset(
        name
        for name, hint in get_type_hints(takes).items()
        if get_origin(hint) is list or any(get_origin(each) is list for each in get_args(hint))
    )
