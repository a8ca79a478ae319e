"""Imports from every source: streamed in one version, run again without harm, only what is new where asked."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tidemill.core import checks
from tidemill.core.errors import BadInput, EmptyInput, UnknownColumn, WrongType
from tidemill.core.rowhash import as_text, rows_digest
from tidemill.core.types import DatasetVersion, Query, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.quality import contracts
from tidemill.data.quality.contracts import Contract, Quarantined
from tidemill.data.transfer import importing, streamkeys

AT = datetime(2013, 4, 1, 5, 30, tzinfo=UTC)


def some(first: int, rows: int = 4) -> pl.DataFrame:
    ids = range(first, first + rows)
    return pl.DataFrame({"id": ids, "temp": [n / 4 for n in ids], "at": [AT + timedelta(hours=n) for n in ids]})


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every import is a stream of many small batches and files."""
    monkeypatch.setattr(importing, "SMALL_ROWS", 0)
    monkeypatch.setattr("tidemill.data.transfer.sources.source.BATCH_ROWS", 3)
    monkeypatch.setattr("tidemill.data.transfer.sources.blocks.BLOCK_BYTES", 60)
    monkeypatch.setattr("tidemill.core.delta.table_files.FILE_BYTES", 100)


def content(ws: Workspace, version: DatasetVersion) -> pl.DataFrame:
    return datasets.scan(ws, version).sort(version.key).collect()


