"""Executions by schedulers and their worker processes, killed and parked ones too: all of it real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidemill.core.ids import utc_now
from tidemill.core.recording import outputs_of
from tidemill.core.types import DatasetVersion, Query, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.flow import approvals, entries
from tidemill.flow.engines import here
from tidemill.flow.executing import execution
from tidemill.flow.scheduling import backfill, queues, scheduler, schedules
from tidemill.flow.scheduling.queues import STARTED
from tidemill.flow.scheduling.schedules import every, on_dataset

FLOWS = '''
import os
import time
from pathlib import Path

from tidemill.core.settings import Settings
from tidemill.flow.pipelines import approve, pipeline
from tidemill.flow.steps import step


@step(cache=False)
def note(text: str, after: object = None) -> str:
    with Path("notes").open("a") as file:
        file.write(f"{text} {time.time()} {os.getpid()}\\n")
    return text


@step(cache=False)
def hold(text: str, after: object = None) -> str:
    """Waits until the file "go" is there."""
    Path(f"held-{text}").write_text(str(os.getppid()))
    until = time.monotonic() + 60
    while not Path("go").exists() and time.monotonic() < until:
        time.sleep(0.02)
    return text


@step(cache=False)
def fail(text: str) -> str:
    raise ValueError(f"no good: {text}")


@step(cache=False)
def who() -> str:
    return Settings.load().who


@pipeline(name="report")
def report(day: str = "today"):
    return note(day)


@pipeline(name="slow")
def slow(day: str = "today"):
    first = note(f"{day}-first")
    held = hold(day, after=first)
    return note(f"{day}-last", after=held)


@pipeline(name="bad")
def bad():
    return fail("rows")


@pipeline(name="named")
def named():
    return who()


@pipeline(name="hurries")
def hurries():
    return note("yes" if approve("promote?", timeout="1s") else "no")


@step(cache=False)
def grow(place: str) -> int:
    import polars as pl

    from tidemill.core.workspace import open_workspace
    from tidemill.data import datasets

    ws = open_workspace(place)
    with Path("grown").open("a") as file:
        file.write("x")
    rows = datasets.get(ws, "rows").rows
    return datasets.add(ws, "rows", pl.DataFrame({"id": [rows + 1]}), key="id").rows


@pipeline(name="grows")
def grows(place: str):
    return grow(place)


@pipeline(name="asks")
def asks():
    first = note("before")
    if approve("promote?", timeout="3d"):
        return note("after", after=first)
    return first
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the user's program is."""
    made = tmp_path / "program"
    made.mkdir()
    (made / "flows.py").write_text(FLOWS)
    return made


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


@pytest.fixture
def serving(ws: Workspace) -> Iterator[None]:
    """A scheduler, in a thread."""
    stop = threading.Event()
    thread = threading.Thread(
        target=scheduler.serve, args=(open_workspace(ws.root), stop), kwargs={"every_s": 0.2, "grace_s": 60.0}
    )
    thread.start()
    yield
    stop.set()
    thread.join()


def until(what: Callable[[], object], for_s: float = 60.0) -> None:
    end = time.monotonic() + for_s
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def run_of(ws: Workspace, run_id: str) -> Run:
    found = ws.graph.get(run_id)
    assert isinstance(found, Run)
    return found


def ended(ws: Workspace, run: Run) -> Run:
    until(lambda: run_of(ws, run.id).status != "running")
    return run_of(ws, run.id)


def notes(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "notes").read_text().splitlines()]


def starts(ws: Workspace, run: Run) -> list[str]:
    return [event.body["why"] for event in ws.graph.events(f"flow/{run.id}", kind=STARTED)]


def submitted(ws: Workspace, folder: Path, pipeline: str, **options: object) -> Run:
    return queues.submit(ws, pipeline, f"flows.py:{pipeline}", folder=folder, **options)  # type: ignore[arg-type]


def state(ws: Workspace, run: Run) -> str:
    return {each.run.id: each.state for each in queues.listed(ws, utc_now())}[run.id]


