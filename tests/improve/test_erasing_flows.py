"""A person is erased from all that pipelines and runs of one's own keep; what was lost by it is computed again."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from erased_world import holders, told

from tidemill.core import extend
from tidemill.core.engine import Engine
from tidemill.core.errors import NotFound
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.flow import approvals, states
from tidemill.flow.executing import execution
from tidemill.flow.scheduling import queues, schedules, webhooks
from tidemill.flow.why import why
from tidemill.improve import sweeping
from tidemill.improve.erasure import erasing
from tidemill.track import experiments, files, own, tracking

EMAIL = "yoko@example.org"
STEPS = ["small", "long_text", "long_list", "table", "array", "parts", "file", "nobody"]


@pytest.fixture
def ws(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A folder, or, where a test asks for "remote", PostgreSQL and S3."""
    if getattr(request, "param", "") == "remote":
        monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "state"))
        bucket: str = request.getfixturevalue("bucket")
        made = open_workspace(request.getfixturevalue("new_database")(), store=f"s3://{bucket}/mill")
    else:
        made = open_workspace(tmp_path / "w.mill")
    people = pl.DataFrame({"id": ["p1", "p2"], "email": [EMAIL, "other@example.com"]})
    datasets.add(made, "people", people, key="id")
    yield made
    made.close()


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("NOTES", str(path))
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    return lambda: path.read_text().splitlines()


@pytest.fixture
def flows(notes: object) -> ModuleType:
    here = str(Path(__file__).parent)
    if here not in sys.path:
        sys.path.insert(0, here)
    import personal_flows

    return personal_flows


@pytest.fixture
def here() -> Iterator[Engine]:
    engine: Engine = extend.load("engine", "here")()
    yield engine
    engine.close()


def left_in(ws: Workspace) -> list[str]:
    """The files that hold the address: as text, unpacked, as an array's letters of four bytes, as a table's value."""
    found: list[str] = []
    if "://" in ws.url:
        found += ["the database"] if EMAIL in told(ws.url) else []
        for blob in ws.store.list():
            (ws.root / "copied").mkdir(exist_ok=True)
            (ws.root / "copied" / blob.digest).write_bytes(ws.store.get(blob.digest))
    found += holders(ws.root, [EMAIL])
    for path in sorted(each for each in ws.root.rglob("*") if each.is_file()):
        data = path.read_bytes()
        with contextlib.suppress(Exception):
            if EMAIL in str(pl.read_ipc(io.BytesIO(data)).rows()):
                found.append(f"{path.relative_to(ws.root)}: in a table")
        if EMAIL.encode("utf-32-le") in data:
            found.append(f"{path.relative_to(ws.root)}: in an array")
    shutil.rmtree(ws.root / "copied", ignore_errors=True)
    return found


def erase(ws: Workspace) -> erasing.Erasure:
    return erasing.erase(ws, EMAIL, columns={"people": ["email"]})


@pytest.mark.parametrize("ws", ["local", "remote"], indirect=True)
def test_nothing_of_the_person_is_left_of_executions_and_runs(
    ws: Workspace, here: Engine, flows: ModuleType, notes: Callable[[], list[str]], tmp_path: Path
) -> None:
    pool: Engine = extend.load("engine", "pool")("pool://1")
    done = execution.run(ws, flows.personal, {"name": EMAIL}, engine=here)
    execution.run(ws, flows.personal, {"name": EMAIL}, engine=pool, fresh=["small"])
    pool.close()
    failed = execution.run(ws, flows.failing, {"name": EMAIL}, engine=here)
    asked = execution.run(ws, flows.asking, {"name": EMAIL}, engine=here)
    approvals.decide(ws, asked.id, True, note=f"{EMAIL} agreed")
    assert asked.status == "parked"
    schedules.deploy(ws, "personal", "flows.py:personal", schedules.every("1h"), params={"name": EMAIL})
    token = webhooks.issue(ws, "push")
    webhooks.call(ws, "push", token, {"from": EMAIL})
    queued = queues.submit(ws, "personal", "flows.py:personal", params={"name": EMAIL})
    place = experiments.create(ws, f"for {EMAIL}", tags={"who": EMAIL})
    with own.run(ws, f"of {EMAIL}", params={"who": EMAIL}, tags={"who": EMAIL}, experiment=place.name) as run:
        run.log_text(f"letters/{EMAIL}.txt", f"to {EMAIL}")
        run.log_table("rows", {"who": [EMAIL]})
    tracking.log(ws, tracking.start(ws, tags={"who": EMAIL}).run.id, params={"who": EMAIL})
    places = {each.partition("/")[0].partition(":")[0] for each in left_in(ws)}
    assert places >= (
        {"the database", "copied", "logs"} if "://" in ws.url else {"graph.db", "objects", "logs", "tables"}
    )
    erased = erase(ws)
    assert left_in(ws) == []
    assert erased.left == ()
    assert ws.graph.verify() == []
    for each in (done, failed, asked):
        state = states.read(ws, each.id)
        assert EMAIL not in str(state)
        assert state.nodes or each is asked
    assert states.read(ws, failed.id).node("fails").state == "failed"
    assert EMAIL not in why(ws, "small").text
    assert len(schedules.listed(ws)) == 1
    assert states.read(ws, queued.id).status == "queued"
    assert tracking.get(ws, run.id).params == {"who": "(erased)"}
    assert experiments.get(ws, place.id).tags == {"who": "(erased)"}
    for file in files.under(ws, run.id):
        assert EMAIL not in file.path
        assert ws.store.has(file.digest)


