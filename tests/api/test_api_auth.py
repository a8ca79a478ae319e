"""Who gets in: token, cookie, host names and origins; and that no route forgot to ask."""

from __future__ import annotations

import httpx
import pytest
from trips_mill import TOKEN

import tidemill as tm
from tidemill.api import app as api
from tidemill.api.auth import Door, Keyring, may_read, needs, permission_of
from tidemill.api.mlflow import router as mlflow
from tidemill.core.errors import BadInput
from tidemill.web import app as web

OPEN = {"/login", "/logout", "/static/{name}", "/health", "/version"}
READ_BY_POST = {  # searches, and what is answered as not there
    f"{start}/{what}/search"
    for start in ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")
    for what in ("experiments", "runs", "logged-models")
} | {f"{start}/{{rest:path}}" for start in mlflow.OURS}
READ_BY_POST |= {
    f"{start}/registered-models/get-latest-versions" for start in ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow")
}
READ_BY_POST |= {
    f"{start}/traces/{what}"
    for start in ("/api/3.0/mlflow", "/ajax-api/3.0/mlflow")
    for what in ("search", "batchGetInfos")
}
OWN = {"/hooks/{name}"}  # each has a token of its own, which the route itself compares


@pytest.mark.parametrize("create", [api.create, web.create])
def test_every_route_declares_its_permission(mill, create):
    for route in create(mill, TOKEN).routes:
        found = permission_of(route)
        assert found is not None, f"{route} declares no permission; give it dependencies=[may_read] or another"
        assert (found == "open") == (route.path in OPEN), f"{route.path} is {found}"
        assert (found == "own token") == (route.path in OWN), f"{route.path} is {found}"
        if route.methods - {"GET", "HEAD"} and found not in ("open", "own token") and route.path not in READ_BY_POST:
            assert found == "write", f"{route.path} changes something and needs only {found}"


def test_a_route_without_a_permission_is_seen():
    from fastapi import FastAPI

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/forgotten", lambda: {})
    app.add_api_route("/asked", lambda: {}, dependencies=[may_read])
    assert [permission_of(route) for route in app.routes] == [None, "read"]


def test_every_route_refuses_who_shows_nothing(mill, call):
    stranger = call(token=None)
    for route in api.create(mill, TOKEN).routes:
        for method in () if route.path in OPEN else route.methods:
            answer = stranger.request(method, route.path)
            assert answer.status_code == 401, (method, route.path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "trips" not in answer.text.replace(route.path, "")


@pytest.mark.parametrize("shown", ["", "Bearer", "Bearer wrong", "Basic " + TOKEN, TOKEN, "Bearer é"])
def test_a_wrong_authorization_is_refused(address, shown):
    headers = [(b"authorization", shown.encode("latin-1"))]
    assert httpx.get(f"{address}/api/v1/runs", headers=headers, trust_env=False).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_opens(call, scheme):
    assert call(token=None, Authorization=f"{scheme} {TOKEN}").get("/api/v1/runs").status_code == 200


def test_the_session_cookie_opens_and_is_not_the_token(call):
    keyring = Keyring(TOKEN)
    assert TOKEN not in keyring.session
    assert call(token=None, Cookie=f"{keyring.cookie}={keyring.session}").get("/api/v1/runs").status_code == 200
    assert call(token=None, Cookie=f"{keyring.cookie}={keyring.session[:-1]}").get("/api/v1/runs").status_code == 401
    assert call(token=None, Cookie=f"{keyring.cookie}={TOKEN}").get("/api/v1/runs").status_code == 401


def test_the_cookies_of_two_workspaces_are_apart():
    one, other = Keyring(TOKEN), Keyring(TOKEN + "2")
    assert one.cookie != other.cookie
    assert one.session != other.session


@pytest.mark.parametrize("token", ["", "short", "fifteen letters"])
def test_a_token_that_could_be_guessed_is_not_taken(token):
    with pytest.raises(BadInput, match=r"has \d+ characters; it needs 16 or more") as caught:
        Keyring(token)
    assert not token or token not in str(caught.value)


def test_a_token_in_the_address_does_not_open(call):
    assert call(token=None).get("/api/v1/runs", params={"token": TOKEN}).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost@evil", "", "["]
)
def test_a_foreign_host_name_is_refused_even_with_the_token(call, host):
    answer = call(Host=host).get("/api/v1/runs")
    assert answer.status_code == 403
    assert "is not served here; allowed: 127.0.0.1, ::1, localhost" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "[::1]:9", "127.0.0.1"])
def test_loopback_names_are_served(call, host):
    assert call(Host=host).get("/api/v1/runs").status_code == 200


def test_a_host_name_can_be_allowed(mill):
    app = api.create(mill, TOKEN, hosts=["mill.example"])
    door = next(each for each in app.user_middleware if each.cls is Door)
    assert Door(app, **door.kwargs).hosts == {"127.0.0.1", "localhost", "::1", "mill.example"}


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_a_write_from_another_origin_is_refused(call, origin):
    answer = call(Origin=origin).post("/api/v1/alerts/0000/acknowledge")
    assert (answer.status_code, f"a write from {origin!r} is refused" in answer.text) == (403, True)


def test_a_write_from_our_own_origin_goes_on(call, address):
    assert call(Origin=address).post("/api/v1/alerts/000000000000/acknowledge").status_code == 404


@pytest.mark.parametrize(("path", "token"), [("/api/v1/runs", TOKEN), ("/api/v1/runs", None), ("/nothing", TOKEN)])
def test_every_answer_has_the_security_headers(call, path, token):
    headers = call(token=token).get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_permissions_have_names_only_of_four():
    known = ["open", "read", "write", "own token"]
    assert [needs(each).permission for each in known] == known


def test_a_project_with_an_empty_token_is_not_served(mill: tm.Project):
    with pytest.raises(BadInput):
        web.create(mill, "")
