"""The command line: each verb answers people and programs; bad input ends with a clear line and exit code 1 or 2."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import tidemill as tm
from tidemill.cli.main import VERBS

START = datetime(2026, 1, 1, tzinfo=UTC)


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tidemill.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cli") / "w.mill"
    rows = pl.DataFrame({"k": ["a", "b"], "x": [1.0, 2.0], "at": [START, START + timedelta(hours=1)]})
    with tm.open(folder) as mill:
        mill.add("things", rows, key="k", event_time="at", known_time="at", message="first")
        with mill.run("look", params={"depth": 3}) as recorder:
            recorder.use(mill.dataset("things").base)
            recorder.log("loss", 0.5, step=1)
            recorder.emit_json("report", "seen", {"rows": 2})
    return str(folder)


def test_the_version_loads_no_heavy_library() -> None:
    code = "import sys\nsys.argv = ['tidemill', '--version']\nfrom tidemill.cli.main import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass\n"
    code += "print(sorted({'numpy', 'polars', 'sqlalchemy', 'fastapi', 'rich', 'sklearn'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [f"tidemill, version {tm.__version__}", "[]"]


def test_help_lists_every_verb() -> None:
    shown = run("--help").stdout
    assert all(f"  {verb} " in shown for verb in VERBS)


@pytest.mark.parametrize(
    "verb",
    ["runs list", "dataset list", "dataset show things", "dataset log things", "model list", "deployment list",
     "alerts list", "audit verify", "audit log", "doctor", "config show --origin",
     "impact things --row a"],
)  # fmt: skip
def test_a_verb_answers_programs_with_one_json_value_and_people_with_the_next_verb(workspace: str, verb: str) -> None:
    ran = run("-w", workspace, *verb.split(), "--json")
    assert ran.returncode == 0, ran.stderr
    json.loads(ran.stdout)
    people = run("-w", workspace, *verb.split())
    assert people.returncode == 0
    assert "next: tidemill " in people.stderr


def test_a_run_is_shown_and_traced_by_its_first_digits(workspace: str) -> None:
    (found,) = json.loads(run("-w", workspace, "runs", "list", "--kind", "track.*", "--json").stdout)
    shown = json.loads(run("-w", workspace, "runs", "show", found["id"][:15], "--json").stdout)
    assert shown["params"] == {"depth": 3}
    assert shown["series"][0]["value"] == 0.5
    traced = run("-w", workspace, "trace", found["id"])
    assert "dataset/things@1" in traced.stdout


def test_a_file_becomes_a_version(workspace: str, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("id,size\n1,2\n2,3\n")
    ran = run("-w", workspace, "dataset", "add", "sizes", str(tmp_path / "more.csv"), "--key", "id", "--json")
    assert json.loads(ran.stdout)["rows"] == 2


BAD = [
    (["-w", "{missing}", "runs", "list"], 1, "no workspace at"),
    (["-w", "{w}", "dataset", "show", "thing"], 1, "Did you mean 'things'?"),
    (["-w", "{w}", "dataset", "show", "things", "--version", "9"], 1, "has no version 9; it has 1 to 1"),
    (["-w", "{w}", "runs", "show", "ffffffffffff"], 1, "no run or artifact 'ffffffffffff'"),
    (["-w", "{w}", "dataset", "add", "things", "{empty}", "--key", "k"], 2, "is empty; a file of rows is needed"),
    (["-w", "{w}", "dataset", "add", "new", "{csv}", "--key", "kk"], 2, "no column 'kk'"),
    (
        ["-w", "{w}", "dataset", "add", "new", "{csv}", "--key", "k", "--event-time", "x"],
        2,
        "a clock is Datetime in UTC",
    ),
    (["-w", "{w}", "prediction", "show", "nothing"], 1, "no prediction 'nothing'"),
    (["-w", "{w}", "up", "--host", "0.0.0.0"], 2, "can be reached by others"),
    (["runs", "lst"], 2, "No such command"),
    (["demo", "--months", "3"], 2, "3 is not in the range"),
]


@pytest.mark.parametrize(("arguments", "code", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_input_names_the_value_and_what_is_allowed(
    workspace: str, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "rows.csv").write_text("k,x\na,1\n")
    places = {"w": workspace, "missing": str(tmp_path / "none"), "empty": str(tmp_path / "empty.csv")}
    ran = run(*(each.format(**places, csv=tmp_path / "rows.csv") for each in arguments), cwd=tmp_path)
    assert (ran.returncode, text in ran.stderr) == (code, True), ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_port_in_use_is_told(workspace: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = run("-w", workspace, "up", "--port", str(port))
    assert ran.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr
    assert "choose --port 0" in ran.stderr


def test_a_wrong_setting_is_told_with_its_origin(workspace: str) -> None:
    ran = run("-w", workspace, "runs", "list", TIDEMILL_LOG_LEVEL="loud")
    assert ran.returncode == 2
    assert "setting log_level is 'loud' (environment TIDEMILL_LOG_LEVEL); allowed: debug" in ran.stderr


def test_an_edited_record_ends_verify_with_1(workspace: str, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "edited.mill"
    shutil.copytree(workspace, copy)
    with sqlite3.connect(copy / "graph.db") as link:
        link.execute("UPDATE runs SET body = replace(body, '\"depth\":3', '\"depth\":4') WHERE kind = 'track.run'")
    link.close()
    ran = run("-w", str(copy), "audit", "verify")
    assert ran.returncode == 1
    assert "edited" in ran.stdout
