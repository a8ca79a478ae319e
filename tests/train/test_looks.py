"""Looks at held-out rows are counted by their content, once for the same question."""

import polars as pl
import pytest

from tidemill.core.errors import UnknownColumn
from tidemill.core.workspace import open_workspace
from tidemill.train.looks import digest_of, look, of

ROWS = pl.DataFrame({"id": ["a", "b", "c"], "late": [True, False, True], "km": [1.0, 2.0, 3.0]})


def test_the_digest_is_of_ids_and_targets_alone():
    base = digest_of(ROWS, key="id", target="late")
    assert digest_of(ROWS.reverse().drop("km"), key="id", target="late") == base
    assert digest_of(ROWS.with_columns(pl.col("late").cast(pl.Int8)), key="id", target="late") == base
    assert digest_of(ROWS.head(2), key="id", target="late") != base
    assert digest_of(ROWS.with_columns(late=True), key="id", target="late") != base
    assert digest_of(ROWS, key="id", target=None) != base
    numbers, texts = ROWS.with_columns(id=pl.Series([1, 2, 3])), ROWS.with_columns(id=pl.Series(["1", "2", "3"]))
    assert digest_of(numbers, key="id", target="late") == digest_of(texts, key="id", target="late")
    with pytest.raises(UnknownColumn, match="no column 'lte' in the held-out rows"):
        digest_of(ROWS, key="id", target="lte")


def test_each_new_model_is_a_look_and_the_same_again_is_none(ws):
    assert of(ws, "d").text == "Nobody has looked at these held-out rows yet."
    assert look(ws, "d", rows=3, what="leaderboard", models=["m1", "m2"]).times == 1
    assert look(ws, "d", rows=3, what="leaderboard", models=["m2", "m1"]).times == 1
    assert look(ws, "d", rows=3, what="leaderboard", models=["m1"]).times == 1
    third = look(ws, "d", rows=3, what="leaderboard", models=["m1", "m3"], run="r", score="auc")
    assert (third.times, third.models, third.rows) == (2, 3, 3)
    assert [(each.models, each.new) for each in third.looks] == [(2, 2), (2, 1)]
    assert third.text.startswith("These 3 held-out rows were looked at 2 times, for 3 models.")


def test_another_kind_of_look_and_other_rows_count_apart(ws):
    look(ws, "d", rows=3, what="leaderboard", models=["m1"])
    assert look(ws, "d", rows=3, what="evaluation", models=["m1"]).times == 2
    assert look(ws, "e", rows=3, what="evaluation", models=["m1"]).times == 1
    assert of(ws, "d").models == 1


def test_looks_are_lines_of_the_audited_log(tmp_path, ws):
    look(ws, "d", rows=3, what="leaderboard", models=["m1"])
    other = open_workspace(tmp_path / "w.mill")
    assert of(other, "d").looks[0].who == ws.settings.who
    assert other.graph.verify() == []
    other.close()