@pytest.mark.usefixtures("serving")
def test_a_schedule_runs_its_pipeline_in_a_process_of_its_own(ws: Workspace, folder: Path) -> None:
    schedules.deploy(
        ws, "report", "flows.py:report", every("1s", catch_up="all"), slot_param="day", folder=folder, at_once=3
    )
    until(lambda: len(ws.graph.events("slot/report", kind="claimed")) >= 2)
    schedules.undeploy(ws, "report")
    runs = [run_of(ws, event.body["run"]) for event in ws.graph.events("slot/report", kind="claimed")]
    assert {ended(ws, run).status for run in runs} == {"done"}
    assert sorted(notes(folder)) == [run.tags["slot"] for run in runs]


@pytest.mark.usefixtures("serving")
def test_it_runs_as_whom_it_was_asked_to(ws: Workspace, folder: Path) -> None:
    run = ended(ws, submitted(ws, folder, "named", as_="ada"))
    assert (run.status, run.actor) == ("done", "ada")
    (step,) = ws.graph.find(Query("run", kind="flow.step", parent=run.id))
    assert isinstance(step, Run)
    assert step.actor == "ada"
    (made,) = [artifact for _, artifact in outputs_of(ws, step)]
    assert "ada" in made.meta["value"]  # what the step itself saw
    assert {event.actor for event in ws.graph.events(f"flow/{run.id}", kind="nodes")} == {"ada"}


@pytest.mark.usefixtures("serving")
def test_a_failing_step_fails_its_execution_with_its_own_error(ws: Workspace, folder: Path) -> None:
    run = ended(ws, submitted(ws, folder, "bad"))
    assert run.status == "failed"
    assert "no good: rows" in str(run.error)
    assert starts(ws, run) == ["new"]


@pytest.mark.usefixtures("serving")
def test_an_entry_that_cannot_be_loaded_fails_at_once_with_its_error(ws: Workspace, folder: Path) -> None:
    (folder / "broken.py").write_text("import no_such_module\n")
    run = ended(ws, queues.submit(ws, "broken", "broken.py:broken", folder=folder))
    assert run.status == "failed"
    assert "no_such_module" in str(run.error)
    assert starts(ws, run) == ["new"]


@pytest.mark.usefixtures("serving")
def test_a_killed_worker_is_followed_by_another_that_runs_no_finished_step_again(ws: Workspace, folder: Path) -> None:
    run = submitted(ws, folder, "slow", params={"day": "d"})
    until((folder / "held-d").exists)
    until(lambda: ws.graph.find(Query("run", kind="flow.step", parent=run.id, status="done")))
    kill(ws, run)
    (folder / "go").touch()
    assert ended(ws, run).status == "done"
    assert notes(folder) == ["d-first", "d-last"]
    assert starts(ws, run) == ["new", "lost"]


