"""A sweep removes what nothing refers to, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import polars as pl
import pytest
from erased_world import build

import tidemill as tm
from tidemill.core.errors import BadInput
from tidemill.core.ids import new_id, utc_now
from tidemill.core.recording import PROCESS, recorded
from tidemill.core.types import Artifact, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.filesets import files
from tidemill.improve.sweeping import sweep
from tidemill.serve import packages, registry


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("swept") / "w.mill"
    build(root).close()
    return root


@pytest.fixture
def ws(template: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(template, tmp_path / "w.mill", symlinks=True)
    for path in (tmp_path / "w.mill").rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return tm.open(tmp_path / "w.mill").ws


def test_what_is_in_use_stays(ws: Workspace) -> None:
    sweep(ws, older_than_s=60)
    for artifact in ws.graph.find(Query("artifact", limit=10_000)):
        assert isinstance(artifact, Artifact)
        if artifact.kind not in ("dataset", "predictions", "truth", "online"):
            ws.store.get(artifact.digest)
    assert packages.load(ws, registry.get(ws, "churn").package)
    scans = datasets.get(ws, "scans")
    for path in datasets.scan(ws, scans).collect()["path"]:
        assert files.read(ws, scans, path)
    for name in datasets.names(ws):
        for version in datasets.log(ws, name):
            datasets.scan(ws, version).collect()
    assert ws.graph.verify() == []


def test_orphans_go_once_they_are_old(ws: Workspace) -> None:
    orphan = ws.store.put(b"nothing refers to this")
    table = ws.root / "tables" / "datasets" / "customers"
    pl.DataFrame({"id": ["x"]}).write_parquet(table / "part-killed.parquet")
    (table / "_delta_log" / "_commit_killed.json.tmp").write_text("{}")
    young = sweep(ws, older_than_s=3600)
    assert orphan not in {blob.digest for blob in young.blobs}
    assert young.files == ()
    for path in [*ws.root.rglob(orphan), *table.rglob("*killed*")]:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    sizes = {path.name: path.stat().st_size for path in table.rglob("*killed*")}
    before = [*ws.graph.events()]
    asked = sweep(ws, older_than_s=3600, dry_run=True)
    assert [*ws.graph.events()] == before
    old = sweep(ws, older_than_s=3600)
    assert (asked.blobs, asked.file_bytes, asked.dry_run) == (old.blobs, old.file_bytes, True)
    assert {blob.digest for blob in old.blobs} == {orphan}
    assert old.size_bytes == len(b"nothing refers to this") + sum(sizes.values())
    assert old.files == (
        "datasets/customers/_delta_log/_commit_killed.json.tmp",
        "datasets/customers/part-killed.parquet",
    )
    assert sweep(ws, older_than_s=3600).files == ()


def test_a_sweep_is_recorded(ws: Workspace) -> None:
    swept = sweep(ws, older_than_s=60)
    (run,) = ws.graph.find(Query("run", kind="store.sweep"))
    assert not isinstance(run, Artifact)
    assert run.metrics["blobs"] == len(swept.blobs)
    with pytest.raises(BadInput, match="older_than_s is -1"):
        sweep(ws, older_than_s=-1)


def test_a_sweep_ends_the_runs_of_dead_processes(ws: Workspace) -> None:
    dead = Run(new_id(), "train.fit", "churn", "running", utc_now(), tags={PROCESS: "elsewhere/1"})
    ws.graph.put_run(dead)
    parked = ws.graph.put_run(Run(new_id(), "flow.pipeline", "nightly", "running", utc_now()))
    with recorded(ws, "train.fit", "mine") as mine:
        assert [run.id for run in sweep(ws, dry_run=True).runs] == [dead.id]
        assert ws.graph.get(dead.id) == dead
        assert [run.id for run in sweep(ws).runs] == [dead.id]
        assert ws.graph.get(mine.run.id) == mine.run
    assert ws.graph.get(parked.id) == parked
    kept = ws.graph.get(dead.id)
    assert isinstance(kept, Run)
    assert (kept.status, kept.error) == ("failed", "its process elsewhere/1 ended without a word")
