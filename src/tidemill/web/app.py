"""The workspace's pages: each reading of the API as HTML, and the same with `.json` behind the path."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tidemill.api import app as api
from tidemill.api import views
from tidemill.api.auth import LOOPBACK, Keyring, may_read, may_write, open_to_all
from tidemill.api.routes import Reading, readings
from tidemill.api.views.shaping import Shown
from tidemill.core.errors import NotFound
from tidemill.project import Project
from tidemill.web import flows, tracking_routes
from tidemill.web.forms import form_of, local
from tidemill.web.pages import PICTURES, POLICY, SCRIPTED, Pages

KEPT_S = 30 * 24 * 3600
ASKS = "NotPermitted"  # the refusal of a policy, whose page asks for a purpose


def create(project: Project, token: str, *, hosts: Iterable[str] = LOOPBACK) -> FastAPI:
    """Pages and API of one project. token: what callers must show; see api.auth. hosts: names it may be called by."""
    app = api.create(project, token, hosts=hosts)
    pages = Pages(views.workspace_name(project))
    for reading in readings(project):
        as_json = "/index.json" if reading.path == "/" else f"{reading.path}.json"
        # First the .json path: "/runs/{run_id}" would take it as an id.
        app.add_api_route(as_json, reading.read, methods=["GET"], dependencies=[may_read], include_in_schema=False)
        app.add_api_route(
            reading.path, _page(pages, reading), methods=["GET"], dependencies=[may_read], include_in_schema=False
        )
    _add_files(app, project)
    _add_writes(app, project)
    flows.add_writes(app, project)
    tracking_routes.add(app, project)
    _add_sign_in(app, pages)
    _add_static(app, pages)
    api.show_errors(app, _error(pages))
    return app


def _page(pages: Pages, reading: Reading) -> Callable[..., HTMLResponse]:
    def page(request: Request, shown: Shown = Depends(reading.read)) -> HTMLResponse:  # noqa: B008  FastAPI's way
        headers = {"content-security-policy": POLICY} if reading.template in SCRIPTED else None
        return HTMLResponse(pages.render(reading.template, request, shown), headers=headers)

    return page


def _add_files(app: FastAPI, project: Project) -> None:
    def file(name: str, path: str, version: str | None = None, purpose: str | None = None) -> Response:
        kind, content = views.file_of(project, name, path, version=version, purpose=purpose)
        shown = kind in PICTURES
        headers = {"cache-control": "private, max-age=3600", "x-content-type-options": "nosniff"}
        if not shown:  # anything else could be a page of its own: it is a download
            headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(path.rpartition('/')[2])}"
        return Response(content, media_type=kind if shown else "application/octet-stream", headers=headers)

    app.add_api_route("/datasets/{name}/file", file, methods=["GET"], dependencies=[may_read], include_in_schema=False)


def _add_writes(app: FastAPI, project: Project) -> None:
    async def acknowledge(request: Request, alert_id: str) -> Response:
        form = await form_of(request)
        views.acknowledge(project, alert_id, note=form.get("note", "")[:2000])
        return RedirectResponse(local(form.get("next")) or "/alerts", 303)

    app.add_api_route("/alerts/{alert_id}/acknowledge", acknowledge, methods=["POST"], dependencies=[may_write],
                      include_in_schema=False)  # fmt: skip


def _add_sign_in(app: FastAPI, pages: Pages) -> None:
    keyring: Keyring = app.state.keyring

    def enter(request: Request, token: str, after: str | None) -> Response:
        if not keyring.opens(token):
            text = "that is not this workspace's token; open the link that `tidemill up` printed"
            return HTMLResponse(pages.sign_in(request, text), 401)
        answer = RedirectResponse(local(after) or "/", 303)
        answer.set_cookie(keyring.cookie, keyring.session, max_age=KEPT_S, httponly=True, samesite="lax", path="/")
        return answer

    def sign_in(request: Request, token: str | None = None) -> Response:
        if token is None:
            return HTMLResponse(pages.sign_in(request, ""))
        return enter(request, token, None)

    async def post_sign_in(request: Request) -> Response:
        form = await form_of(request)
        return enter(request, form.get("token", "").strip(), form.get("next"))

    def sign_out() -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(keyring.cookie, path="/")
        return answer

    for path, call, method in (
        ("/login", sign_in, "GET"),
        ("/login", post_sign_in, "POST"),
        ("/logout", sign_out, "POST"),
    ):
        app.add_api_route(path, call, methods=[method], dependencies=[open_to_all], include_in_schema=False,
                          response_class=Response, response_model=None)  # fmt: skip


def _add_static(app: FastAPI, pages: Pages) -> None:
    def static(name: str) -> Response:
        if name not in pages.static:
            raise NotFound(f"there is no /static/{name}; there are {', '.join(sorted(pages.static))}")
        kind, content = pages.static[name]
        return Response(content, media_type=kind, headers={"cache-control": "public, max-age=31536000, immutable"})

    app.add_api_route("/static/{name}", static, methods=["GET"], dependencies=[open_to_all], include_in_schema=False)


def _error(pages: Pages) -> api.ShowError:
    """Errors as pages for people, as JSON for programs; 401 shows where to put the token."""

    def show(request: Request, status: int, kind: str, text: str) -> Response:
        path = request.url.path
        if path.startswith(f"{api.PREFIX}/") or path.endswith(".json") or "authorization" in request.headers:
            return api.as_json(request, status, kind, text)
        if status == 401:
            return HTMLResponse(pages.sign_in(request, "" if request.method == "GET" else text), 401)
        return HTMLResponse(pages.error(request, status, text, ask=kind == ASKS), status)

    return show
