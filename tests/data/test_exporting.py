"""Exports: what is written is what an import reads, whole or not at all, and recorded."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.errors import BadInput, Conflict, NoRoom, UnknownColumn
from tidemill.core.types import DatasetVersion, Query, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.transfer import exporting
from tidemill.data.transfer.sources import open_source

AT = datetime(2013, 4, 1, 5, 30, 0, 250_000, tzinfo=UTC)
ROWS = pl.DataFrame(
    {
        "id": range(5),
        "carrier": ["AA", None, "U,A", 'D"L', "line\nbreak"],
        "temp": [1.5, None, -0.1, 1e300, 3.0],
        "at": [AT + timedelta(hours=n) for n in range(5)],
        "late": [True, False, None, True, False],
    }
)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


@pytest.fixture
def flights(ws: Workspace) -> DatasetVersion:
    return datasets.add(ws, "flights", ROWS, key="id", known_time="at")


FILES = ["out.csv", "out.jsonl", "out.parquet", "out.arrow", "OUT.CSV"]


@pytest.mark.parametrize("name", [*FILES, "folder"])
def test_what_is_exported_is_read_back_as_it_was(
    ws: Workspace, flights: DatasetVersion, tmp_path: Path, name: str
) -> None:
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "made" / name
    told = exporting.export(ws, flights, target, progress=lambda done, total: seen.append((done, total)))
    assert told["rows"] == 5
    assert told["size_bytes"] > 0
    assert seen[-1] == (5, 5)
    with open_source(str(target)) as source:
        back = source.frame()
    if name.endswith(".jsonl"):  # JSON has no times
        back = back.with_columns(pl.col("at").str.to_datetime(time_zone="UTC"))
    assert back.equals(ROWS, null_equal=True)
    assert [each.name for each in target.parent.iterdir()] == [name]


def test_the_export_is_a_run_that_read_the_version(ws: Workspace, flights: DatasetVersion, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    exporting.export(ws, flights, target, columns=["id", "temp"])
    [run] = ws.graph.find(Query("run", kind="data.export"))
    assert isinstance(run, Run)
    assert run.params == {"target": str(target), "format": "csv", "columns": ["id", "temp"], "masked": []}
    assert run.metrics["rows"] == 5
    assert [run.id] == [each.id for each in flights.impact().runs]
    assert target.read_text().splitlines()[0] == "id,temp"


def test_masked_columns_and_given_rows_are_what_is_written(
    ws: Workspace, flights: DatasetVersion, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    rows = datasets.scan(ws, flights).filter(pl.col("id") < 2)
    told = exporting.export(
        ws, flights, target, rows=rows, columns=["id", "carrier"], masked={"carrier": pl.lit("***")}
    )
    assert told["rows"] == 2
    assert [json.loads(line) for line in target.read_text().splitlines()] == [
        {"id": 0, "carrier": "***"},
        {"id": 1, "carrier": "***"},
    ]


def test_under_a_clock_only_rows_that_were_known_are_exported(
    ws: Workspace, flights: DatasetVersion, tmp_path: Path
) -> None:
    exporting.export(ws.at(AT + timedelta(hours=1)), flights, tmp_path / "out.csv")
    assert pl.read_csv(tmp_path / "out.csv").height == 2


def test_an_export_that_fails_leaves_what_was_there(ws: Workspace, flights: DatasetVersion, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "out.csv").write_text("old")
    broken = datasets.scan(ws, flights).with_columns(pl.col("carrier").str.to_integer())
    for name in ("out.csv", "out.parquet"):
        with pytest.raises(pl.exceptions.PolarsError):
            exporting.export(ws, flights, folder / name, rows=broken)
    assert [(each.name, each.read_text()) for each in folder.iterdir()] == [("out.csv", "old")]
    assert [run.status for run in ws.graph.find(Query("run", kind="data.export"))] == ["failed", "failed"]


def test_an_export_of_the_same_version_gives_the_same_bytes(
    ws: Workspace, flights: DatasetVersion, tmp_path: Path
) -> None:
    for name in ("one.csv", "two.csv"):
        exporting.export(ws, flights, tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_a_table_of_a_database_is_made_in_one_transaction(
    ws: Workspace, flights: DatasetVersion, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/out.db"
    told = exporting.export(ws, flights, url, table="flights")
    assert told == {"target": f"{url}: flights", "format": "sql", "rows": 5, "size_bytes": None}
    with sqlite3.connect(tmp_path / "out.db") as link:
        assert link.execute("SELECT id, carrier, temp, late FROM flights ORDER BY id").fetchall() == [
            (row["id"], row["carrier"], row["temp"], row["late"]) for row in ROWS.to_dicts()
        ]
    link.close()
    with pytest.raises(Conflict, match="there is a table 'flights' already; choose another name, or drop it first"):
        exporting.export(ws, flights, url, table="flights")


def test_postgresql_gets_times_with_their_zone(
    ws: Workspace, flights: DatasetVersion, new_database: Callable[[], str]
) -> None:
    url = new_database()
    exporting.export(ws, flights, url, table="flights")
    with open_source(url, query="SELECT * FROM flights ORDER BY id") as source:
        assert source.frame().equals(ROWS, null_equal=True)


def test_targets_that_cannot_be_are_refused(ws: Workspace, flights: DatasetVersion, tmp_path: Path) -> None:
    cases: list[tuple[str, str | None, type[Exception], str]] = [
        ("out.xlsx", None, BadInput, "has an ending that is not known; allowed are .csv, .jsonl"),
        ("sqlite:///x.db", None, BadInput, "is a database; say which table to make: table='flights'"),
        (str(tmp_path / "out.csv"), "flights", BadInput, "table 'flights' goes with a database's URL"),
        ("http://localhost/out.csv", None, BadInput, "cannot export to http://; allowed are paths, s3://"),
        (str(tmp_path), None, Conflict, "is there already and is not an empty folder; choose another place"),
    ]
    for target, table, error, told in cases:
        with pytest.raises(error, match=told):
            exporting.export(ws, flights, target, table=table)
    with pytest.raises(UnknownColumn, match="Did you mean 'temp'"):
        exporting.export(ws, flights, tmp_path / "out.csv", columns=["tmp"])
    with pytest.raises(UnknownColumn, match="Did you mean 'temp'"):
        exporting.export(ws, flights, tmp_path / "out.csv", masked={"tmp": pl.lit(0)})
    (tmp_path / "file").write_text("")
    with pytest.raises(NoRoom, match=r"cannot make folder .*file \(File exists\); choose another place"):
        exporting.export(ws, flights, tmp_path / "file" / "out.csv")


def test_csv_does_not_take_lists(ws: Workspace, tmp_path: Path) -> None:
    version = datasets.add(ws, "tags", pl.DataFrame({"id": [1], "tags": [["a"]]}), key="id")
    with pytest.raises(BadInput, match=r"column 'tags' is List\(String\), which CSV cannot hold; export to .parquet"):
        exporting.export(ws, version, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "table"])
def test_a_prefix_in_s3_takes_files_and_tables(ws: Workspace, flights: DatasetVersion, bucket: str, name: str) -> None:
    target = f"s3://{bucket}/exports/{name}"
    exporting.export(ws, flights, target)
    with open_source(target) as source:
        assert source.frame().equals(ROWS, null_equal=True)
    if name == "table":
        with pytest.raises(Conflict, match=r"there is a table at s3://.* already; choose another place"):
            exporting.export(ws, flights, target)
