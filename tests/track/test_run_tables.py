"""Runs as tables, curves thinned and smoothed, and what goes with a metric: against SciPy and Polars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

import tidemill as tm
from tidemill.core.errors import BadInput, NotFound
from tidemill.project import Project
from tidemill.track import comparison, curves, experiments, showing, tables
from tidemill.track.searching.found import Found
from tidemill.track.searching.runs import search
from tidemill.track.tracking import Latest


@pytest.fixture(params=["sqlite", "postgres"])
def mill(request: pytest.FixtureRequest, tmp_path: Path, new_database: Callable[[], str]) -> Iterator[Project]:
    url = str(tmp_path / "w.mill") if request.param == "sqlite" else new_database()
    with tm.open(url, store=str(tmp_path / "objects")) as project:
        yield project


def play(mill: Project) -> None:
    for depth in (2, 4, 8):
        with mill.run("tree", experiment="depths", params={"depth": depth}, tags={"team": "blue"}) as run:
            run.log({"loss": 1 / depth, "val loss": depth}, step=3)
            run.log("odd", math.nan)
    with mill.run("bare", experiment="others/one", params={"layers": [1, 2]}):
        pass


def test_a_frame_has_a_row_a_run_and_a_column_for_whatever_was_logged(mill: Project) -> None:
    play(mill)
    found = mill.run.search("metrics.loss < 0.4", experiments=["depths"], order_by=["metrics.loss ASC"])
    assert found["params.depth"].to_list() == ["8", "4"]
    assert found["metrics.loss"].to_list() == [0.125, 0.25]
    assert found["metrics.odd"].is_nan().to_list() == [True, True]
    assert found["tags.team"].to_list() == ["blue", "blue"]
    assert found["experiment"].unique().to_list() == ["depths"]
    assert found.schema["start"] == pl.Datetime("ms", "UTC")
    every = mill.run.search()
    assert every.height == 4
    assert every.columns == [*tables.HEADS, "params.depth", "params.layers", "metrics.loss", "metrics.odd",
                             "metrics.val loss", "tags.team"]  # fmt: skip
    assert every.filter(name="bare").select("params.layers", "params.depth").row(0) == ("[1, 2]", None)
    with pytest.raises(NotFound, match=r"no experiment 'depth'.*depths"):
        mill.run.search(experiments=["depth"])
    with pytest.raises(BadInput, match="no entity"):
        mill.run.search("metrix.loss < 1")


def test_a_frame_goes_over_all_pages(mill: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    play(mill)
    whole = mill.run.search()
    monkeypatch.setattr(tables, "PAGE", 3)
    assert mill.run.search().equals(whole)


def test_the_names_of_an_experiment_are_its_own(mill: Project) -> None:
    play(mill)
    of = experiments.find(mill.ws, "depths").id
    assert tables.keys(mill.ws, of) == {"params": ["depth"], "metrics": ["loss", "odd", "val loss"], "tags": ["team"]}
    assert tables.totals(mill.ws)[of][0] == 3


def test_what_is_inside_of_a_run_is_known(mill: Project) -> None:
    with mill.run("outer") as outer, outer.child("inner") as inner:
        pass
    assert tables.parents(mill.ws, [outer.id, inner.id]) == {inner.id: outer.id}
    assert tables.parents(mill.ws, []) == {}


def test_curves_are_read_in_the_order_of_steps(mill: Project) -> None:
    with mill.run("one") as run:
        for step in (3, 1, 2):
            run.log("loss", step * 10.0, step=step)
        run.log("odd", math.inf, step=1)
    found = curves.read(mill.ws, [run.id])[run.id]
    assert [*zip(found["loss"].steps, found["loss"].values, strict=True)] == [(1, 10.0), (2, 20.0), (3, 30.0)]
    begun = run.run.started_at.timestamp()
    by_time = curves.line(found["loss"], "time", start_s=begun, smooth=0, most=100)
    assert [y for _, y in by_time] == [30.0, 10.0, 20.0]
    assert all(0 <= x < 60 for x, _ in by_time)
    assert curves.line(found["odd"], "step", start_s=0, smooth=0, most=100) == []


@given(some.lists(some.floats(-1e6, 1e6), min_size=1, max_size=400), some.integers(4, 60))
def test_thinning_keeps_every_extreme_and_is_no_more_than_asked(values: list[float], most: int) -> None:
    points = [(float(x), y) for x, y in enumerate(values)]
    kept = curves.thinned(points, most)
    assert len(kept) <= most or len(points) <= most
    assert set(kept) <= set(points)
    assert [x for x, _ in kept] == sorted({x for x, _ in kept})
    assert (min(y for _, y in kept), max(y for _, y in kept)) == (min(values), max(values))


@given(some.lists(some.floats(-1e6, 1e6), max_size=80), some.sampled_from([0.0, 0.3, 0.9]))
def test_smoothing_is_what_polars_gives(values: list[float], weight: float) -> None:
    expected = pl.Series(values, dtype=pl.Float64).ewm_mean(alpha=1 - weight, adjust=True).to_list()
    assert curves.smoothed(values, weight) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_smoothing_of_one_or_more_is_refused() -> None:
    with pytest.raises(BadInput, match=r"smoothing 1.0 is out of range; allowed: 0 \(none\) to below 1"):
        curves.smoothed([1.0], 1.0)


def test_importances_are_those_of_scipy() -> None:
    dice = np.random.default_rng(5)
    rate, kind = dice.random(60).round(1), dice.choice(["a", "b", "c"], 60)
    score = (rate + np.where(kind == "a", 0.4, 0) + dice.normal(0, 0.2, 60)).round(1)
    found = {
        each.name: each
        for each in comparison.importances(
            {"rate": [str(each) for each in rate], "kind": list(kind), "same": ["1"] * 60}, list(score)
        )
    }
    assert set(found) == {"rate", "kind"}
    rho = stats.spearmanr(rate, score).statistic
    assert found["rate"].rank == pytest.approx(rho)
    assert found["rate"].share == pytest.approx(rho**2)
    h = stats.kruskal(*(score[kind == each] for each in "abc")).statistic
    assert found["kind"].share == pytest.approx((h - 3 + 1) / (60 - 3))
    assert found["kind"].rank is None


def test_a_word_of_its_own_for_each_run_explains_nothing() -> None:
    names = [f"run {place}" for place in range(20)]
    assert comparison.importances({"name": names}, [float(each) for each in range(20)]) == []


def found(run_id: str, **params: str) -> Found:
    return Found(run_id, 1, "active", "done", run_id, "ada", 0, None, None, params, {}, {"loss": Latest(0.5, 1, 0)})


def test_a_parameter_that_only_some_have_differs() -> None:
    differing, alike = comparison.differing([found("a", x="1", y="2"), found("b", x="1")])
    assert differing == {"y": ["2", None]}
    assert alike == {"x": "1"}


def test_texts_differ_by_lines() -> None:
    lines = comparison.text_diff("a\nb\nc", "a\nB\nc")
    assert [each for each in lines if each[0] != "place"] == [("same", "a"), ("old", "b"), ("new", "B"), ("same", "c")]


def test_a_notebook_shows_escaped_tables(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    with tm.open(tmp_path / "w.mill") as mill, mill.run(hostile, experiment=hostile, params={hostile: hostile}) as run:
        run.log(hostile, 1.0)
        run.flush()
        of = experiments.find(mill.ws, hostile)
        shown = [run._repr_html_(), of._repr_html_(), search(mill.ws, [of.id])._repr_html_()]
    for each in shown:
        assert "<script" not in each
        assert "&lt;script&gt;" in each
    assert "the first 20 of 30 runs, and more" in showing.runs([found("a")] * 30, more=True)