def test_a_small_file_and_a_frame_make_the_same_version(ws: Workspace, tmp_path: Path) -> None:
    some(0).write_parquet(tmp_path / "some.parquet")
    one = importing.import_from(ws, "one", str(tmp_path / "some.parquet"), key="id", known_time="at")
    two = importing.add(ws, "two", some(0), key="id", known_time="at")
    assert one.digest == two.digest == as_text(rows_digest(some(0)))
    assert one.artifact.meta["first_known"] == two.artifact.meta["first_known"]
    [run] = ws.graph.find(Query("run", kind="data.import", name="one"))
    assert isinstance(run, Run)
    assert run.params == {"source": str(tmp_path / "some.parquet"), "mode": "append"}


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("ending", ["csv", "parquet", "ndjson"])
def test_a_stream_makes_one_version_as_an_import_from_memory_does(ws: Workspace, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"some.{ending}"
    getattr(some(0, 40), {"csv": "write_csv", "parquet": "write_parquet", "ndjson": "write_ndjson"}[ending])(path)
    seen: list[tuple[int, int | None]] = []
    made = importing.import_from(
        ws,
        "flights",
        str(path),
        key="id",
        event_time="at",
        known_time="at",
        zone="UTC",
        progress=lambda done, total: seen.append((done, total)),
    )
    there = datasets.add(ws, "other", some(0, 40), key="id", event_time="at", known_time="at")
    assert (made.version, made.rows, made.digest) == (1, 40, there.digest)
    for fact in ("columns", "key", "event_time", "known_time", "added", "first_known", "step"):
        assert made.artifact.meta[fact] == there.artifact.meta[fact], fact
    assert content(ws, made).equals(some(0, 40))
    assert seen[-1] == (40, 40)
    assert len(seen) > 5
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    some(40, 7).write_parquet(tmp_path / "more.parquet")
    more = importing.import_from(
        ws, "flights", str(tmp_path / "more.parquet"), key="id", event_time="at", known_time="at"
    )
    assert (more.version, more.rows, more.artifact.meta["added"]) == (2, 47, 7)
    assert more.artifact.meta["parent"] == made.id
    assert content(ws, more).equals(some(0, 47))
    assert content(ws, made).equals(some(0, 40))


@pytest.mark.usefixtures("streamed")
def test_a_stream_that_is_all_there_gives_the_version_that_is_there(ws: Workspace, tmp_path: Path) -> None:
    some(0, 40).write_csv(tmp_path / "some.csv")
    url = str(tmp_path / "some.csv")
    first = importing.import_from(ws, "flights", url, key="id", known_time="at", zone="UTC")
    assert importing.import_from(ws, "flights", url, key="id", known_time="at", zone="UTC") == first
    replaced = importing.import_from(ws, "other", url, key="id", mode="replace")
    again = importing.import_from(ws, "other", url, key="id", mode="replace")
    assert again.digest == replaced.digest
    changed = some(0, 40).with_columns(temp=pl.when(pl.col("id") == 33).then(9.0).otherwise("temp"))
    changed.write_csv(tmp_path / "changed.csv")
    with pytest.raises(BadInput, match="keys of the rows for dataset 'flights' are there already, such as"):
        importing.import_from(ws, "flights", str(tmp_path / "changed.csv"), key="id", known_time="at", zone="UTC")
    some(38, 10).write_csv(tmp_path / "grown.csv")
    with pytest.raises(BadInput, match="such as 38; give rows with new keys, mode='replace', or an incremental"):
        importing.import_from(ws, "flights", str(tmp_path / "grown.csv"), key="id", known_time="at", zone="UTC")
    assert len(datasets.log(ws, "flights")) == 1


@pytest.mark.usefixtures("streamed")
def test_a_key_that_comes_twice_in_a_stream_is_named_and_nothing_is_written(ws: Workspace, tmp_path: Path) -> None:
    pl.concat([some(0, 40), some(7, 1), some(21, 1)]).write_parquet(tmp_path / "twice.parquet")
    with pytest.raises(BadInput, match=r"key column 'id' of the rows .* repeats 2 values, such as 7, 21; drop"):
        importing.import_from(ws, "flights", str(tmp_path / "twice.parquet"), key="id")
    assert datasets.find(ws, "flights") is None
    assert not list((ws.root / "tables").rglob("*.parquet"))
    [run] = ws.graph.find(Query("run", kind="data.import"))
    assert isinstance(run, Run)
    assert run.status == "failed"


@pytest.mark.usefixtures("streamed")
def test_a_large_dataset_is_looked_through_once_for_keys_that_are_there(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.data.versioning.keys.MOST_ROWS", 0)
    datasets.add(ws, "flights", some(0, 40), key="id")
    some(40, 40).write_parquet(tmp_path / "more.parquet")
    assert importing.import_from(ws, "flights", str(tmp_path / "more.parquet"), key="id").rows == 80
    pl.concat([some(90, 10), some(33, 1), some(77, 1)]).write_parquet(tmp_path / "taken.parquet")
    with pytest.raises(BadInput, match=r"are there already, such as (33, 77|77, 33); give rows"):
        importing.import_from(ws, "flights", str(tmp_path / "taken.parquet"), key="id")
    assert len(datasets.log(ws, "flights")) == 2


def test_keys_whose_words_are_alike_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamkeys, "_words", lambda column: np.zeros(len(column), np.uint64))
    with streamkeys.Keys() as seen:
        seen.add(pl.Series("id", ["a", "b"]))
        seen.add(pl.Series("id", ["c", "d"]))
        assert seen.repeated().to_list() == []
        assert seen.met([pl.Series("id", ["x"]), pl.Series("id", ["d", "y", "a"])]).to_list() == ["d", "a"]
        seen.add(pl.Series("id", ["d", "e"]))
        assert seen.repeated().to_list() == ["d"]


@pytest.mark.usefixtures("streamed")
def test_rows_that_break_the_contract_are_kept_out_of_a_stream(ws: Workspace, tmp_path: Path) -> None:
    contracts.set_contract(ws, "flights", Contract({"temp": "Float64"}, (checks.between("temp", 1, 100),)))
    path = tmp_path / "some.csv"
    path.write_text("id,temp\n" + "".join(f"{n},{'hot' if n == 17 else n}\n" for n in range(40)))
    told: list[Quarantined] = []
    made = importing.import_from(ws, "flights", str(path), key="id", told=told.append)
    assert content(ws, made)["id"].to_list() == [n for n in range(1, 40) if n != 17]
    [kept_out] = told
    assert kept_out.rows == 2
    assert sorted(contracts.quarantined(ws, "flights")["id"].cast(pl.Int64)) == [0, 17]
    path.write_text("id,temp\n100,-1\n101,-2\n")
    with pytest.raises(EmptyInput, match="no row keeps the contract of dataset 'flights': 2 rows of 'flights' are in"):
        importing.import_from(ws, "flights", str(path), key="id")
    assert len(datasets.log(ws, "flights")) == 1


def test_a_frame_goes_through_the_contract_too(ws: Workspace) -> None:
    contracts.set_contract(ws, "flights", Contract(checks=(checks.between("temp", 1, 100),)))
    told: list[Quarantined] = []
    made = importing.add(ws, "flights", some(0, 10), key="id", told=told.append)
    assert content(ws, made)["id"].to_list() == list(range(4, 10))
    assert told[0].rows == 4
    with pytest.raises(EmptyInput, match="no row keeps the contract"):
        importing.add(ws, "flights", some(0, 1), key="id")


# --------------------------------------------------------------------------------------------------------- increments


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    link = sqlite3.connect(tmp_path / "source.db")
    link.execute("CREATE TABLE trips (id INTEGER, changed TEXT, fare REAL)")
    return link


def grow(link: sqlite3.Connection, *rows: tuple[int, str, float]) -> None:
    link.executemany("INSERT INTO trips VALUES (?, ?, ?)", rows)
    link.commit()


def test_a_database_gives_only_what_is_new(ws: Workspace, tmp_path: Path, database: sqlite3.Connection) -> None:
    url = f"sqlite:///{tmp_path}/source.db"

    def imported() -> DatasetVersion:
        return importing.import_from(
            ws, "trips", url, query="trips", key="id", known_time="changed", incremental="changed", zone="UTC"
        )

    grow(database, (1, "2013-01-01 10:00:00", 5.0), (2, "2013-01-01 11:00:00", 6.0))
    first = imported()
    assert first.rows == 2
    assert first.artifact.meta["incremental"] == {"column": "changed", "largest": "2013-01-01 11:00:00"}
    assert imported() == first
    grow(database, (3, "2013-01-01 11:00:00", 7.0), (4, "2013-01-01 12:00:00", 8.0))  # one as late as the last one
    second = imported()
    assert content(ws, second)["id"].to_list() == [1, 2, 3, 4]
    assert second.artifact.meta["added"] == 2
    assert second.artifact.meta["first_known"] == "2013-01-01T11:00:00.000000Z"
    database.execute("DELETE FROM trips WHERE id < 4")  # what was imported need not stay there
    grow(database, (5, "2013-01-02 00:00:00", 1.0))
    third = imported()
    assert content(ws, third)["id"].to_list() == [1, 2, 3, 4, 5]
    datasets.update(ws, "trips", pl.DataFrame({"id": [1], "fare": [0.5]}))  # remembered through other versions
    grow(database, (6, "2013-01-03 00:00:00", 1.0))
    assert imported().artifact.meta["added"] == 1
    datasets.revert(ws, "trips", second)
    assert imported().artifact.meta["added"] == 2
    database.close()


def test_a_row_that_changed_at_the_last_value_is_not_taken_silently(
    ws: Workspace, tmp_path: Path, database: sqlite3.Connection
) -> None:
    url = f"sqlite:///{tmp_path}/source.db"
    grow(database, (1, "a", 5.0))
    importing.import_from(ws, "trips", url, query="trips", key="id", incremental="changed")
    database.execute("UPDATE trips SET fare = 9")
    database.commit()
    with pytest.raises(BadInput, match="keys of the rows for dataset 'trips' are there already, such as 1"):
        importing.import_from(ws, "trips", url, query="trips", key="id", incremental="changed")
    database.close()


def test_an_incremental_column_without_a_value_is_refused(
    ws: Workspace, tmp_path: Path, database: sqlite3.Connection
) -> None:
    database.execute("INSERT INTO trips VALUES (1, NULL, 5), (2, 'a', 6)")
    database.commit()
    with pytest.raises(BadInput, match="column 'changed' of the rows for dataset 'trips' has 1 nulls; an incremental"):
        importing.import_from(
            ws, "trips", f"sqlite:///{tmp_path}/source.db", query="trips", key="id", incremental="changed"
        )
    database.close()


def test_postgresql_gives_only_what_is_new(ws: Workspace, new_database: Callable[[], str]) -> None:
    import sqlalchemy as sa

    url = new_database()
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))

    def run(text: str) -> None:
        with engine.begin() as link:
            link.exec_driver_sql(text)

    def imported() -> DatasetVersion:
        query = "SELECT id, changed, fare FROM trips WHERE id > 0"
        return importing.import_from(
            ws, "trips", url, query=query, key="id", known_time="changed", incremental="changed"
        )

    run("CREATE TABLE trips (id BIGINT, changed TIMESTAMPTZ, fare NUMERIC(10, 2))")
    run(
        "INSERT INTO trips SELECT n, '2013-01-01 10:00Z'::timestamptz + n * interval '1 hour', n "
        "FROM generate_series(1, 9) n"
    )
    first = imported()
    assert first.columns["changed"] == "Datetime(time_unit='us', time_zone='UTC')"
    assert first.columns["fare"] == "Decimal(precision=38, scale=2)"
    assert first.artifact.meta["incremental"]["largest"] == "2013-01-01T19:00:00.000000Z"
    run("INSERT INTO trips VALUES (100, '2013-01-01 19:00Z', 1.5), (101, '2013-02-01 00:00+02', NULL)")
    second = imported()
    assert content(ws, second)["id"].to_list() == [*range(1, 10), 100, 101]
    assert content(ws, second)["changed"][-1] == datetime(2013, 1, 31, 22, tzinfo=UTC)
    [run_of, *_] = [each for each in ws.graph.find(Query("run", kind="data.import")) if isinstance(each, Run)]
    assert "SELECT id" in run_of.params["source"]
    engine.dispose()


