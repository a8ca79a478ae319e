"""What an erasure leaves alone: rows, files and words that are not the person's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.catalogue import governance, policies
from tidemill.data.filesets import files
from tidemill.improve.erasure import erasing

ADA, BOB = "ada@example.org", "bob@example.org"


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "shop.mill")
    yield made
    made.close()


def test_files_of_another_folder_stay_though_they_have_the_same_names_or_bytes(ws: Workspace, tmp_path: Path) -> None:
    manifest = tmp_path / "who.csv"
    manifest.write_text(f"path,who\n0001.txt,{ADA}\n0002.txt,{BOB}\nform.txt,{ADA}\n")
    for name in ("people", "places"):
        folder = tmp_path / name
        folder.mkdir()
        for path in ("0001.txt", "0002.txt"):
            (folder / path).write_text(f"{path} of {name}")
        (folder / "form.txt").write_text("an empty form")
        files.add_folder(ws, name, folder, manifest=manifest if name == "people" else None)
    governance.tag(ws, "people", "who", "subject")
    done = erasing.erase(ws, ADA)
    assert (done.rows, done.files, done.left) == ({"people": 2}, 1, ())
    places = datasets.get(ws, "places")
    assert files.read(ws, places, "0001.txt") == b"0001.txt of places"
    assert files.read(ws, places, "form.txt") == b"an empty form"
    assert not any(b"0001.txt of people" in path.read_bytes() for path in ws.root.rglob("*") if path.is_file())


def test_words_of_the_workspace_are_not_taken_for_the_persons(ws: Workspace) -> None:
    rows = {"id": [1, 2], "mail": [ADA, BOB], "how": ["subject", "else"], "why": ["consent", "churn-model"]}
    datasets.add(ws, "people", pl.DataFrame(rows | {"mode": ["append", "other"]}), key="id")
    governance.tag(ws, "people", "mail", "subject")
    policies.allow(ws, "people", "churn-model", "consent")
    erasing.erase(ws, ADA)
    assert governance.subject_columns(ws) == {"people": ["mail"]}
    assert policies.get(ws, "people").permits["churn-model"].basis == "consent"
    assert erasing.erase(ws, BOB).rows == {"people": 1}
    assert policies.require(ws, datasets.get(ws, "people"), "churn-model")[0].purpose == "churn-model"
    assert ws.graph.verify() == []
