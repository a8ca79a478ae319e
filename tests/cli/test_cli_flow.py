"""`tidemill flow`, `why`, `scheduler`, `export`, as a user types them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Shell = Callable[..., Any]  # Any: a Ran of conftest, which cannot be imported by name

PROGRAM = """
import tidemill as tm

RATE = 2


@tm.step
def split(n: int) -> list[int]:
    return list(range(n))


@tm.step
def scaled(x: int) -> int:
    return x * RATE


@tm.step
def total(xs: list[int]) -> int:
    print("adding", len(xs))
    return sum(xs)


@tm.step
def broken(x: int) -> int:
    raise ValueError(f"no good: {x}")


@tm.pipeline
def sums(n: int = 3) -> int:
    return total(scaled.map(split(n)))


@tm.pipeline
def bad() -> int:
    return total([broken(1), scaled(2)])


@tm.pipeline
def asking(day: str = "monday") -> int:
    if tm.approve("publish?"):
        return scaled(21)
    return 0


@tm.pipeline
def branching(n: int) -> int:
    x = scaled(n)
    if x > 3:
        return 1
    return 0
"""


@pytest.fixture
def program(workspace: Path) -> Path:
    path = workspace.parent / f"program_{workspace.parent.name.replace('-', '_')}.py"
    path.write_text(PROGRAM)
    return path


def test_a_pipeline_runs_and_is_cached(shell: Shell, program: Path) -> None:
    first = shell("flow", "run", f"{program.name}:sums", "-p", "n=4", "--engine", "here")
    assert first.code == 0
    assert "result: 12" in first.out
    assert "next: tidemill -w" in first.err
    again = shell("flow", "run", f"{program.name}:sums", "-p", "n=4", "--engine", "here", "--json").json
    assert (again["value"], again["counts"]) == (12, {"cached": 6})
    listed = shell("flow", "runs", "sums", "--json").json
    assert [each["status"] for each in listed] == ["done", "done"]
    assert [each["params"] for each in listed] == [{"n": 4}, {"n": 4}]
    assert shell("flow", "logs", listed[1]["id"], "total").out == "adding 4\n"


def test_a_failed_execution_says_why_and_ends_with_1(shell: Shell, program: Path) -> None:
    ran = shell("flow", "run", f"{program.name}:bad", "--engine", "here")
    assert ran.code == 1
    assert "ValueError: no good: 1" in ran.out
    assert "broken failed" in ran.out
    assert "flow logs" in ran.err
    run_id = shell("flow", "runs", "--json").json[0]["id"]
    assert "raise ValueError" in shell("flow", "logs", run_id, "broken").out


def test_why_names_what_changed(shell: Shell, program: Path) -> None:
    entry = f"{program.name}:sums"
    shell("flow", "run", entry, "--engine", "here")
    program.write_text(PROGRAM.replace("RATE = 2", "RATE = 3"))
    command = [sys.executable, "-m", "tidemill.cli.main", "-w", str(program.parent / "w.mill"), "flow", "run", entry]
    subprocess.run([*command, "--engine", "here"], check=True, capture_output=True, cwd=program.parent)
    told = shell("why", "scaled", "--json").json
    assert [each["part"] for each in told["differences"]] == [f"global {program.stem}.RATE"]
    assert f"global {program.stem}.RATE" in shell("flow", "why", "scaled").out


def test_a_question_is_answered_in_the_shell(shell: Shell, program: Path) -> None:
    asked = shell("flow", "run", f"{program.name}:asking", "--engine", "here")
    assert asked.code == 0
    assert "publish? (asked, not answered)" in asked.out
    run_id = shell("flow", "runs", "--json").json[0]["id"]
    assert f"flow approve {run_id}" in asked.err
    answered = shell("flow", "approve", run_id, "--note", "go")
    assert "yes" in answered.out
    assert shell("flow", "approve", run_id).err.startswith(f"tidemill: execution {run_id} asks nothing")
    resumed = shell("flow", "resume", run_id, "--engine", "here", "--json").json
    assert (resumed["status"], resumed["value"]) == ("done", 42)
    assert shell("flow", "resume", run_id).code == 2
    assert shell("flow", "cancel", run_id).code == 1


def test_advice_and_plans(shell: Shell, program: Path) -> None:
    shell("flow", "run", f"{program.name}:sums", "--engine", "here")
    advice = shell("flow", "advise", "sums", "--price", "4=0.5")
    assert "critical path" in advice.out
    assert "split -> scaled" in advice.out
    assert shell("flow", "advise", "sums", "--price", "four=x").code == 2
    plan = shell("flow", "plan", f"{program.name}:sums")
    assert "split" in plan.out
    refused = shell("flow", "plan", f"{program.name}:branching")
    assert refused.code == 2
    assert f"{program.name}:" in refused.err
    assert "tm.when" in refused.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nothing.py:x"], "no file"),
        (["run", "{}:som"], "no pipeline 'som'"),
        (["run", "{}:sums", "-p", "m=1"], "has no parameter 'm'; it has n."),
        (["run", "{}:sums", "-p", "n=few"], "sums.n is 'few'; it must be int"),
        (["run", "{}:sums", "-p", "n"], "write NAME=VALUE"),
        (["run", "{}:scaled"], "is no pipeline; put @tm.pipeline over its def"),
        (["show", "00000000"], "no run or artifact"),
        (["deploy", "{}:sums"], "has no schedule"),
        (["deploy", "{}:sums", "--cron", "often"], "often"),
        (["deploy", "{}:sums", "--cron", "* * * * *", "--every", "1m"], "a schedule is one of them"),
        (["backfill", "{}:sums", "--param", "n"], "give values, or --from DAY --to DAY"),
    ],
)
def test_wrong_questions_are_answered_readably(shell: Shell, program: Path, arguments: list[str], said: str) -> None:
    ran = shell("flow", *(each.format(program.name) for each in arguments))
    assert ran.code in (1, 2)
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_schedules_are_deployed_paused_and_taken_back(shell: Shell, program: Path) -> None:
    entry = f"{program.name}:sums"
    made = shell("flow", "deploy", entry, "--cron", "0 3 * * *", "--zone", "Europe/Berlin", "-p", "n=2", "--json").json
    assert made[0]["schedule"]["zone"] == "Europe/Berlin"
    assert made[0]["next"]
    assert "paused" in shell("flow", "pause", "sums").out
    assert "paused" not in shell("flow", "pause", "sums", "--off").out
    assert shell("flow", "undeploy", "sums").out == "sums runs by itself no more\n"
    assert shell("flow", "schedules", "--json").json == []
    assert len(shell("flow", "hook", "push", "--json").json["token"]) > 20


@pytest.mark.slow
def test_a_backfill_runs_each_value_once(shell: Shell, program: Path) -> None:
    entry = f"{program.name}:sums"
    first = shell("flow", "backfill", entry, "2", "3", "--param", "n", "--json").json
    assert [each["status"] for each in first] == ["done", "done"]
    again = shell("flow", "backfill", entry, "2", "3", "4", "--param", "n", "--json").json
    assert [each["run_id"] for each in again[:2]] == [each["run_id"] for each in first]


@pytest.mark.slow
def test_a_scheduler_runs_what_waits(shell: Shell, program: Path) -> None:
    queued = shell("flow", "submit", f"{program.name}:sums", "-p", "n=5", "--json").json
    assert shell("flow", "queue", "--json").json[0]["state"] == "waiting"
    command = [sys.executable, "-m", "tidemill.cli.main", "-w", str(program.parent / "w.mill"), "scheduler"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as scheduler:
        until = time.monotonic() + 60
        while shell("flow", "show", queued["id"], "--json").json["status"] != "done":
            assert time.monotonic() < until
            time.sleep(0.2)
        os.kill(scheduler.pid, signal.SIGTERM)
        assert scheduler.wait(20) == 0
    assert shell("flow", "queue", "--json").json == []


def test_exports_are_written(shell: Shell, program: Path) -> None:
    entry = f"{program.name}:sums"
    assert shell("export", "airflow", entry).out == "sums_dag.py written\n"
    compile((program.parent / "sums_dag.py").read_text(), "sums_dag.py", "exec")
    assert shell("export", "kfp", entry, "--out", "a.yaml", "--json").json["file"] == "a.yaml"
    assert "sums" in (program.parent / "a.yaml").read_text()
    refused = shell("export", "airflow", f"{program.name}:asking")
    assert refused.code == 2
    assert "waits for a person" in refused.err


def test_a_length_of_time_is_shown_as_it_is_typed(shell: Shell, program: Path) -> None:
    ran = shell("flow", "deploy", f"{program.name}:sums", "--every", "90m")
    assert (ran.code, "every 1h30m" in ran.out) == (0, True), ran.err
    assert "every 1h30m" in shell("flow", "schedules").out
    assert shell("flow", "schedules", "--json").json[0]["schedule"]["every_s"] == 5400
