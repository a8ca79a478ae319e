"""Files of runs, through us: a client names a run and a path in it, never a place on this machine.

A run's files are at `mlflow-artifacts:/<experiment>/<run id>/artifacts`. What is uploaded is streamed into a file of
ours, then into the store under the digest of its content; the name is recorded when the bytes are durable.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import mimetypes
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import sqlalchemy as sa
from fastapi import FastAPI, Request
from starlette.responses import Response

from tidemill.api.auth import may_read, may_write
from tidemill.api.mlflow import errors, limits, wire
from tidemill.api.mlflow.errors import Told, invalid
from tidemill.api.mlflow.routes import Route
from tidemill.core.errors import BadInput, NoRoom, NotFound
from tidemill.core.graphs.committing import committer_of, reading
from tidemill.core.graphs.schema import tracked
from tidemill.core.ids import new_id
from tidemill.core.workspace import Workspace
from tidemill.serve.registered import states
from tidemill.serve.registered.states import Version
from tidemill.track import files
from tidemill.track.tracing import traces, uploaded

PREFIXES = ("/api/2.0/mlflow-artifacts/artifacts", "/ajax-api/2.0/mlflow-artifacts/artifacts")

_log = logging.getLogger("tidemill.api.mlflow")


class List(msgspec.Struct):
    """artifacts/list."""

    run_id: str | None = None
    run_uuid: str | None = None
    path: str | None = None
    page_token: str | None = None


def add(app: FastAPI, ws: Workspace) -> None:
    """Add the routes of files."""

    async def put(request: Request) -> Response:
        return await _answered(request, lambda: _put(ws, request))

    async def get(request: Request) -> Response:
        return await _answered(request, lambda: asyncio.to_thread(_get, ws, request.path_params["path"]))

    async def delete(request: Request) -> Response:
        return await _answered(request, lambda: asyncio.to_thread(_delete, ws, request.path_params["path"]))

    async def listed(request: Request) -> Response:
        path = request.query_params.get("path", "")
        return await _answered(request, lambda: asyncio.to_thread(_listed, ws, path))

    async def by_run(request: Request) -> Response:
        given = request.query_params
        run_id, path = given.get("run_uuid") or given.get("run_id"), given.get("path", "")
        return await _answered(request, lambda: asyncio.to_thread(_of_run, ws, limits.run_id(run_id), path))

    for prefix in PREFIXES:
        for methods, call, permission in ((["PUT"], put, may_write), (["GET"], get, may_read),
                                          (["DELETE"], delete, may_write)):  # fmt: skip
            app.add_api_route(f"{prefix}/{{path:path}}", call, methods=methods, dependencies=[permission],
                              include_in_schema=False, response_model=None)  # fmt: skip
        app.add_api_route(prefix, listed, methods=["GET"], dependencies=[may_read], include_in_schema=False,
                          response_model=None)  # fmt: skip
    app.add_api_route("/get-artifact", by_run, methods=["GET"], dependencies=[may_read], include_in_schema=False,
                      response_model=None)  # fmt: skip


async def _answered(request: Request, call: Callable[[], Awaitable[Response]]) -> Response:
    try:
        return await call()
    except Exception as error:
        if errors.code_of(error) == "INTERNAL_ERROR":
            _log.exception("%s %s", request.method, request.url.path)
        return errors.answer(error)


async def _put(ws: Workspace, request: Request) -> Response:
    run_id, path = await asyncio.to_thread(_place, ws, request.path_params["path"])
    if not path:
        raise invalid("Invalid path: name a file")
    folder = ws.root / files.UPLOADS
    folder.mkdir(exist_ok=True)
    draft = folder / new_id()
    try:
        size = await _received(request, draft)
        digest = await asyncio.to_thread(ws.store.put_file, draft)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoRoom(f"there is no room for {path!r}: {error}; free some, then log it again") from error
        raise
    finally:
        draft.unlink(missing_ok=True)
    actor = ws.settings.who
    await asyncio.wrap_future(
        committer_of(ws).submit(lambda now: files.record(now, run_id, [(path, digest, size)], actor))
    )
    if path == uploaded.NAME and size <= uploaded.MOST_BYTES and "/traces/" in request.path_params["path"]:
        with suppress(BadInput, NotFound):  # whatever it is, it is kept as a file
            sent = await asyncio.to_thread(lambda: uploaded.read(ws.store.get(digest), run_id))
            await asyncio.wrap_future(committer_of(ws).submit(traces.taking_in(ws, sent)))
    return wire.told({})


async def _received(request: Request, draft: Path) -> int:
    size = 0
    with draft.open("wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
            size += len(chunk)
    return size


def _get(ws: Workspace, path: str) -> Response:
    registered = _registered(ws, path)
    if registered is not None:
        version, name = registered
        for each, digest, _ in version.files:
            if each == name:
                return _sent(ws, name, digest)
        raise Told("RESOURCE_DOES_NOT_EXIST", f"{version.name}@{version.number} has no file {name[:200]!r}")
    run_id, name = _place(ws, path)
    return _of_run(ws, run_id, name)


def _registered(ws: Workspace, path: str) -> tuple[Version, str] | None:
    """The version and the path in it that "registered/<key>/<number>/artifacts/<path>" names: they never change."""
    parts = path.strip("/").split("/")
    if parts[0] != "registered":
        return None
    if len(parts) < 4 or not parts[2].isdigit() or len(parts[2]) > 9 or parts[3] != "artifacts":
        raise _bad(path)
    with reading(ws) as link:
        found = states.read(link, parts[1]).versions.get(parts[1], ())
    for version in found:
        if version.number == int(parts[2]):
            return version, "/".join(parts[4:])
    raise Told("RESOURCE_DOES_NOT_EXIST", f"Model Version (name={parts[1]}, version={parts[2]}) not found")


def _of_run(ws: Workspace, run_id: str, name: str) -> Response:
    try:
        found = files.get(ws, run_id, name)
    except BadInput:
        raise _bad(name) from None
    except NotFound as error:
        raise Told("RESOURCE_DOES_NOT_EXIST", str(error)) from None
    return _sent(ws, name, found.digest)


def _sent(ws: Workspace, name: str, digest: str) -> Response:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    # As a download, whatever it is: what a client uploaded must not run as a page of ours.
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2])}"}
    return Response(ws.store.get(digest), media_type=kind, headers=headers)


def _delete(ws: Workspace, path: str) -> Response:
    run_id, name = _place(ws, path)
    if name:
        files.delete(ws, run_id, name)
    else:
        for file in files.listed(ws, run_id):
            files.delete(ws, run_id, file.path)
    return wire.told({})


def _listed(ws: Workspace, path: str) -> Response:
    registered = _registered(ws, path)
    if registered is not None:
        version, folder = registered
        found = [files.File(each, digest, size, version.created_ms) for each, digest, size in version.files]
        return wire.told(_files(files.within(found, folder.rstrip("/")), last=True))
    run_id, name = _place(ws, path)
    return wire.told(_files(_within(ws, run_id, name), last=True))


def _list(ws: Workspace, asked: List) -> Any:
    run_id = limits.run_id(asked.run_id, asked.run_uuid)
    place = _experiment_of(ws, run_id)
    return {"root_uri": wire.artifact_uri(place, run_id), **_files(_within(ws, run_id, asked.path or ""), last=False)}


def _within(ws: Workspace, run_id: str, folder: str) -> list[files.File]:
    try:
        return files.listed(ws, run_id, folder.rstrip("/"))
    except BadInput:
        raise _bad(folder) from None


def _files(found: Sequence[files.File], *, last: bool) -> dict[str, Any]:
    """Files for JSON. last: the last part of their paths alone."""
    shown = []
    for file in found:
        path = file.path.rpartition("/")[2] if last else file.path
        shown.append({"path": path, "is_dir": file.is_folder, **({} if file.is_folder else {"file_size": file.size})})
    return {"files": shown} if shown else {}


def _place(ws: Workspace, path: str) -> tuple[str, str]:
    """The run and the path in it that "<experiment>/<run id>/artifacts/<path>" names.

    "<experiment>/traces/<trace id>/artifacts/<path>", ".../models/<model id>/...": files of a trace or of a logged
    model are kept as those of a run are, under its id.
    """
    parts = path.strip("/").split("/")
    of_trace = len(parts) > 3 and parts[1] == "traces"
    if of_trace or (len(parts) > 3 and parts[1] == "models"):
        del parts[1]
    if len(parts) < 3 or parts[2] != "artifacts":
        raise _bad(path)
    run_id, name = parts[1], "/".join(parts[3:])
    place = traces.get(ws, run_id)["experiment"] if of_trace else _experiment_of(ws, run_id)
    if str(place) != parts[0]:
        raise Told("RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found in experiment {parts[0]}")
    if name:
        try:
            files.require_path(name)
        except BadInput:
            raise _bad(name) from None
    return run_id, name


def _experiment_of(ws: Workspace, run_id: str) -> int:
    with reading(ws) as link:
        found = link.execute(sa.select(tracked.c.experiment).where(tracked.c.run_id == run_id)).scalar()
    if found is None:
        raise Told("RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found")
    return int(found)


def _bad(path: str) -> Told:
    return invalid(
        f"Invalid path: {path[:200]!r}; a file of a run is <experiment>/<run id>/artifacts/<name>, without '..'"
    )


ROUTES = (Route("/artifacts/list", ("GET",), List, _list, writes=False),)
