"""Deployments served by real processes over HTTP: started, found again, moved between revisions."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime

import msgspec
import pytest

from tidemill.core import segments
from tidemill.core.errors import BadInput, Conflict, NotFound, PortInUse, Refused, ServerFailed
from tidemill.core.types import Prediction, Traffic
from tidemill.serve import deploy as deploying
from tidemill.serve import packages
from tidemill.serve.client import started
from tidemill.serve.lineup import part_of, prediction_id


def logged(ws, name="late"):
    found = segments.read(ws.root / "predictions" / name)
    return [msgspec.json.decode(payload, type=Prediction) for _, payload in found]


def test_answers_are_those_of_the_package_and_are_in_the_log(ws, served, model, rows):
    answers = served.predict(rows, at="2013-04-01T12:00:00Z")
    assert [answer.score for answer in answers] == packages.load(ws, model.package).score(rows)
    records = logged(ws)
    assert [record.id for record in records] == [answer.id for answer in answers]
    first = records[0]
    assert (first.deployment, first.revision, first.model_id, first.role) == ("late", 1, model.id, "live")
    assert (first.row_key, first.at, first.error) == ("f0", "2013-04-01T12:00:00.000000Z", None)
    assert first.features == rows[0]
    assert 0 < first.latency_s < 10


def test_the_same_row_key_gets_the_same_id(served, rows):
    by_column = served.predict(rows[:1])[0]
    assert by_column.id == prediction_id("late", "f0")
    assert served.predict(rows[1:2], keys=["f0"])[0].id == by_column.id
    nameless = {name: value for name, value in rows[0].items() if name != "id"}
    assert served.predict([nameless])[0].id != served.predict([nameless])[0].id


def test_more_rows_than_a_request_holds_go_in_several(ws, served, rows):
    answers = served.predict(rows * 60, at=["2013-04-01T12:00:00Z"] * 2400)
    assert len(answers) == 2400
    assert len(logged(ws)) == 2400


def test_times_go_as_they_are(served, frame):
    rows = frame.drop("late").head(3).to_dicts()
    assert len(served.predict(rows, at=datetime(2013, 4, 1, tzinfo=UTC).isoformat())) == 3


def test_wrong_rows_are_bad_input_that_names_them(served, rows):
    with pytest.raises(BadInput, match=r"row 1, column 'temp': got text 'hot'; allowed: a finite number or null"):
        served.predict([rows[0], {**rows[1], "temp": "hot"}])
    with pytest.raises(BadInput, match="keys has 1 entries for 2 rows"):
        served.predict(rows[:2], keys=["a"])
    with pytest.raises(BadInput, match="cannot be sent as JSON"):
        served.predict([{**rows[0], "temp": object()}])


def test_deploying_again_finds_the_live_server(ws, served, model):
    again = deploying.deploy(ws, model, name="late")
    assert (again.pid, again.url) == (served.pid, served.url)
    assert len(deploying.revisions(ws, "late")) == 1


def test_a_killed_server_is_started_again_at_its_address_with_its_token(ws, served, model, rows):
    before = served.predict(rows)
    os.kill(served.pid, signal.SIGKILL)
    started[served.pid].wait()
    with pytest.raises(ServerFailed, match=r"does not answer .*; call mill.deploy again to restart it"):
        served.predict(rows)
    again = deploying.deploy(ws, model, name="late", lifetime="parent")
    try:
        assert again.pid != served.pid
        assert (again.url, again.token) == (served.url, served.token)
        assert again.predict(rows) == before
        assert [record.id for record in logged(ws)] == [answer.id for answer in before] * 2
    finally:
        again.stop()


def test_stop_ends_the_process_and_twice_is_no_error(ws, served):
    assert deploying.connect(ws, "late") is not None
    served.stop()
    served.stop()
    assert deploying.connect(ws, "late") is None


def test_a_server_found_again_can_be_stopped(ws, served):
    deploying.connect(ws, "late").stop()
    assert not deploying.process_runs(served.pid)


def test_the_token_is_for_the_owner_only(ws, served):
    mode = (ws.root / "servers" / "late.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert served.token not in repr(served)


def test_a_port_in_use_is_named_and_nothing_is_started(ws, model):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse) as caught:
            deploying.deploy(ws, model, name="late", port=port)
    assert str(caught.value) == (
        f"port {port} on 127.0.0.1 is in use by another program; choose another, or port=0 for a free one"
    )
    assert deploying.connect(ws, "late") is None


def test_a_server_that_fails_at_its_start_says_why(ws, model, package):
    deploying.add_revision(ws, "late", model)
    deploying.set_traffic(ws, "late", Traffic(1), why="test")
    manifest = packages.read_manifest(ws, package)
    ws.store.delete(manifest["blobs"]["model"])
    with pytest.raises(NotFound, match=manifest["blobs"]["model"][:12]):
        deploying.start(ws, "late")


def test_an_unknown_deployment_is_not_found(ws):
    with pytest.raises(NotFound, match="no deployment 'nowhere'"):
        deploying.traffic(ws, "nowhere")
    with pytest.raises(NotFound, match="no deployment 'nowhere'"):
        deploying.start(ws, "nowhere")


def test_a_server_ends_with_its_parent(ws, model, rows):
    program = """