def kill(ws: Workspace, run: Run) -> None:
    """Kill -9 the worker of an execution, by its command line, and nothing else."""
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                words = (place / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"tidemill.flow.scheduling.worker" in words and run.id.encode() in words:
                os.kill(int(place.name), signal.SIGKILL)


@pytest.mark.usefixtures("serving")
def test_one_that_waits_for_a_person_holds_no_process_and_goes_on_when_they_have_answered(
    ws: Workspace, folder: Path
) -> None:
    run = submitted(ws, folder, "asks")
    until(lambda: state(ws, run) == "parked")
    approvals.decide(ws, run.id, True)
    assert ended(ws, run).status == "done"
    assert notes(folder) == ["before", "after"]
    assert starts(ws, run) == ["new", "decided"]


@pytest.mark.usefixtures("serving")
def test_one_that_nobody_answers_in_time_goes_on_without(ws: Workspace, folder: Path) -> None:
    run = submitted(ws, folder, "hurries")
    assert ended(ws, run).status == "done"
    assert notes(folder) == ["no"]


@pytest.mark.usefixtures("serving")
def test_one_that_was_run_by_hand_and_waited_for_a_person_is_taken_up(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    asked = execution.run(ws, entries.load("flows.py:asks", folder=folder), engine=here.open_engine())
    assert asked.status == "parked"
    approvals.decide(ws, asked.id, False)
    run = ended(ws, run_of(ws, asked.id))
    assert run.status == "done"
    assert notes(folder) == ["before"]
    assert starts(ws, run) == ["decided"]


@pytest.mark.usefixtures("serving")
def test_one_that_is_cancelled_while_it_runs_ends_so(ws: Workspace, folder: Path) -> None:
    run = submitted(ws, folder, "slow", params={"day": "d"})
    until((folder / "held-d").exists)
    ws.graph.record(f"flow/{run.id}", "cancel", {"by": "ada"}, actor="ada")
    assert ended(ws, run).status == "cancelled"
    assert notes(folder) == ["d-first"]


@pytest.mark.usefixtures("serving")
def test_a_pipeline_that_writes_to_what_it_waits_for_runs_once_a_version_of_others(ws: Workspace, folder: Path) -> None:
    add(ws, 1)
    where = {"place": str(ws.root)}
    schedules.deploy(ws, "grows", "flows.py:grows", on_dataset("rows"), params=where, folder=folder)
    version = add(ws, 2)
    until(lambda: ws.graph.events("slot/grows"))
    (claimed,) = ws.graph.events("slot/grows")
    run = ended(ws, run_of(ws, claimed.body["run"]))
    assert (run.status, run.tags["slot"]) == ("done", f"dataset/{version.id}")
    assert datasets.get(ws, "rows").rows == 3
    made = run_of(ws, str(datasets.get(ws, "rows").artifact.run_id))
    assert made.parent == run.id
    time.sleep(1.0)  # several steps of the scheduler
    assert ws.graph.events("slot/grows") == [claimed]
    assert (folder / "grown").read_text() == "x"


def add(ws: Workspace, number: int) -> DatasetVersion:
    import polars as pl

    return datasets.add(ws, "rows", pl.DataFrame({"id": [number]}), key="id")


@pytest.mark.usefixtures("serving")
def test_a_queue_with_a_limit_of_one_runs_one_after_the_other(ws: Workspace, folder: Path) -> None:
    queues.limit(ws, "one", 1)
    runs = [submitted(ws, folder, "slow", params={"day": day}, queue="one") for day in "abc"]
    (folder / "go").touch()
    assert [ended(ws, run).status for run in runs] == ["done"] * 3
    assert notes(folder) == ["a-first", "a-last", "b-first", "b-last", "c-first", "c-last"]


SERVE = """
import sys, threading
from tidemill.core.workspace import open_workspace
from tidemill.flow.scheduling import scheduler
scheduler.serve(open_workspace(sys.argv[1]), threading.Event(), every_s=0.1, grace_s=float(sys.argv[2]))
"""


def scheduling(url: str | Path, grace_s: float = 60.0) -> subprocess.Popen[bytes]:
    """A scheduler in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", SERVE, str(url), str(grace_s)])


def test_a_worker_outlives_its_scheduler_and_another_does_not_start_it_again(ws: Workspace, folder: Path) -> None:
    run = submitted(ws, folder, "slow", params={"day": "d"})
    first = scheduling(ws.root)
    until((folder / "held-d").exists)
    first.kill()
    first.wait()
    assert state(ws, run) == "running"
    second = scheduling(ws.root)
    time.sleep(1.0)
    (folder / "go").touch()
    assert ended(ws, run).status == "done"
    second.kill()
    second.wait()
    assert starts(ws, run) == ["new"]
    assert notes(folder) == ["d-first", "d-last"]


def test_a_backfill_runs_each_partition_and_asked_for_again_what_failed(ws: Workspace, folder: Path) -> None:
    days = ["d1", "d2", "d3"]
    asked = backfill.backfill(ws, "report", "flows.py:report", days, param="day", folder=folder, at_once=3)
    assert backfill.work(ws, asked).count("done") == 3
    assert sorted(notes(folder)) == days
    again = backfill.backfill(ws, "report", "flows.py:report", [*days, "d4"], param="day", folder=folder)
    assert again.queued == 1
    assert backfill.work(ws, again).count("done") == 4
    assert sorted(notes(folder)) == [*days, "d4"]


BACKFILL = """
import sys
from pathlib import Path
from tidemill.core.workspace import open_workspace
from tidemill.flow.scheduling import backfill
ws, folder = open_workspace(sys.argv[1]), Path(sys.argv[2])
days = [f"d{n}" for n in range(6)]
asked = backfill.backfill(ws, "report", "flows.py:report", days, param="day", folder=folder, at_once=2)
print(asked.queued, flush=True)
print(backfill.work(ws, asked).count("done"), flush=True)
"""


@pytest.mark.slow
def test_a_backfill_that_is_killed_goes_on_where_it_was(ws: Workspace, folder: Path) -> None:
    command = [sys.executable, "-c", BACKFILL, str(ws.root), str(folder)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until((folder / "notes").exists)
    first.kill()
    assert first.communicate()[0].split() == ["6"]
    second = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert second.stdout.split() == ["0", "6"]
    assert sorted(notes(folder)) == [f"d{n}" for n in range(6)]


@pytest.mark.slow
def test_two_schedulers_together_run_no_more_at_once_than_the_queue_allows(ws: Workspace, folder: Path) -> None:
    queues.limit(ws, "default", 2)
    runs = [submitted(ws, folder, "slow", params={"day": f"d{n}"}) for n in range(6)]
    both = [scheduling(ws.root), scheduling(ws.root)]
    until(lambda: len(list(folder.glob("held-*"))) == 2)
    time.sleep(1.0)
    assert sorted(path.name for path in folder.glob("held-*")) == ["held-d0", "held-d1"]
    (folder / "go").touch()
    assert [ended(ws, run).status for run in runs] == ["done"] * 6
    for process in both:
        process.kill()
        process.wait()
    assert [starts(ws, run) for run in runs] == [["new"]] * 6


FULL = """
import resource, signal, sys
from tidemill.core.errors import NoRoom
from tidemill.core.workspace import open_workspace
from tidemill.flow.scheduling.scheduler import Workers, step

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ws, workers = open_workspace(sys.argv[1]), Workers()
was = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, was[1]))
try:
    step(ws, workers)