# ------------------------------------------------------------------------------------------------- refusals and kills


def test_what_cannot_be_imported_says_why(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("id,at\n1,2013-01-01 10:00\n")
    with pytest.raises(UnknownColumn, match=r"no column 'idd' in .*some.csv; it has id, at. Did you mean 'id'"):
        importing.import_from(ws, "flights", str(path), key="idd")
    with pytest.raises(WrongType, match="column 'at' of the rows for dataset 'flights' has times without a zone; say"):
        importing.import_from(ws, "flights", str(path), key="id", known_time="at")
    path.write_text("id,at\n1,yesterday\n")
    with pytest.raises(WrongType, match="column 'at' of the rows for dataset 'flights' holds 'yesterday', which is no"):
        importing.import_from(ws, "flights", str(path), key="id", known_time="at", zone="UTC")
    path.write_text("id,n\n1,2\n")
    importing.import_from(ws, "flights", str(path), key="id")
    path.write_text("id,n\n2,two\n")
    with pytest.raises(WrongType, match=r"column 'n' of .*some.csv holds 'two', which is not Int64; mend the value"):
        importing.import_from(ws, "flights", str(path), key="id")


def test_a_branch_gets_the_stream_and_main_stays(ws: Workspace, tmp_path: Path) -> None:
    branches = pytest.importorskip("tidemill.data.versioning.branches")
    first = datasets.add(ws, "flights", some(0), key="id")
    branches.branch(ws, "flights", "trial")
    some(4, 6).write_parquet(tmp_path / "more.parquet")
    made = importing.import_from(
        ws, "flights", str(tmp_path / "more.parquet"), key="id", branch="trial", incremental="id"
    )
    assert made.rows == 10
    assert datasets.get(ws, "flights") == first
    on_main = datasets.add(ws, "flights", some(4, 1), key="id")
    assert content(ws, on_main)["id"].to_list() == [0, 1, 2, 3, 4]
    assert content(ws, made).equals(some(0, 10))


STREAM = """
import os, signal, sys
from tidemill.core.tables import Tables
from tidemill.core.graphs.sql import SqlGraph
from tidemill.core.workspace import open_workspace
from tidemill.data.transfer import importing
import tidemill.core.delta.table_files as table_files
import tidemill.data.transfer.sources.blocks as blocks

root, url, when = sys.argv[1:]
importing.SMALL_ROWS = 0
ws = open_workspace(root)

def deadly(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

if when == "midway":
    table_files.FILE_BYTES = 1
    blocks.BLOCK_BYTES = 1000
    real = table_files.Files._write
    def one(self, frame):
        if self.actions:
            deadly()
        real(self, frame)
    table_files.Files._write = one
elif when == "before the commit":
    Tables._commit = deadly
else:
    real = SqlGraph.write
    SqlGraph.write = lambda graph, batch: deadly() if batch.artifacts else real(graph, batch)
importing.import_from(ws, "flights", url, key="id")
"""


@pytest.mark.parametrize("when", ["midway", "before the commit", "before it is recorded"])
def test_a_killed_stream_can_be_run_again(ws: Workspace, tmp_path: Path, when: str) -> None:
    first = datasets.add(ws, "flights", some(0), key="id")
    some(4, 400).write_csv(tmp_path / "some.csv")
    ended = subprocess.run(
        [sys.executable, "-c", STREAM, str(ws.root), str(tmp_path / "some.csv"), when], capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert len(list((ws.root / "tables").rglob("*.parquet"))) > 1  # it had begun
    assert datasets.find(ws, "flights") == first
    assert content(ws, first).equals(some(0))
    made = importing.import_from(ws, "flights", str(tmp_path / "some.csv"), key="id")
    assert (made.version, made.rows) == (2, 404)
    assert content(ws, made).equals(some(0, 404))
    assert ws.graph.verify() == []


MEASURED = """
import sys
from tidemill.core.recording import peak_bytes
from tidemill.core.workspace import open_workspace
from tidemill.data.transfer import importing

ws = open_workspace(sys.argv[1])
made = importing.import_from(ws, "flights", sys.argv[2], key="id")
print(made.rows, peak_bytes() >> 20)
"""


@pytest.mark.slow
def test_a_large_csv_is_imported_in_bounded_memory(tmp_path: Path) -> None:
    rows = 3_000_000
    frame = pl.DataFrame({"id": pl.int_range(rows, eager=True), **{f"x{n}": [n / 7] * rows for n in range(5)}})
    frame.write_csv(tmp_path / "big.csv")
    assert (tmp_path / "big.csv").stat().st_size > 250 << 20
    told = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "a.mill"), str(tmp_path / "big.csv")],
        capture_output=True,
        check=True,
        text=True,
    )
    made, mib = map(int, told.stdout.split())
    assert made == rows
    assert mib < 600  # 380 to 420 were seen, of which Python and its packages take 50; the file has 256