import os, sys
from tidemill.core.workspace import open_workspace
from tidemill.serve import deploy, registry
ws = open_workspace(sys.argv[1])
served = deploy.deploy(ws, registry.get(ws, "late"), name="late", lifetime="parent")
print(served.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", program, str(ws.root)], capture_output=True, text=True, check=False)
    pid = int(ended.stdout)
    until = time.monotonic() + 20
    while deploying.process_runs(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_new_model_deployed_by_name_becomes_the_champion(ws, served, model, other_model, rows):
    again = deploying.deploy(ws, other_model, name="late")
    assert again.pid == served.pid
    assert {answer.revision for answer in served.predict(rows)} == {2}
    deploying.deploy(ws, model, name="late")
    assert deploying.traffic(ws, "late") == Traffic(2)


def test_a_shadow_is_logged_and_not_heard(ws, served, model, other_model, rows):
    live_before = served.predict(rows)
    deploying.add_revision(ws, "late", other_model)
    deploying.set_traffic(ws, "late", Traffic(1, shadow=2), why="try")
    assert served.predict(rows) == live_before
    records = logged(ws)[len(rows) :]
    shadows = [record for record in records if record.role == "shadow"]
    assert [record.id for record in shadows] == [answer.id for answer in live_before]
    assert {(record.revision, record.model_id) for record in shadows} == {(2, other_model.id)}
    assert [record.score for record in shadows] == packages.load(ws, other_model.package).score(rows)


def test_a_canary_answers_its_share_and_always_the_same_rows(ws, served, other_model, rows):
    deploying.add_revision(ws, "late", other_model)
    keys = [f"key {place}" for place in range(2_000)]
    many = [rows[place % len(rows)] for place in range(2_000)]
    deploying.set_traffic(ws, "late", Traffic(1, canary=2, share=0.2), why="try")
    first = served.predict(many, keys=keys)
    canary = {answer.id for answer in first if answer.revision == 2}
    assert 0.15 < len(canary) / len(keys) < 0.25
    assert served.predict(many, keys=keys) == first
    assert {record.id for record in logged(ws) if record.role == "canary"} == canary
    deploying.set_traffic(ws, "late", Traffic(1, canary=2, share=0.5), why="more")
    more = {answer.id for answer in served.predict(many, keys=keys) if answer.revision == 2}
    assert canary < more


def test_the_canary_share_is_uniform_over_keys():
    parts = sorted(part_of("late", 3, str(key)) for key in range(4_000))
    worst = max(abs(part - (place + 0.5) / 4_000) for place, part in enumerate(parts))
    assert worst < 1.95 / 4_000**0.5  # Kolmogorov-Smirnov at 0.1 %


def test_traffic_remembers_who_answered_when(ws, model, other_model):
    for day, found in ((1, model), (10, other_model)):
        made = deploying.add_revision(ws, "late", found)
        then = ws.at(datetime(2013, 5, day, tzinfo=UTC))
        deploying.set_traffic(then, "late", Traffic(made.revision), why="test")
    assert deploying.traffic(ws.at(datetime(2013, 5, 5, tzinfo=UTC)), "late") == Traffic(1)
    assert deploying.traffic(ws, "late") == Traffic(2)
    with pytest.raises(NotFound, match="did not exist at 2013-04-01"):
        deploying.traffic(ws.at(datetime(2013, 4, 1, tzinfo=UTC)), "late")


def test_traffic_is_set_once_for_a_key_and_only_where_expected(ws, model, other_model):
    deploying.add_revision(ws, "late", model)
    deploying.add_revision(ws, "late", other_model)
    first = deploying.set_traffic(ws, "late", Traffic(1), why="first", key="once")
    assert deploying.set_traffic(ws, "late", Traffic(1), why="first", key="once").seq == first.seq
    deploying.set_traffic(ws, "late", Traffic(2), why="second", expect=first.seq)
    with pytest.raises(Conflict):
        deploying.set_traffic(ws, "late", Traffic(1), why="late", expect=first.seq)


@pytest.mark.parametrize(
    ("traffic", "error", "message"),
    [
        (Traffic(1, canary=2, share=1.5), BadInput, "share is 1.5"),
        (Traffic(1, share=0.5), BadInput, "without a canary"),
        (Traffic(1, canary=1, share=0.5), BadInput, "both champion and canary"),
        (Traffic(1, shadow=1), BadInput, "both champion and shadow"),
        (Traffic(7), NotFound, "has no revision 7"),
    ],
)
def test_traffic_that_makes_no_sense_is_refused(ws, model, other_model, traffic, error, message):
    deploying.add_revision(ws, "late", model)
    deploying.add_revision(ws, "late", other_model)
    with pytest.raises(error, match=message):
        deploying.set_traffic(ws, "late", traffic, why="test")
    assert ws.graph.events("deployment/late", kind="traffic") == []


def test_a_package_that_does_not_verify_never_gets_traffic(ws, served, model, other_model, rows):
    deploying.add_revision(ws, "late", other_model)
    (ws.root / "keys" / "signing.pem").rename(ws.root / "keys" / "lost.pem")
    with pytest.raises(Refused, match="does not trust"):
        deploying.set_traffic(ws, "late", Traffic(2), why="test")
    assert {answer.revision for answer in served.predict(rows)} == {1}


def test_a_deployment_is_traced_to_its_model(ws, served, model):
    trail = deploying.revision(ws, "late").trace()
    assert model.id in {artifact.id for artifact in trail.artifacts}
