"""Datasets: append makes versions, a clock hides what is not known yet, what does not fit is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidemill.core.errors import BadInput, Corrupt, EmptyInput, NotFound, TidemillError, UnknownColumn, WrongType
from tidemill.core.recording import outputs_of
from tidemill.core.types import DatasetVersion, Query, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.versioning import diffs

AT = datetime(2013, 4, 1, 5, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "test.mill")
    yield workspace
    workspace.close()


def hours(*ids: int, temp: float = 1.0) -> pl.DataFrame:
    """Weather of these hours after AT, each known an hour later."""
    return pl.DataFrame(
        {
            "id": [f"EWR-{n}" for n in ids],
            "temp": [temp * n for n in ids],
            "hour": [AT + n * HOUR for n in ids],
            "known": [AT + (n + 1) * HOUR for n in ids],
        }
    )


def add(ws: Workspace, frame: pl.DataFrame, **options: object) -> DatasetVersion:
    options = {"key": "id", "event_time": "hour", "known_time": "known", **options}
    return datasets.add(ws, "weather", frame, **options)  # type: ignore[arg-type]


def runs(ws: Workspace) -> list[Run]:
    return [run for run in ws.graph.find(Query("run", kind="data.import")) if isinstance(run, Run)]


def ids(ws: Workspace, version: DatasetVersion) -> list[str]:
    return sorted(datasets.scan(ws, version).collect()["id"])


# ------------------------------------------------------------------------------------------------------------- versions


def test_each_append_is_a_version_that_holds_all_before_it(ws: Workspace) -> None:
    first = add(ws, hours(0, 1), message="January", source="january.csv")
    second = add(ws, hours(2), message="February")
    assert [(each.version, each.rows, each.artifact.meta["added"]) for each in (first, second)] == [
        (1, 2, 2),
        (2, 3, 1),
    ]
    assert ids(ws, first) == ["EWR-0", "EWR-1"]
    assert ids(ws, second) == ["EWR-0", "EWR-1", "EWR-2"]
    assert datasets.log(ws, "weather") == [second, first]
    assert datasets.get(ws, "weather") == second
    assert datasets.get(ws, "weather", 1) == first
    assert second.artifact.meta["message"] == "February"
    assert second.artifact.meta["parent"] == first.id
    assert (second.key, second.event_time, second.known_time) == ("id", "hour", "known")
    assert second.columns["temp"] == "Float64"


def test_an_import_is_a_recorded_run_from_its_parent(ws: Workspace) -> None:
    first = add(ws, hours(0, 1), source="january.csv")
    second = add(ws, hours(2))
    newest, oldest = runs(ws)
    assert (oldest.status, oldest.name, oldest.params) == (
        "done",
        "weather",
        {"source": "january.csv", "mode": "append"},
    )
    assert newest.metrics == {"rows": 3.0, "added": 1.0}
    assert [artifact.id for _, artifact in outputs_of(ws, newest)] == [second.id]
    trail = second.trace()
    assert [artifact.id for artifact in trail.artifacts] == [second.id, first.id]
    assert [run.id for run in trail.runs] == [newest.id, oldest.id]


def test_replace_begins_anew_and_leaves_old_versions_readable(ws: Workspace) -> None:
    first = add(ws, hours(0, 1))
    second = add(ws, hours(5).drop("known"), mode="replace", known_time=None)
    assert (second.version, second.rows, second.known_time) == (2, 1, None)
    assert ids(ws, first) == ["EWR-0", "EWR-1"]
    assert ids(ws, second) == ["EWR-5"]


def test_a_tampered_table_is_corrupt_when_it_is_read(ws: Workspace) -> None:
    first = add(ws, hours(0, 1))
    for path in (ws.root / "tables" / "datasets" / "weather").glob("*.parquet"):
        hours(0, 7).write_parquet(path)
    other = open_workspace(ws.root)
    with pytest.raises(Corrupt, match="table datasets/weather version 0"):
        datasets.scan(other, first)
    other.close()


# ----------------------------------------------------------------------------------------------- imported twice, killed


def test_rows_that_are_all_there_give_the_version_that_is_there(ws: Workspace) -> None:
    add(ws, hours(0, 1))
    second = add(ws, hours(2, 3))
    for again in (hours(0, 1), hours(3, 2), hours(2), hours(0, 1, 2, 3).select("known", "hour", "temp", "id")):
        assert add(ws, again) == second
    assert len(runs(ws)) == 2
    assert ws.tables.latest("datasets/weather") == second.pinned


@pytest.mark.parametrize("again", [hours(1, 2), hours(0, 1, temp=9.0)], ids=["some new", "other values"])
def test_keys_that_are_taken_are_named(ws: Workspace, again: pl.DataFrame) -> None:
    first = add(ws, hours(0, 1))
    with pytest.raises(BadInput, match=r"keys of the rows for dataset 'weather' are there already, such as .*EWR-1"):
        add(ws, again)
    assert datasets.log(ws, "weather") == [first]
    assert ws.tables.latest("datasets/weather") == first.pinned


def test_categories_and_small_numbers_can_be_imported_twice_too(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": [1, 2], "what": ["a", "b"]}).cast({"id": pl.UInt8, "what": pl.Categorical})
    first = datasets.add(ws, "small", frame, key="id")
    assert dict(first.columns) == {"id": "Int16", "what": "String"}
    assert datasets.add(ws, "small", frame, key="id") == first
    assert datasets.add(ws, "small", frame.with_columns(pl.col("id") + 2), key="id").rows == 4


def test_what_a_killed_import_wrote_but_did_not_record_is_set_aside(ws: Workspace) -> None:
    first = add(ws, hours(0, 1))
    ws.tables.append("datasets/weather", hours(2, 3))  # and there it was killed
    second = add(ws, hours(2, 3))
    assert second.rows == 4
    assert ids(ws, second) == [f"EWR-{n}" for n in range(4)]
    assert ids(ws, first) == ["EWR-0", "EWR-1"]
    ws.tables.replace("datasets/weather", hours(9))
    assert ids(ws, add(ws, hours(4))) == [f"EWR-{n}" for n in range(5)]


def test_a_first_import_that_was_killed_can_be_run_again(ws: Workspace) -> None:
    ws.tables.create("datasets/weather", hours(0, 1))
    assert ids(ws, add(ws, hours(0, 1, 2))) == ["EWR-0", "EWR-1", "EWR-2"]


IMPORTS = """
import sys
from datetime import UTC, datetime
import polars as pl
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
ws = open_workspace(sys.argv[1])
for number in range(5):
    datasets.add(ws, "log", pl.DataFrame({"id": [f"{sys.argv[2]}-{number}"]}), key="id")