@pytest.mark.usefixtures("streamed")
def test_a_stream_onto_a_dataset_with_layers_has_the_changed_values(ws: Workspace, tmp_path: Path) -> None:
    datasets.add(ws, "flights", some(0, 10), key="id")
    datasets.update(ws, "flights", pl.DataFrame({"id": [3], "temp": [99.0]}))
    datasets.delete(ws, "flights", [0, 1])
    before = datasets.add_column(ws, "flights", pl.DataFrame({"id": [4], "note": ["late"]}))
    more = some(0, 1).vstack(some(10, 5)).with_columns(note=pl.lit("new"))
    more.write_parquet(tmp_path / "more.parquet")
    made = importing.import_from(ws, "flights", str(tmp_path / "more.parquet"), key="id")
    rows = content(ws, made)
    assert rows["id"].to_list() == [0, *range(2, 15)]
    assert rows.filter(id=3)["temp"].item() == 99.0
    assert rows["note"].to_list() == ["new", None, None, "late", *[None] * 5, *["new"] * 5]
    assert made.digest == as_text(rows_digest(rows))
    assert content(ws, before)["id"].to_list() == list(range(2, 10))


@pytest.mark.usefixtures("streamed")
def test_what_an_import_keeps_for_its_own_time_is_in_the_workspace_and_goes(
    ws: Workspace, tmp_path: Path, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))  # nothing may be put there
    left = ws.root / "spool" / "tidemill-left"
    left.mkdir(parents=True)
    (left / "rows.arrow").write_text("somebody's rows")
    os.utime(left, (0, 0))
    grow(database, *[(n, "a", n / 2) for n in range(10)])
    seen: list[int] = []
    importing.import_from(
        ws,
        "trips",
        f"sqlite:///{tmp_path}/source.db",
        query="trips",
        key="id",
        progress=lambda done, total: seen.append(len(list((ws.root / "spool").iterdir()))),
    )
    assert set(seen) == {2}  # the result of the query, and the keys
    assert list((ws.root / "spool").iterdir()) == []
    database.close()


def test_a_column_of_a_database_that_has_no_value_is_text_until_it_has(ws: Workspace, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as link, link:
        link.execute("CREATE TABLE sales (id INTEGER, note TEXT, size REAL)")
        link.execute("INSERT INTO sales VALUES (1, NULL, 1.5)")
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    first = importing.import_from(ws, "sales", url, query="sales", key="id")
    assert dict(first.columns) == {"id": "Int64", "note": "String", "size": "Float64"}
    with closing(sqlite3.connect(tmp_path / "shop.db")) as link, link:
        link.execute("INSERT INTO sales VALUES (2, 'late', NULL)")
    query = "SELECT * FROM sales WHERE id = 2"  # size has no value here, and stays a number
    second = importing.import_from(ws, "sales", url, query=query, key="id")
    assert datasets.scan(ws, second).collect().sort("id").rows() == [(1, None, 1.5), (2, "late", None)]