def test_what_held_the_person_is_computed_again_and_the_rest_is_cached(
    ws: Workspace, here: Engine, flows: ModuleType, notes: Callable[[], list[str]]
) -> None:
    execution.run(ws, flows.personal, {"name": EMAIL}, engine=here)
    erase(ws)
    before = len(notes())
    again = execution.run(ws, flows.personal, {"name": EMAIL}, engine=here)
    assert again.result() == 2000
    assert sorted(notes()[before:]) == sorted(STEPS[:-1])
    assert states.read(ws, again.id).counts == {"done": 7, "cached": 1}


def test_a_resumed_execution_does_not_go_on_from_what_was_erased(
    ws: Workspace, here: Engine, flows: ModuleType, notes: Callable[[], list[str]]
) -> None:
    asked = execution.run(ws, flows.asking, {"name": EMAIL}, engine=here)
    approvals.decide(ws, asked.id, True)
    erase(ws)
    assert execution.resume(ws, asked.id, pipeline=flows.asking, engine=here).status in ("done", "parked")


def test_a_sweep_takes_blobs_of_runs_that_nothing_speaks_of_and_no_others(
    ws: Workspace, here: Engine, flows: ModuleType, notes: Callable[[], list[str]]
) -> None:
    execution.run(ws, flows.personal, {"name": EMAIL}, engine=here)
    with own.run(ws, "look") as run:
        run.log_text("a.txt", "kept")
        run.log_text("b.txt", "taken away")
    kept, gone = files.get(ws, run.id, "a.txt").digest, files.get(ws, run.id, "b.txt").digest
    files.delete(ws, run.id, "b.txt")
    orphan = ws.store.put(b"of nobody")
    draft = ws.root / files.UPLOADS / "half"
    draft.parent.mkdir()
    draft.write_bytes(b"half an upload")
    assert "uploads/half" in sweeping.sweep(ws, older_than_s=0.0, dry_run=True).files
    swept = sweeping.sweep(ws, older_than_s=0.0)
    assert swept.files == ("uploads/half",)
    assert not draft.exists()
    assert {blob.digest for blob in swept.blobs} == {orphan, gone}
    assert ws.store.get(kept) == b"kept"
    before = len(notes())
    again = execution.run(ws, flows.personal, {"name": EMAIL}, engine=here)
    assert states.read(ws, again.id).counts == {"cached": 8}
    assert len(notes()) == before
    with pytest.raises(NotFound):
        ws.store.get(orphan)


def test_a_sweep_during_an_execution_takes_nothing_that_it_wrote(
    ws: Workspace, flows: ModuleType, notes: Callable[[], list[str]]
) -> None:
    engine: Engine = extend.load("engine", "pool")("pool://2")
    over = threading.Event()

    def sweeps() -> None:
        other = open_workspace(ws.root)
        while not over.wait(0.01):
            sweeping.sweep(other, older_than_s=60.0)
        other.close()

    thread = threading.Thread(target=sweeps)
    thread.start()
    for number in range(3):
        run = execution.run(ws, flows.personal, {"name": f"{number}"}, engine=engine)
        assert run.result() == 2000
    over.set()
    thread.join()
    engine.close()
