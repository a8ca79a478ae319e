"""Leaks between training and held-out rows, planted one by one."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidemill.core.errors import UnknownColumn
from tidemill.train.leakage import check

START = datetime(2020, 1, 1, tzinfo=UTC)


def table(seed, n=500, later=0):
    dice = np.random.default_rng(seed)
    a, b = dice.normal(size=n), dice.normal(size=n)
    return pl.DataFrame(
        {
            "id": [f"{seed}-{row}" for row in range(n)],
            "at": [START + timedelta(days=later, hours=row) for row in range(n)],
            "a": a,
            "b": b,
            "name": [f"n{each}" for each in dice.integers(0, 5, n)],
            "customer": [f"{seed}c{row // 10}" for row in range(n)],
            "y": (a + dice.normal(size=n) > 0).astype(float),
        }
    )


TRAIN, HELD_OUT = table(1), table(2, later=100)


def found(train=TRAIN, held_out=HELD_OUT, columns=("a", "b", "name"), **options):
    return check(train, held_out, **{"key": "id", "target": "y", "time": "at", "columns": columns, **options})


def test_honest_rows_have_no_finding():
    assert found(groups=["customer"]) == []


def test_the_same_row_id_on_both_sides_is_an_error():
    mixed = HELD_OUT.with_columns(id=pl.when(pl.col("id") == "2-7").then(pl.lit("1-3")).otherwise("id"))
    (finding,) = found(held_out=mixed)
    assert (finding.kind, finding.severity, finding.rows) == ("same key", "error", 1)
    assert finding.pairs == (("1-3", "1-3"),)


def test_a_customer_on_both_sides_is_an_error():
    mixed = HELD_OUT.with_columns(customer=pl.when(pl.col("id") == "2-7").then(pl.lit("1c0")).otherwise("customer"))
    (finding,) = found(held_out=mixed, groups=["customer"])
    assert (finding.kind, finding.severity, finding.column, finding.rows) == ("same group", "error", "customer", 1)
    assert finding.pairs == (("1-0", "2-7"),)
    assert found(held_out=mixed) == []


def test_copied_rows_are_found_under_other_ids():
    copies = TRAIN.head(3).with_columns(id=pl.Series(["x", "y", "z"]), at=HELD_OUT["at"].head(3))
    (finding,) = found(held_out=pl.concat([HELD_OUT, copies]))
    assert (finding.kind, finding.severity, finding.rows) == ("same row", "warn", 3)
    assert finding.pairs == (("1-0", "x"), ("1-1", "y"), ("1-2", "z"))
    assert "3 of them with its target" in finding.text


def test_nearly_copied_rows_are_found_by_rounding():
    near = TRAIN.head(2).with_columns(
        id=pl.Series(["x", "y"]), at=HELD_OUT["at"].head(2), name=pl.col("name").str.to_uppercase() + " "
    )
    (finding,) = found(held_out=pl.concat([HELD_OUT, near]), digits=8)
    assert (finding.kind, finding.severity, finding.rows) == ("near row", "note", 2)


def test_held_out_rows_among_the_training_times_are_told():
    (finding,) = found(held_out=table(2, later=10))
    last_hours = 499 - 240 + 1  # of 500 hours that begin ten days after the training rows do
    assert (finding.kind, finding.severity, finding.rows) == ("time", "warn", last_hours)
    assert finding.pairs[0] == ("1-499", "2-0")
    assert found(held_out=table(2, later=10), time=None) == []


def test_the_target_among_the_columns_is_an_error():
    kinds = {finding.kind: finding.severity for finding in found(columns=["a", "y"])}
    assert kinds["target"] == "error"


@pytest.mark.parametrize(
    ("tells", "severity"),
    [
        (pl.col("y") * 3 - 1, "error"),  # the target in other words
        (pl.when(pl.col("y") == 1).then(pl.lit("yes")).otherwise(pl.lit("no")), "error"),
        (pl.when(pl.col("y") == 1).then(pl.col("b")), "error"),  # missing just where the target is 0
        ((pl.col("y") == 1) | (pl.col("b") > 2.3), "warn"),  # right but for 1 %
    ],
)
def test_a_column_that_tells_the_target_alone_is_found(tells, severity):
    (finding,) = found(TRAIN.with_columns(z=tells), HELD_OUT.with_columns(z=tells), columns=["a", "b", "z"])
    assert (finding.kind, finding.severity, finding.column) == ("tells the target", severity, "z")


def test_a_strong_column_is_no_leak():
    strong = pl.col("a") * 3 + pl.col("y") * 2
    assert found(TRAIN.with_columns(z=strong), HELD_OUT.with_columns(z=strong), columns=["z", "b"]) == []


def test_a_number_that_is_the_sum_of_the_target_is_found():
    def with_total(frame):
        return frame.with_columns(y=pl.col("a") * 10, z=pl.col("a") * 7 + 0.01 * pl.col("b"))

    (finding,) = found(with_total(TRAIN), with_total(HELD_OUT), columns=["z", "b"])
    assert (finding.kind, finding.column) == ("tells the target", "z")


def test_findings_come_worst_first_and_as_json():
    held_out = pl.concat([HELD_OUT, TRAIN.head(2)])
    findings = found(held_out=held_out)
    assert [finding.kind for finding in findings] == ["same key", "same row", "time"]
    assert findings[0].as_json()["pairs"] == [["1-0", "1-0"], ["1-1", "1-1"]]


def test_a_misspelt_column_is_said():
    with pytest.raises(UnknownColumn, match="no column 'nam' in the training rows"):
        found(columns=["nam"])
