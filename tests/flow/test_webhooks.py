"""A call with the right token sets off what waits for it, once; any other is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tidemill.core.errors import BadInput, Refused
from tidemill.core.ids import utc_now
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow.scheduling import schedules, slots, webhooks
from tidemill.flow.scheduling.schedules import on_webhook


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


def test_each_call_runs_what_waits_for_it_with_its_body(ws: Workspace) -> None:
    token = webhooks.issue(ws, "push")
    webhooks.call(ws, "push", token, {"before": True})
    one = schedules.deploy(ws, "build", "flows.py:build", on_webhook("push"), slot_param="body")
    webhooks.call(ws, "push", token, {"commit": "a1"})
    webhooks.call(ws, "push", token)
    runs = slots.claim(ws, one, utc_now() + timedelta(hours=1))
    assert [run.params["body"] for run in runs] == [{"commit": "a1"}, None]
    assert {run.tags["trigger"] for run in runs} == {"webhook"}
    assert slots.claim(ws, one, utc_now()) == []


def test_the_same_delivery_is_the_same_call(ws: Workspace) -> None:
    token = webhooks.issue(ws, "push")
    one = schedules.deploy(ws, "build", "flows.py:build", on_webhook("push"))
    assert webhooks.call(ws, "push", token, 1, delivery="d1") == webhooks.call(ws, "push", token, 1, delivery="d1")
    webhooks.call(ws, "push", token, 1, delivery="d2")
    assert len(slots.claim(ws, one, utc_now())) == 2


def test_a_wrong_token_and_an_unknown_name_are_refused_alike(ws: Workspace) -> None:
    webhooks.issue(ws, "push")
    for name, token in (("push", "guess"), ("pull", "guess"), ("push", ""), ("push", "é\ud800")):
        with pytest.raises(
            Refused, match=f"^no webhook '{name}' with that token; `tidemill flow hook NAME` makes a new one$"
        ):
            webhooks.call(ws, name, token)
    assert ws.graph.events(kind="called") == []


def test_a_new_token_or_none_ends_the_old_one(ws: Workspace) -> None:
    old = webhooks.issue(ws, "push")
    new = webhooks.issue(ws, "push")
    with pytest.raises(Refused):
        webhooks.call(ws, "push", old)
    webhooks.call(ws, "push", new)
    webhooks.revoke(ws, "push")
    with pytest.raises(Refused):
        webhooks.call(ws, "push", new)
    with pytest.raises(Refused):
        webhooks.call(ws, "push", "")


def test_the_token_itself_is_nowhere_in_the_workspace(ws: Workspace) -> None:
    token = webhooks.issue(ws, "push")
    webhooks.call(ws, "push", token, {"a": 1})
    ws.close()
    kept = [path.read_bytes() for path in ws.root.rglob("*") if path.is_file()]
    assert kept
    assert not any(token.encode() in data for data in kept)


def test_a_body_too_large_or_no_json_is_refused(ws: Workspace) -> None:
    token = webhooks.issue(ws, "push")
    with pytest.raises(BadInput, match="has 70002 bytes; allowed are 65536"):
        webhooks.call(ws, "push", token, "x" * 70_000)
    with pytest.raises(BadInput, match="is no JSON"):
        webhooks.call(ws, "push", token, object())
