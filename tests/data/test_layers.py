"""Layers over a base table: whatever is done to a dataset, each version holds exactly its rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core.errors import BadInput, Corrupt, EmptyInput, UnknownColumn, WrongType
from tidemill.core.rowhash import as_text, rows_digest
from tidemill.core.types import DatasetVersion, Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.versioning import layers
from tidemill.data.versioning.branches import branch

ROWS = 40


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "test.mill")
    yield workspace
    workspace.close()


def flights(first: int = 0, rows: int = ROWS) -> pl.DataFrame:
    """Numbered flights: `late` in minutes, `carrier`."""
    numbers = range(first, first + rows)
    return pl.DataFrame(
        {"id": numbers, "late": [float(n) for n in numbers], "carrier": [f"c{n % 3}" for n in numbers]},
        schema={"id": pl.Int64, "late": pl.Float64, "carrier": pl.String},
    )


def read(ws: Workspace, version: DatasetVersion) -> pl.DataFrame:
    return datasets.scan(ws, version).collect().sort("id")


def row(ws: Workspace, version: DatasetVersion, key: int) -> dict[str, Any]:
    (found,) = datasets.scan(ws, version).filter(pl.col("id") == key).collect().to_dicts()
    return found


def layered(version: DatasetVersion) -> list[tuple[str, tuple[str, ...], int]]:
    return [(each.kind, each.columns, each.pinned.rows) for each in layers.content(version).layers]


# ------------------------------------------------------------------------------------------------ against a plain model

Row = dict[str, Any]
Model = dict[int, Row]
KEYS = st.integers(0, ROWS + 20)
VALUES = st.one_of(st.none(), st.floats(-5, 5), st.just(float("nan")))
OPERATION = st.one_of(
    st.tuples(st.just("add"), st.sets(KEYS, min_size=1, max_size=4), VALUES),
    st.tuples(st.just("update"), st.sets(KEYS, min_size=1, max_size=4), VALUES),
    st.tuples(st.just("both"), st.sets(KEYS, min_size=1, max_size=3), VALUES),
    st.tuples(st.just("column"), st.sets(KEYS, min_size=1, max_size=30), VALUES),
    st.tuples(st.just("delete"), st.sets(KEYS, min_size=1, max_size=3), VALUES),
    st.tuples(st.just("replace"), st.sets(KEYS, min_size=1, max_size=3), VALUES),
    st.tuples(st.just("revert"), st.sets(KEYS, min_size=1, max_size=1), VALUES),
)


def as_frame(model: Model, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    rows = [{"id": key, **model[key]} for key in sorted(model)]
    return pl.DataFrame(rows, schema=columns)


def do(ws: Workspace, what: str, keys: set[int], value: float | None, models: list[Model], columns: list[str]) -> None:
    """One operation on the dataset and on the model, a new one at the end of `models` where a version is made."""
    model = {key: dict(values) for key, values in models[-1].items()}
    there, new = sorted(keys & set(model)), sorted(keys - set(model))
    kinds = {"id": pl.Int64(), "late": pl.Float64(), "carrier": pl.String()}
    kinds |= {name: pl.Float64() for name in columns}
    if what == "add" and new:
        model |= {key: {"late": value, "carrier": "new"} | dict.fromkeys(columns, value) for key in new}
        datasets.add(ws, "flights", as_frame({key: model[key] for key in new}, kinds), key="id")
    elif what == "update" and there:
        name = columns[-1] if columns and value is not None and value > 0 else "late"
        for key in there:
            model[key][name] = value
        frame = pl.DataFrame({"id": there, name: [value] * len(there)}, schema={"id": pl.Int64, name: pl.Float64})
        datasets.update(ws, "flights", frame)
    elif what == "both" and there:
        for key in there:
            model[key] |= {"late": value, "carrier": f"x{value}"}
        frame = as_frame({key: model[key] for key in there}, kinds).select("id", "carrier", "late")
        datasets.update(ws, "flights", frame)
    elif what == "column" and there:
        name = f"more{len(columns)}"
        for key in model:
            model[key][name] = value if key in there else None
        frame = pl.DataFrame({"id": there, name: [value] * len(there)}, schema={"id": pl.Int64, name: pl.Float64})
        datasets.add_column(ws, "flights", frame)
        columns.append(name)
    elif what == "delete" and there and len(there) < len(model):
        for key in there:
            del model[key]
        datasets.delete(ws, "flights", there)
    elif what == "replace":
        for key in there[1:]:
            model[key]["carrier"] = f"r{value}"
        for key in there[:1]:
            del model[key]
        model |= {key: {"late": value, "carrier": "new"} | dict.fromkeys(columns, value) for key in new}
        datasets.add(ws, "flights", as_frame(model, kinds), key="id", mode="replace")
    elif what == "revert":
        back = 1 + next(iter(keys)) % len(models)
        if set(datasets.get(ws, "flights", back).columns) != {*kinds}:
            return
        model = models[back - 1]
        datasets.revert(ws, "flights", back)
    else:
        return
    if len(datasets.log(ws, "flights")) > len(models):
        models.append(model)


@settings(max_examples=25, deadline=None)
@given(st.lists(OPERATION, min_size=1, max_size=12))
def test_each_version_holds_what_was_done_and_no_later_write_changes_it(operations: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ws = open_workspace(Path(folder) / "a.mill")
        first = flights()
        datasets.add(ws, "flights", first, key="id")
        models: list[Model] = [{each.pop("id"): each for each in first.to_dicts()}]
        columns: list[str] = []
        for what, keys, value in operations:
            do(ws, what, keys, value, models, columns)
        ws.close()
        ws = open_workspace(Path(folder) / "a.mill")  # nothing is remembered from writing
        versions = datasets.log(ws, "flights")[::-1]
        assert len(versions) == len(models)
        for version, model in zip(versions, models, strict=True):
            found = read(ws, version)
            want = as_frame(model, dict(found.schema))
            assert found.equals(want, null_equal=True)
            assert version.rows == found.height
            assert version.digest == as_text(rows_digest(want))
            assert dict(version.columns) == {name: str(kind) for name, kind in found.schema.items()}
        ws.close()


# --------------------------------------------------------------------------------------------------------------- update


def test_new_values_of_few_rows_leave_the_base_table_as_it_is(ws: Workspace) -> None:
    first = datasets.add(ws, "flights", flights(), key="id")
    second = datasets.update(ws, "flights", pl.DataFrame({"id": [3, 7], "late": [-1.0, None]}), message="mended")
    assert second.pinned == first.pinned
    assert layered(second) == [("over", ("late",), 2)]
    assert row(ws, second, 3) == {"id": 3, "late": -1.0, "carrier": "c0"}
    assert row(ws, second, 7) == {"id": 7, "late": None, "carrier": "c1"}
    assert row(ws, first, 3)["late"] == 3.0
    meta = second.artifact.meta
    assert (meta["step"], meta["message"], meta["changed"], meta["added"], meta["parent"]) == (
        "update",
        "mended",
        2,
        0,
        first.id,
    )


def test_the_last_of_several_values_of_a_row_holds(ws: Workspace) -> None:
    datasets.add(ws, "flights", flights(), key="id")
    datasets.update(ws, "flights", pl.DataFrame({"id": [3, 4], "late": [-1.0, -1.0]}))
    datasets.update(ws, "flights", pl.DataFrame({"id": [3], "late": [-2.0], "carrier": ["x"]}))
    third = datasets.update(ws, "flights", pl.DataFrame({"id": [3], "late": [-3.0]}))
    assert row(ws, third, 3) == {"id": 3, "late": -3.0, "carrier": "x"}
    assert row(ws, third, 4)["late"] == -1.0
    assert layered(third) == [("over", ("late",), 3), ("over", ("late", "carrier"), 1)]


def test_values_that_are_there_already_make_no_version(ws: Workspace) -> None:
    datasets.add(ws, "flights", flights(), key="id")
    again = pl.DataFrame({"id": [3], "late": [-1.0]})
    second = datasets.update(ws, "flights", again)
    assert datasets.update(ws, "flights", again) == second
    assert len(ws.graph.find(Query("run", kind="data.update"))) == 1


def test_a_version_has_the_digest_of_its_rows_however_they_came_to_be(ws: Workspace) -> None:
    datasets.add(ws, "flights", flights(), key="id")
    second = datasets.update(ws, "flights", pl.DataFrame({"id": [3], "late": [-1.0]}))
    fresh = datasets.add(ws, "same", read(ws, second).reverse(), key="id")
    assert fresh.digest == second.digest


def test_a_large_change_writes_the_base_anew_without_layers(ws: Workspace) -> None:
    first = datasets.add(ws, "flights", flights(), key="id")
    many = flights(rows=ROWS // 2).select("id", pl.col("late") * 10)
    second = datasets.update(ws, "flights", many)
    assert layered(second) == []
    assert second.pinned.version > first.pinned.version
    assert row(ws, second, 7)["late"] == 70.0


def test_layers_are_merged_into_the_base_when_they_have_grown(ws: Workspace) -> None:
    datasets.add(ws, "flights", flights(), key="id")
    made = [datasets.update(ws, "flights", pl.DataFrame({"id": [n], "late": [-1.0]})) for n in range(10)]
    assert [len(layered(each)) for each in made] == [1] * 8 + [0, 1]
    assert [row(ws, made[-1], n)["late"] for n in range(11)] == [-1.0] * 10 + [10.0]


@pytest.mark.parametrize(
    ("frame", "error", "told"),
    [
        (
            pl.DataFrame({"id": [3, 900, 901], "late": [1.0, 2.0, 3.0]}),
            BadInput,
            "2 keys of the new values for dataset 'flights' are not there, such as 900, 901; add new rows with add",
        ),
        (
            pl.DataFrame({"id": [3], "lat": [1.0]}),
            UnknownColumn,
            "no column 'lat' in dataset 'flights'; it has id, late, carrier. Did you mean 'late'?",
        ),
        (
            pl.DataFrame({"late": [1.0]}),
            UnknownColumn,
            "no column 'id' in the new values for dataset 'flights'; it has late.",
        ),
        (
            pl.DataFrame({"id": [3], "late": ["soon"]}),
            WrongType,
            "column 'late' of the new values for dataset 'flights' is String, in dataset 'flights' it is Float64; "
            "cast it",
        ),
        (
            pl.DataFrame({"id": [3, 3], "late": [1.0, 2.0]}),
            BadInput,
            "key column 'id' of the new values for dataset 'flights' repeats 1 values, such as 3; "
            "drop the duplicates first (tm.drop_duplicates)",
        ),
        (
            pl.DataFrame({"id": [3]}),
            BadInput,
            "the frame for dataset 'flights' has the key 'id' only; give a column of values too",
        ),
        (
            pl.DataFrame({"id": [], "late": []}),
            EmptyInput,
            "no rows to change in dataset 'flights'; give at least one",
        ),
    ],
)
def test_new_values_that_do_not_fit_are_named_and_change_nothing(
    ws: Workspace, frame: pl.DataFrame, error: type[Exception], told: str
) -> None:
    first = datasets.add(ws, "flights", flights(), key="id")
    with pytest.raises(error) as caught:
        datasets.update(ws, "flights", frame)
    assert str(caught.value) == told
    assert datasets.log(ws, "flights") == [first]
    assert ws.graph.find(Query("run", kind="data.update")) == []


# --------------------------------------------------------------------------------------------- columns, rows gone, back


def test_a_new_column_is_stored_alone_and_is_null_where_no_value_was_given(ws: Workspace) -> None:
    first = datasets.add(ws, "flights", flights(), key="id")
    second = datasets.add_column(ws, "flights", pl.DataFrame({"id": [3, 7], "gate": ["A", "B"]}))
    assert second.pinned == first.pinned
    assert dict(second.columns) == {"id": "Int64", "late": "Float64", "carrier": "String", "gate": "String"}
    assert [row(ws, second, n)["gate"] for n in (3, 4, 7)] == ["A", None, "B"]
    assert "gate" not in read(ws, first).columns
    third = datasets.add(ws, "flights", flights(100, 1).with_columns(gate=pl.lit("C")), key="id")
    assert row(ws, third, 100) == {"id": 100, "late": 100.0, "carrier": "c1", "gate": "C"}


def test_reading_some_columns_reads_no_layer_of_others(ws: Workspace) -> None:
    datasets.add(ws, "flights", flights(), key="id")
    datasets.update(ws, "flights", pl.DataFrame({"id": [3], "late": [-1.0]}))
    second = datasets.add_column(ws, "flights", pl.DataFrame({"id": [3], "gate": ["A"]}))
    (over,) = [each for each in layers.content(second).layers if each.columns == ("gate",)]
    for file in (ws.root / "tables" / over.pinned.table).glob("*.parquet"):
        file.unlink()
    found = datasets.scan(ws, second, columns=["late", "id"]).collect()
    assert found.columns == ["late", "id"]
    assert found.filter(id=3)["late"].to_list() == [-1.0]
    with pytest.raises(Corrupt):
        datasets.scan(ws, second).collect()
    with pytest.raises(UnknownColumn, match=r"no column 'gaet' in dataset 'flights'; .* Did you mean 'gate'?"):
        datasets.scan(ws, second, columns=["gaet"])


def test_a_column_that_is_there_is_not_added_again(ws: Workspace) -> None:
    datasets.add(ws, "flights", flights(), key="id")
    with pytest.raises(BadInput) as caught:
        datasets.add_column(ws, "flights", pl.DataFrame({"id": [3], "late": [1.0]}))
    assert str(caught.value) == "column 'late' is in dataset 'flights' already; change its values with update"


def test_a_deleted_row_is_gone_from_then_on_and_can_come_back(ws: Workspace) -> None:
    first = datasets.add(ws, "flights", flights(), key="id")
    second = datasets.delete(ws, "flights", [3, 7])
    assert (second.rows, second.pinned) == (ROWS - 2, first.pinned)
    assert set(read(ws, first)["id"]) - set(read(ws, second)["id"]) == {3, 7}
    back = datasets.add(ws, "flights", flights(3, 1).with_columns(late=pl.lit(-1.0)), key="id")
    assert row(ws, back, 3) == {"id": 3, "late": -1.0, "carrier": "c0"}
    assert (back.rows, back.pinned) == (ROWS - 1, first.pinned)
    again = datasets.delete(ws, "flights", [3])
    assert again.digest == second.digest


def test_keys_to_delete_that_are_not_there_are_named(ws: Workspace) -> None:
    first = datasets.add(ws, "flights", flights(), key="id")
    for keys, error, told in (
        ([3, 900], BadInput, "1 key of the keys to take out of dataset 'flights' is not there, such as 900$"),
        (["3"], WrongType, "the keys to take out of dataset 'flights' are not Int64, as key column 'id' is"),
        ([], EmptyInput, "no keys to take out of dataset 'flights'; give at least one"),
    ):
        with pytest.raises(error, match=told):
            datasets.delete(ws, "flights", keys)
    assert datasets.log(ws, "flights") == [first]


# -------------------------------------------------------------------------------------------------------------- replace


def test_a_replacement_that_differs_in_few_rows_stores_those(ws: Workspace) -> None:
    first = datasets.add(ws, "flights", flights(), key="id")
    changed = flights().with_columns(pl.when(id=3).then(-1.0).otherwise("late").alias("late")).filter(pl.col("id") != 7)
    frame = pl.concat([changed, flights(100, 1)]).sample(fraction=1.0, shuffle=True, seed=1)
    second = datasets.add(ws, "flights", frame, key="id", mode="replace")
    assert layered(second) == [("over", ("late",), 1), ("gone", (), 1)]
    assert second.pinned.rows == first.pinned.rows + 1
    assert read(ws, second).equals(frame.sort("id"))
    assert datasets.add(ws, "flights", frame, key="id", mode="replace") == second


def test_a_replacement_with_other_columns_writes_the_table_anew(ws: Workspace) -> None:
    datasets.add(ws, "flights", flights(), key="id")
    second = datasets.add(ws, "flights", flights().drop("carrier"), key="id", mode="replace")
    assert layered(second) == []
    assert read(ws, second).equals(flights().drop("carrier"))


# -------------------------------------------------------------------------------------------------------------- ordered


def test_an_ordered_dataset_keeps_its_order_and_the_digest_tells_it(ws: Workspace) -> None:
    frame = flights().sample(fraction=1.0, shuffle=True, seed=1)
    first = datasets.add(ws, "flights", frame, key="id", ordered=True)
    other = datasets.add(ws, "other", frame.reverse(), key="id", ordered=True)
    assert first.digest != other.digest
    assert "__order" not in first.columns
    second = datasets.add(ws, "flights", flights(100, 3).reverse(), key="id")
    third = datasets.update(ws, "flights", pl.DataFrame({"id": [102], "late": [-1.0]}))
    assert datasets.scan(ws, second).collect()["id"].to_list() == [*frame["id"], 102, 101, 100]
    assert datasets.scan(ws, third).collect()["id"].to_list() == [*frame["id"], 102, 101, 100]
    fourth = datasets.delete(ws, "flights", [frame["id"][0], 101])
    want = [*frame["id"][1:], 102, 100]
    assert datasets.scan(ws, fourth).collect()["id"].to_list() == want
    same = datasets.add(ws, "other", datasets.scan(ws, fourth).collect(), key="id", mode="replace")
    assert same.digest == fourth.digest


def test_replacing_an_ordered_dataset_by_the_same_rows_in_another_order_makes_a_version(ws: Workspace) -> None:
    first = datasets.add(ws, "flights", flights(), key="id", ordered=True)
    assert datasets.add(ws, "flights", flights(), key="id", mode="replace") == first
    second = datasets.add(ws, "flights", flights().reverse(), key="id", mode="replace")
    assert second.version == 2
    assert datasets.scan(ws, second).collect().equals(flights().reverse())


def test_rows_that_come_in_between_move_the_others_and_store_places_only(ws: Workspace) -> None:
    first = datasets.add(ws, "flights", flights(), key="id", ordered=True)
    kept = flights().filter(pl.col("id") != 3).with_columns(late=pl.when(id=7).then(-1.0).otherwise("late"))
    frame = pl.concat([flights(100, 2), kept.head(10), flights(200, 1), kept.tail(-10).reverse()])
    second = datasets.add(ws, "flights", frame, key="id", mode="replace")
    assert datasets.scan(ws, second).collect().equals(frame)
    assert (second.pinned.rows, second.rows) == (ROWS + 3, ROWS + 2)
    assert ("over", ("__order",), ROWS + 2) in layered(second)
    assert second.digest == datasets.add(ws, "other", frame, key="id", ordered=True).digest
    third = datasets.add(ws, "flights", pl.concat([flights(300, 1), frame, flights(301, 1)]), key="id", mode="replace")
    assert datasets.scan(ws, third).collect()["id"].to_list() == [300, *frame["id"], 301]
    fourth = datasets.add(ws, "flights", flights(400, 1), key="id")
    assert datasets.scan(ws, fourth).collect()["id"].to_list() == [300, *frame["id"], 301, 400]
    assert datasets.scan(ws, second, columns=["late"]).collect().equals(frame.select("late"))
    for version in (first, second, third, fourth):
        assert version.digest == as_text(rows_digest(layers.placed(datasets.scan(ws, version).collect())))


# ------------------------------------------------------------------------------------------------------------- verified


def test_a_row_that_comes_back_to_an_ordered_dataset_stands_at_its_end(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": range(20), "x": [float(each) for each in range(20)]})
    rest, back = frame.filter(pl.col("id") != 5), frame.filter(pl.col("id") == 5)
    datasets.add(ws, "steps", frame, key="id", ordered=True)
    datasets.add(ws, "steps", rest, key="id", mode="replace")
    more = pl.DataFrame({"id": [30], "x": [1.0]})
    version = datasets.add(ws, "steps", pl.concat([back, more]), key="id")
    expected = pl.concat([rest, back, more])
    assert datasets.scan(ws, version).collect().equals(expected)
    assert version.digest == as_text(rows_digest(layers.placed(expected)))


def test_a_tampered_layer_is_corrupt(ws: Workspace) -> None:
    datasets.add(ws, "flights", flights(), key="id")
    second = datasets.update(ws, "flights", pl.DataFrame({"id": [3], "late": [-1.0]}))
    (layer,) = layers.content(second).layers
    (file,) = (ws.root / "tables" / layer.pinned.table).glob("*.parquet")
    pl.read_parquet(file).with_columns(late=pl.lit(-2.0)).write_parquet(file)
    other = open_workspace(ws.root)
    with pytest.raises(Corrupt, match=f"table {layer.pinned.table} version 0 "):
        datasets.scan(other, second).collect()
    other.close()


def test_a_version_read_late_is_still_that_version(ws: Workspace) -> None:
    first = datasets.add(ws, "flights", flights(), key="id")
    rows = datasets.scan(ws, first)
    for n in (100, 200, 300):
        datasets.add(ws, "flights", flights(n, 1), key="id")
    assert rows.collect().height == ROWS


def test_a_branch_may_write_to_the_same_layer_as_main(ws: Workspace) -> None:
    datasets.add(ws, "flights", flights(), key="id")
    branch(ws, "flights", "try")
    made = [
        datasets.update(ws, "flights", pl.DataFrame({"id": [n], "late": [-float(n)]}), branch=label)
        for n, label in ((1, "main"), (2, "try"), (3, "main"), (4, "try"))
    ]
    for version, want in zip(made[2:], ({1, 3}, {2, 4}), strict=True):
        assert set(read(ws, version).filter(pl.col("late") < 0)["id"]) == want


def test_names_that_layers_need_are_refused(ws: Workspace) -> None:
    with pytest.raises(BadInput, match="column '__n' of the rows for dataset 'flights' has a name that datasets keep"):
        datasets.add(ws, "flights", flights().with_columns(__n=1), key="id")
