"""The forms of the pages about pipelines: answer, cancel, run again, pause."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from tidemill.api import views
from tidemill.api.auth import may_write
from tidemill.core.errors import BadInput
from tidemill.project import Project
from tidemill.web.forms import form_of, local


def add_writes(app: FastAPI, project: Project) -> None:
    """Add what the forms are sent to; each leads back to a page."""

    async def answer(request: Request, run_id: str) -> Response:
        form = await form_of(request)
        if form.get("answer") not in ("yes", "no"):
            raise BadInput(f"the answer is {form.get('answer')!r}; allowed: yes, no")
        yes, note = form["answer"] == "yes", form.get("note", "")[:2000]
        await run_in_threadpool(views.answer, project, run_id, yes=yes, approval=form.get("approval"), note=note)
        return _to(f"/pipelines/{quote(run_id)}")

    async def cancel(request: Request, run_id: str) -> Response:
        await form_of(request)
        await run_in_threadpool(views.cancel, project, run_id)
        return _to(f"/pipelines/{quote(run_id)}")

    async def again(request: Request, run_id: str) -> Response:
        form = await form_of(request)
        made = await run_in_threadpool(views.again, project, run_id, node=form.get("node"))
        return _to(f"/pipelines/{made['id']}")

    async def pause(request: Request, name: str) -> Response:
        form = await form_of(request)
        if form.get("on") not in ("yes", "no"):
            raise BadInput(f"on is {form.get('on')!r}; allowed: yes (pause), no (go on)")
        await run_in_threadpool(views.pause, project, name, on=form["on"] == "yes")
        return _to(local(form.get("next")) or "/schedules")

    for path, call in (
        ("/pipelines/{run_id}/answer", answer),
        ("/pipelines/{run_id}/cancel", cancel),
        ("/pipelines/{run_id}/again", again),
        ("/schedules/{name}/pause", pause),
    ):
        app.add_api_route(path, call, methods=["POST"], dependencies=[may_write], include_in_schema=False)


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)
