"""Croissant files. What is asked of one here are the facts of the specification 1.0; the reference reader mlcroissant
1.1.1 finds neither an error nor a warning in these files and reads the same rows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidemill.core.errors import NoRoom, Refused
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.catalogue import access, governance, policies
from tidemill.data.catalogue.croissant import croissant, publish
from tidemill.track import runs

PEOPLE = pl.DataFrame(
    {
        "person": ["p1", "p2"],
        "email": ["ada@example.org", None],
        "age": [36, None],
        "score": [0.5, 1.5],
        "active": [True, False],
        "at": [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)],
        "born": [date(1990, 1, 1), date(1991, 1, 1)],
        "an odd, name": ["x", "y"],
        "an odd. name": ["x", "y"],
    }
)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    yield made
    made.close()


@pytest.fixture
def version(ws: Workspace) -> DatasetVersion:
    made = datasets.add(ws, "people", PEOPLE, key="person", event_time="at")
    governance.describe(ws, "people", owner="Ada", description="All of them.", licence="https://licence.example/by/4.0")
    governance.tag(ws, "people", "email", "pii:email")
    return made


def check(made: dict[str, Any]) -> None:
    """What the specification asks: what must be there, that ids are unique and resolve, and which terms there are."""
    assert made["@type"] == "sc:Dataset"
    assert made["conformsTo"][0] == "http://mlcommons.org/croissant/1.0"
    for name in ("@context", "name", "description", "license", "url", "creator", "datePublished", "version", "citeAs"):
        assert made[name], name
    assert re.fullmatch(r"\d+\.\d+\.\d+", made["version"])
    ids = [node["@id"] for node in _nodes(made) if "@type" in node and "@id" in node]
    assert len(ids) == len(set(ids))
    assert not any(re.search(r"\s", each) for each in ids)
    assert {node["@id"] for node in _nodes(made["recordSet"]) if set(node) == {"@id"}} <= set(ids)
    for file in made["distribution"]:
        assert {"name", "contentUrl", "encodingFormat", "sha256"} <= set(file)
    for field in made["recordSet"][0]["field"]:
        assert field["dataType"].removeprefix("sc:") in {
            "Text",
            "Integer",
            "Float",
            "Boolean",
            "Date",
            "DateTime",
            "Time",
        }
        assert field["source"]["extract"].keys() == {"column"}
    context = made["@context"]
    assert context["@vocab"] == context["sc"] == "https://schema.org/"
    for term in ("conformsTo", "recordSet", "field", "dataType", "source", "extract", "fileObject", "column", "key"):
        assert term in context, term
    assert (context["cr"], context["recordSet"]) == ("http://mlcommons.org/croissant/", "cr:recordSet")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _nodes(each)
    elif isinstance(value, list):
        for each in value:
            yield from _nodes(each)


def test_a_published_version_is_a_croissant_file_and_its_rows(
    ws: Workspace, version: DatasetVersion, tmp_path: Path
) -> None:
    access.grant(ws, "eve", "pii")
    made = publish(ws, version, tmp_path / "out", actor="eve", url="https://people.example/")
    check(made)
    assert json.loads((tmp_path / "out" / "croissant.json").read_text()) == made
    (file,) = made["distribution"]
    data = (tmp_path / "out" / file["contentUrl"]).read_bytes()
    assert (file["sha256"], file["contentSize"]) == (hashlib.sha256(data).hexdigest(), f"{len(data)} B")
    (records,) = made["recordSet"]
    columns = [field["source"]["extract"]["column"] for field in records["field"]]
    assert pl.read_parquet(data).select(columns).sort("person").equals(PEOPLE)
    assert records["key"] == {"@id": "rows/person"}
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["croissant.json", "people-v1.parquet"]


def test_each_column_has_its_type(ws: Workspace, version: DatasetVersion) -> None:
    made = croissant(ws, version)
    assert [field["dataType"] for field in made["recordSet"][0]["field"]] == [
        *("sc:Text", "sc:Text", "sc:Integer", "sc:Float", "sc:Boolean", "sc:DateTime", "sc:Date", "sc:Text", "sc:Text"),
    ]
    assert made["rai:personalSensitiveInformation"] == ["email: pii:email"]


def test_a_list_is_repeated(ws: Workspace) -> None:
    version = datasets.add(ws, "boxes", pl.DataFrame({"id": ["1"], "sides": [[1.5, 2.5]]}), key="id")
    field = croissant(ws, version)["recordSet"][0]["field"][1]
    assert (field["dataType"], field["repeated"]) == ("sc:Float", True)


def test_who_may_not_see_personal_columns_publishes_them_masked(
    ws: Workspace, version: DatasetVersion, tmp_path: Path
) -> None:
    made = publish(ws, version, tmp_path / "out", actor="bob", url="https://people.example/")
    rows = pl.read_parquet(tmp_path / "out" / "people-v1.parquet")
    assert rows["email"][0].startswith("p_")
    assert b"ada@" not in (tmp_path / "out" / "people-v1.parquet").read_bytes()
    (event,) = ws.graph.events("read/people")
    assert (event.actor, event.body["masked"]) == ("bob", ["email"])
    assert croissant(ws, version, url="https://people.example/") == made  # the description alone speaks of that file


def test_a_purpose_that_is_not_allowed_publishes_nothing(
    ws: Workspace, version: DatasetVersion, tmp_path: Path
) -> None:
    policies.allow(ws, "people", "research", "consent")
    with pytest.raises(Refused):
        publish(ws, version, tmp_path / "out", purpose="marketing")
    assert not (tmp_path / "out").exists()
    publish(ws, version, tmp_path / "out", purpose="research")
    assert [run.status for run in runs.find(ws, kind="data.publish")] == ["done", "failed"]


def test_a_place_that_cannot_be_written_is_named(ws: Workspace, version: DatasetVersion, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoRoom, match=r"cannot write to .*/file/out: .*; name a folder that can be written"):
        publish(ws, version, tmp_path / "file" / "out")