except NoRoom:
    print("no room", flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, was)
print(len(step(ws, workers)), flush=True)
for process in workers.processes.values():
    process.wait()
"""


def test_a_scheduler_that_met_a_full_disk_goes_on_when_there_is_room(ws: Workspace, folder: Path) -> None:
    run = submitted(ws, folder, "report")
    done = subprocess.run([sys.executable, "-c", FULL, str(ws.root)], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.splitlines() == ["no room", "1"]
    assert run_of(ws, run.id).status == "done"
    assert starts(ws, run) == ["new"]
    assert ws.graph.verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_schedulers_killed_in_the_middle_run_each_slot_once(
    where: str, tmp_path: Path, folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url: str | Path = tmp_path / "b.mill"
    if where == "postgres":
        monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "state"))
        make: Callable[[], str] = request.getfixturevalue("new_database")
        url = make()
    ws = open_workspace(url)
    chance = random.Random(20260501)
    schedules.deploy(
        ws, "report", "flows.py:report", every("2s", catch_up="all"), slot_param="day", folder=folder, at_once=3
    )
    alive = scheduling(url, 12.0)  # a start of a killed one is given up after a quarter of that
    for _ in range(4):
        other = scheduling(url, 12.0)
        time.sleep(chance.uniform(1.0, 2.5))
        alive.kill()
        alive.wait()
        alive = other
    schedules.undeploy(ws, "report")
    runs = [run_of(ws, event.body["run"]) for event in ws.graph.events("slot/report", kind="claimed")]
    assert {ended(ws, run).status for run in runs} == {"done"}
    alive.kill()
    alive.wait()
    assert len(runs) >= 2
    assert sorted(notes(folder)) == [run.tags["slot"] for run in runs]
    assert ws.graph.verify() == []
    ws.close()
