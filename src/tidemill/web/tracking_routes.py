"""What the pages of experiments send and fetch beside themselves: kept views, files of runs, the table as a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import quote

from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from tidemill.api.auth import may_read, may_write
from tidemill.api.views import tracking
from tidemill.api.views.tracking.media import PICTURES, SOUNDS
from tidemill.project import Project
from tidemill.web.forms import form_of

ExperimentId = Annotated[int, Path(ge=0, lt=2**63)]
Filter = Annotated[str, Query(max_length=50_000)]
Order = Annotated[str, Query(max_length=4000)]


def add(app: FastAPI, project: Project) -> None:
    """Add them; reading needs "read", keeping a view "write"."""

    def file(run_id: str, path: Annotated[str, Query(max_length=500)]) -> Response:
        kind, content = tracking.file_of(project, run_id, path)
        shown = kind in (*PICTURES, *SOUNDS)
        headers = {"cache-control": "private, max-age=60", "x-content-type-options": "nosniff"}
        if not shown:  # anything else could be a page of its own: it is a download
            headers["content-disposition"] = _attachment(path.rpartition("/")[2])
        return Response(content, media_type=kind if shown else "application/octet-stream", headers=headers)

    def as_csv(experiment_id: ExperimentId, filter: Filter = "", order: Order = "") -> Response:
        rows = tracking.as_csv(project, experiment_id, filter=filter, order=order)
        return _download(rows, "text/csv; charset=utf-8", f"experiment-{experiment_id}.csv")

    def as_parquet(experiment_id: ExperimentId, filter: Filter = "", order: Order = "") -> Response:
        rows = tracking.as_parquet(project, experiment_id, filter=filter, order=order)
        return _download(rows, "application/vnd.apache.parquet", f"experiment-{experiment_id}.parquet")

    async def save(request: Request, experiment_id: ExperimentId) -> Response:
        form = await form_of(request)
        made = await run_in_threadpool(
            tracking.save_view, project, experiment_id, form.get("name", ""), form.get("query", "")
        )
        return RedirectResponse(f"/experiments/{experiment_id}?{made['query']}", 303)

    async def forget(request: Request, experiment_id: ExperimentId) -> Response:
        form = await form_of(request)
        await run_in_threadpool(tracking.forget_view, project, experiment_id, form.get("name", ""))
        return RedirectResponse(f"/experiments/{experiment_id}", 303)

    for path, call, method, permission in (
        ("/runs/{run_id}/file", file, "GET", may_read),
        ("/experiments/{experiment_id}/runs.csv", as_csv, "GET", may_read),
        ("/experiments/{experiment_id}/runs.parquet", as_parquet, "GET", may_read),
        ("/experiments/{experiment_id}/views", save, "POST", may_write),
        ("/experiments/{experiment_id}/views/forget", forget, "POST", may_write),
    ):
        app.add_api_route(path, call, methods=[method], dependencies=[permission], include_in_schema=False)


def _download(rows: Iterator[bytes], kind: str, name: str) -> Response:
    return StreamingResponse(rows, media_type=kind, headers={"content-disposition": _attachment(name)})


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name)}"
