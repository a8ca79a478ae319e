"""An erasure that was killed at any moment is finished by asking for it again, and ends as an undisturbed one does."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from erased_world import COLUMNS, EMAIL, build, holders

import tidemill as tm
from tidemill.core.types import Query
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.improve.erasure import erasing
from tidemill.serve import packages, registry
from tidemill.watch import log, truth

KILLED = """
import json, os, signal, sys
import tidemill as tm
from tidemill.core import segments
from tidemill.core.delta import table_place
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.stores.folder import FolderStore
from tidemill.improve.erasure import erasing
steps = int(sys.argv[2])
def counted(do, after):
    def step(*given, **named):
        global steps
        if not after and steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        made = do(*given, **named)
        if after and steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps -= 1
        return made
    return step
for owner, names in {table_place.Place: ("write", "remove"), SqlGraph: ("record", "amend", "write"),
                     FolderStore: ("put", "delete"), segments: ("erase",), erasing: ("_write_private",)}.items():
    for name in names:
        setattr(owner, name, counted(getattr(owner, name), sys.argv[3] == "after"))
erasing.erase(tm.open(sys.argv[1]).ws, "ada@example.org", columns=json.loads(sys.argv[4]))
print("steps left", steps)
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("killed") / "w.mill"
    build(root).close()
    return root


@pytest.fixture(scope="module")
def ended(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What an undisturbed erasure leaves."""
    root = tmp_path_factory.mktemp("ended") / "w.mill"
    shutil.copytree(template, root)
    ws = tm.open(root).ws
    erasing.erase(ws, EMAIL, columns=COLUMNS)
    return state(ws)


def state(ws: Workspace) -> dict[str, object]:
    """All that users see: digests and rows of each version, the model's scores, answers, truths."""
    package = packages.load(ws, registry.get(ws, "churn").package)
    versions = [version for name in datasets.names(ws) for version in datasets.log(ws, name)]
    return {
        "versions": {version.artifact.label: (version.digest, version.rows) for version in versions},
        "rows": {version.artifact.label: datasets.scan(ws, version).collect().height for version in versions},
        "scores": package.score([{"age": 40.0, "spend": 12.5, "town": "York"}]),
        "package": package.digest,
        "answers": sorted(log.predictions(ws, "churn")["id"].to_list()),
        "truths": truth.truths(ws, "churn").height,
    }


SLOW = [pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 25, 50, 90, 110)]


@pytest.mark.parametrize("steps", [9, 60, 100, *SLOW])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_erasure_goes_on(
    template: Path, tmp_path: Path, ended: dict[str, object], steps: int, when: str
) -> None:

    root = tmp_path / "w.mill"
    shutil.copytree(template, root)
    command = [sys.executable, "-c", KILLED, str(root), str(steps), when, json.dumps(COLUMNS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    ws = tm.open(root).ws
    erasing.erase(ws, EMAIL, columns=COLUMNS)
    assert holders(ws.root) == []
    assert ws.graph.verify() == []
    assert state(ws) == ended
    assert erasing.unfinished(ws) == 0
    assert ws.graph.find(Query("run", kind="data.erase", status="done"))
