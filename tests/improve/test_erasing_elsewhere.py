"""A person is erased from PostgreSQL and S3 as from a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import obstore.store
import pytest
from erased_world import COLUMNS, EMAIL, TERMS, build, holders, told

import tidemill as tm
from tidemill.data import datasets
from tidemill.improve.erasure import erasing
from tidemill.serve import packages, registry


def copied(bucket: str, folder: Path) -> Path:
    """Every object of the bucket as a file."""
    store = obstore.store.S3Store(bucket, client_options={"allow_http": True})
    for part in store.list():
        for meta in part:
            path = folder / str(meta["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(store.get(str(meta["path"])).bytes()))
    return folder


def test_nothing_of_the_person_is_left_in_postgresql_and_s3(
    new_database: Callable[[], str], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "state"))
    url, store = new_database(), f"s3://{bucket}/mill"
    ws = build(tmp_path / "none", url, store)
    assert ws.root.is_relative_to(tmp_path / "state")
    assert holders(copied(bucket, tmp_path / "before"))
    assert EMAIL in told(url)
    done = erasing.erase(ws, EMAIL, columns=COLUMNS)
    assert (done.predictions, done.files, done.left) == (2, 2, ())
    assert holders(copied(bucket, tmp_path / "after")) == []
    assert holders(ws.root) == []
    assert [term for term in TERMS if term in told(url)] == []
    assert ws.graph.verify() == []
    fresh = tm.open(url, store=store).ws
    assert datasets.scan(fresh, datasets.get(fresh, "customers", 1)).collect().height == 299
    assert packages.load(fresh, registry.get(fresh, "churn").package)
    for each in (ws, fresh):
        each.close()