ws.close()
"""


def test_processes_that_import_at_once_make_a_line_of_versions(ws: Workspace) -> None:
    command = [sys.executable, "-W", "error", "-c", IMPORTS, str(ws.root)]
    for process in [subprocess.Popen([*command, who], stderr=subprocess.PIPE, text=True) for who in "ab"]:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    versions = datasets.log(ws, "log")[::-1]
    assert [each.rows for each in versions] == list(range(1, 11))
    seen: set[str] = set()
    for each in versions:
        found = set(ids(ws, each))
        assert seen < found
        seen = found


# --------------------------------------------------------------------------------------------------------- two clocks


def test_a_clock_hides_what_was_not_known_yet(ws: Workspace) -> None:
    version = add(ws, hours(0, 1, 2))
    assert ids(ws, version) == ["EWR-0", "EWR-1", "EWR-2"]
    assert ids(ws.at(AT + 2 * HOUR), version) == ["EWR-0", "EWR-1"]
    assert ids(ws.at(AT + 2 * HOUR - timedelta(microseconds=1)), version) == ["EWR-0"]
    assert ids(ws.at(AT), version) == []


def test_a_dataset_without_a_known_time_is_known_at_once(ws: Workspace) -> None:
    version = datasets.add(ws, "planes", pl.DataFrame({"tail": ["N1", "N2"]}), key="tail")
    assert datasets.scan(ws.at(AT), version).collect().height == 2


def test_an_import_under_a_clock_says_so(ws: Workspace) -> None:
    add(ws.at(AT), hours(0))
    assert runs(ws)[0].tags == {"clock": AT.isoformat()}


# -------------------------------------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("frame", "options", "error", "told"),
    [
        (hours(), {}, EmptyInput, "no rows to add to dataset 'weather'; give at least one"),
        (
            hours(5),
            {"key": "idd"},
            UnknownColumn,
            "no column 'idd' in the rows for dataset 'weather'; it has id, temp, hour, known. Did you mean 'id'?",
        ),
        (
            hours(5).with_columns(pl.col("hour").dt.strftime("%d.%m.%Y")),
            {},
            WrongType,
            "column 'hour' of the rows for dataset 'weather' is String; a clock is Datetime in UTC: "
            "pl.col('hour').dt.replace_time_zone('UTC')",
        ),
        (
            hours(5).with_columns(pl.col("known").dt.replace_time_zone(None)),
            {},
            WrongType,
            "column 'known' of the rows for dataset 'weather' is Datetime(time_unit='us', time_zone=None); a clock is "
            "Datetime in UTC: pl.col('known').dt.replace_time_zone('UTC')",
        ),
        (
            hours(5, 6).with_columns(known=pl.Series([AT, None])),
            {},
            BadInput,
            "column 'known' of the rows for dataset 'weather' has 1 nulls",
        ),
        (
            hours(5, 6).with_columns(id=pl.Series(["x", None])),
            {},
            BadInput,
            "key column 'id' of the rows for dataset 'weather' has 1 nulls; fill them",
        ),
        (
            hours(5, 6, 5, 6, 7),
            {},
            BadInput,
            "key column 'id' of the rows for dataset 'weather' repeats 2 values, such as EWR-5, EWR-6; "
            "drop the duplicates first (tm.drop_duplicates)",
        ),
        (
            hours(5).rename({"temp": "tmep"}),
            {},
            UnknownColumn,
            "no column 'tmep' in dataset 'weather'; it has id, temp, hour, known. Did you mean 'temp'?",
        ),
        (
            hours(5).drop("temp"),
            {},
            UnknownColumn,
            "no column 'temp' in the rows for dataset 'weather'; it has id, hour, known.",
        ),
        (
            hours(5).cast({"temp": pl.String}),
            {},
            WrongType,
            "column 'temp' of the rows for dataset 'weather' is String, in dataset 'weather' it is Float64; cast it",
        ),
        (
            hours(5).with_columns(id=pl.lit(5)),
            {},
            WrongType,
            "column 'id' of the rows for dataset 'weather' is Int32, in dataset 'weather' it is String; cast it",
        ),
        (
            hours(5),
            {"known_time": None},
            BadInput,
            "dataset 'weather' has known_time='known', not None; append with the same, or replace it",
        ),
    ],
)
def test_rows_that_do_not_fit_are_named_and_change_nothing(
    ws: Workspace, frame: pl.DataFrame, options: dict[str, str | None], error: type[TidemillError], told: str
) -> None:
    first = add(ws, hours(0, 1))
    with pytest.raises(error) as caught:
        add(ws, frame, **options)
    assert str(caught.value) == told
    assert caught.value.exit_code == 2
    assert datasets.log(ws, "weather") == [first]
    assert len(runs(ws)) == 1
    assert ws.tables.latest("datasets/weather") == first.pinned


@pytest.mark.parametrize("name", ["", "../weather", "a b", ".hidden"])
def test_a_name_that_is_no_table_name_is_refused(ws: Workspace, name: str) -> None:
    with pytest.raises(BadInput, match="is no table name; allowed are letters, digits"):
        datasets.add(ws, name, hours(0), key="id")
    assert ws.graph.find(Query("run")) == []


def test_an_unknown_dataset_names_the_nearest(ws: Workspace) -> None:
    with pytest.raises(NotFound) as none:
        datasets.get(ws, "weather")
    assert str(none.value) == "no dataset 'weather'; there are none."
    add(ws, hours(0))
    datasets.add(ws, "flights", pl.DataFrame({"id": [1]}), key="id")
    assert datasets.names(ws) == ["flights", "weather"]
    for what in (datasets.get, datasets.log):
        with pytest.raises(NotFound) as near:
            what(ws, "wether")
        assert str(near.value) == "no dataset 'wether'; there are flights, weather. Did you mean 'weather'?"
    with pytest.raises(NotFound) as version:
        datasets.get(ws, "weather", 7)
    assert str(version.value) == "dataset 'weather' has no version 7; it has 1 to 1"


# --------------------------------------------------------------------------------------------------------------- diff


def diff(ws: Workspace, old: int, new: int) -> dict[str, Any]:
    return diffs.diff(ws, datasets.get(ws, "weather", old), datasets.get(ws, "weather", new))


def keys(found: dict[str, Any]) -> tuple[list[str], ...]:
    """Of added, removed and changed rows."""
    rows = ([row[found["key"]] for row in found[what]] for what in ("added", "removed"))
    return (*rows, [row["key"] for row in found["changed"]])


def test_diff_names_rows_and_columns_that_differ(ws: Workspace) -> None:
    add(ws, hours(0, 1, 2))
    changed = hours(1, 2, 3).with_columns(
        pl.when(id="EWR-1").then(None).otherwise("temp").alias("temp"), wind=pl.lit(3.0)
    )
    add(ws, changed.drop("known"), mode="replace", known_time=None)
    found = diff(ws, 1, 2)
    assert (found["name"], found["old"], found["new"]) == ("weather", 1, 2)
    assert {what: list(columns) for what, columns in found["schema"].items()} == {
        "added": ["wind"],
        "removed": ["known"],
        "retyped": [],
    }
    assert keys(found) == (["EWR-3"], ["EWR-0"], ["EWR-1"])
    assert keys(diff(ws, 2, 1)) == (["EWR-0"], ["EWR-3"], ["EWR-1"])
    assert keys(diff(ws, 1, 1)) == ([], [], [])


def test_diff_leaves_a_column_of_another_type_out_of_the_comparison(ws: Workspace) -> None:
    add(ws, hours(0, 1))
    add(ws, hours(0, 1).cast({"temp": pl.String}), mode="replace")
    found = diff(ws, 1, 2)
    assert list(found["schema"]["retyped"]) == ["temp"]
    assert keys(found) == ([], [], [])


def test_versions_with_other_keys_cannot_be_compared(ws: Workspace) -> None:
    add(ws, hours(0, 1))
    add(ws, hours(0, 1), mode="replace", key="hour")
    with pytest.raises(BadInput, match=r"has key 'id' .* in version 1 and 'hour' .* in version 2"):
        diff(ws, 1, 2)


@pytest.mark.parametrize("name", ["a/b", "_delta_log", "a.json"])
def test_a_name_that_no_page_could_be_asked_for_by_is_refused(ws: Workspace, name: str) -> None:
    with pytest.raises(BadInput, match="is no name for a dataset"):
        datasets.add(ws, name, pl.DataFrame({"id": [1]}), key="id")
    assert datasets.names(ws) == []


def test_a_replacement_says_what_it_added_changed_and_took_out(ws: Workspace) -> None:
    rows = pl.DataFrame({"id": list(range(100)), "x": [0.0] * 100})
    datasets.add(ws, "t", rows, key="id")
    new = pl.concat([rows[3:].with_columns(x=pl.when(pl.col("id") == 50).then(1.0).otherwise("x")),
                     pl.DataFrame({"id": [100, 101], "x": [2.0, 2.0]})])  # fmt: skip
    made = datasets.add(ws, "t", new, key="id", mode="replace")
    assert [made.artifact.meta[what] for what in ("added", "changed", "removed", "rows")] == [2, 1, 3, 99]
