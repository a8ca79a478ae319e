"""A profile says what is in each column, as other libraries count it, and is computed once a version."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core.ids import canonical_json
from tidemill.core.types import Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.quality import profiles
from tidemill.data.quality.profiles import column_facts, profile

numbers = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-3, 3).map(float)), max_size=80)
texts = st.lists(st.one_of(st.none(), st.text("abc", max_size=2), st.text(max_size=3)), max_size=80)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "w.mill")
    yield workspace
    workspace.close()


def common(values: list[Any]) -> list[dict[str, Any]]:
    counted = sorted(Counter(values).items(), key=lambda each: (-each[1], each[0]))
    return [{"value": value, "rows": rows} for value, rows in counted[:20]]


@given(numbers)
def test_figures_of_numbers_are_those_of_numpy(values: list[float | None]) -> None:
    facts = column_facts(pl.Series(values, dtype=pl.Float64))
    there = [value + 0.0 for value in values if value is not None]
    assert (facts["missing"], facts["distinct"]) == (values.count(None), len(set(there)))
    assert facts["top"] == common(there)
    if there:
        assert (facts["min"], facts["max"]) == (min(there), max(there))
        assert facts["mean"] == pytest.approx(np.mean(there), rel=1e-9, abs=1e-9)
        assert facts["quantiles"]["0.25"] == np.quantile(there, 0.25, method="inverted_cdf")
        assert facts["zeros"] == there.count(0)
        assert facts["negative"] == sum(value < 0 for value in there)
        assert sum(facts["histogram"]["counts"]) == len(there)
    if len(there) > 1:
        assert facts["std"] == pytest.approx(np.std(there, ddof=1), rel=1e-9, abs=1e-9)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=200))
def test_a_histogram_counts_as_numpys_does(values: list[float]) -> None:
    found = column_facts(pl.Series(values, dtype=pl.Float64))["histogram"]
    if found["edges"][0] < found["edges"][-1]:
        edges = np.array(found["edges"])
        assert (np.diff(edges) >= 0).all()
        if (np.diff(edges) > 0).all():
            assert found["counts"] == np.histogram(values, edges)[0].tolist()


@given(texts)
def test_common_texts_are_those_of_counting_each(values: list[str | None]) -> None:
    facts = column_facts(pl.Series(values, dtype=pl.String))
    there = [value for value in values if value is not None]
    assert (facts["missing"], facts["distinct"], facts["top"]) == (values.count(None), len(set(there)), common(there))
    if there:
        assert (facts["min_letters"], facts["max_letters"]) == (min(map(len, there)), max(map(len, there)))
        assert facts["empty"] == there.count("")


def test_many_different_texts_with_a_few_repeats_keep_the_repeats_first() -> None:
    values = [*map(str, range(1_000)), "7", "7", "42"]
    facts = column_facts(pl.Series(values))
    assert facts["distinct"] == 1_000
    assert facts["top"] == common(values)


@pytest.mark.parametrize("kind", [pl.Int8, pl.Int64, pl.UInt64, pl.Float32, pl.Decimal(10, 2)])
def test_each_type_of_number_is_profiled(kind: Any) -> None:
    facts = column_facts(pl.Series([1, 2, 2, None], dtype=kind))
    assert (facts["kind"], facts["min"], facts["max"], facts["distinct"], facts["missing"]) == ("number", 1, 2, 2, 1)
    canonical_json(facts)


def test_the_widest_whole_numbers_do_not_overflow() -> None:
    facts = column_facts(pl.Series([-(2**63), 0, 2**63 - 1], dtype=pl.Int64))
    assert (facts["min"], facts["max"]) == (-(2**63), 2**63 - 1)
    assert sum(facts["histogram"]["counts"]) == 3
    assert len(facts["histogram"]["edges"]) == 21


def test_few_whole_numbers_have_a_bin_each() -> None:
    facts = column_facts(pl.Series([1, 2, 2, 5]))
    assert facts["histogram"] == {"edges": [1, 2, 3, 4, 5, 6], "counts": [1, 2, 0, 0, 1]}


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    facts = column_facts(pl.Series([1.0, math.nan, math.inf, -math.inf, None]))
    assert (facts["nan"], facts["infinite"], facts["missing"]) == (1, 2, 1)
    assert (facts["min"], facts["max"], facts["mean"], facts["std"]) == (1.0, 1.0, 1.0, None)
    canonical_json(facts)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([date(2013, 1, 2), date(1913, 1, 1)], "1913-01-01", "2013-01-02"),
        (
            [datetime(2013, 1, 1, 5, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)],
            "1969-01-01T00:00:00.000000Z",
            "2013-01-01T05:00:00.000000Z",
        ),
        ([datetime(2013, 1, 1), datetime(2013, 1, 2)], "2013-01-01T00:00:00.000000", "2013-01-02T00:00:00.000000"),
    ],
)
def test_times_are_shown_as_iso_text(values: list[date], low: str, high: str) -> None:
    facts = column_facts(pl.Series(values))
    assert (facts["kind"], facts["min"], facts["max"]) == ("time", low, high)
    assert facts["histogram"]["edges"][0] == low
    assert sum(facts["histogram"]["counts"]) == 2


def test_booleans_are_counted() -> None:
    facts = column_facts(pl.Series([True, False, True, None]))
    assert (facts["true"], facts["false"], facts["missing"], facts["distinct"]) == (2, 1, 1, 2)
    assert facts["top"] == [{"value": True, "rows": 2}, {"value": False, "rows": 1}]


def test_nested_and_empty_columns_have_their_missing_values_counted() -> None:
    frame = pl.DataFrame({"x": [[1], None], "y": pl.Series([None, None], dtype=pl.Float64)})
    found = profile(frame)
    assert (found["columns"]["x"]["kind"], found["columns"]["x"]["missing"]) == ("other", 1)
    assert (found["columns"]["y"]["missing_share"], found["columns"]["y"]["min"]) == (1.0, None)
    canonical_json(profile(frame.clear()))


def test_a_plan_is_profiled_as_its_rows_are() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0], "c": ["a", "b"]})
    assert profile(frame.lazy()) == profile(frame)


def test_a_versions_profile_is_computed_once_and_leads_to_the_version(ws: Workspace) -> None:
    version = datasets.add(ws, "flights", pl.DataFrame({"temp": [1.5, None], "id": ["a", "b"]}), key="id")
    assert profiles.kept(ws, version) is None
    first = profiles.of(ws, version)
    assert profiles.kept(ws, version) == first
    assert list(profiles.of(ws, version)["columns"]) == ["temp", "id"]
    assert first["columns"]["temp"]["missing_share"] == 0.5
    assert profiles.of(ws, version) == first
    (run,) = ws.graph.find(Query("run", kind="data.profile"))
    (artifact,) = ws.graph.find(Query("artifact", kind="profile-report", name="flights"))
    assert json.loads(ws.store.get(artifact.digest)) == first  # type: ignore[union-attr]
    assert version.id in {each.id for each in ws.graph.trail(artifact.id, "down").artifacts}
    assert run.metrics == {"rows": 2.0, "columns": 2.0}  # type: ignore[union-attr]


def test_a_profile_whose_bytes_were_erased_is_computed_again(ws: Workspace) -> None:
    version = datasets.add(ws, "flights", pl.DataFrame({"id": ["a", "b"]}), key="id")
    first = profiles.of(ws, version)
    (artifact,) = ws.graph.find(Query("artifact", kind="profile-report"))
    ws.store.delete(artifact.digest)  # type: ignore[union-attr]
    assert profiles.of(ws, version) == first


def test_under_a_clock_only_what_was_known_is_profiled(ws: Workspace) -> None:
    known = [datetime(2013, 1, day, tzinfo=UTC) for day in (1, 3)]
    version = datasets.add(ws, "flights", pl.DataFrame({"id": ["a", "b"], "at": known}), key="id", known_time="at")
    assert profiles.of(ws.at(datetime(2013, 1, 2, tzinfo=UTC)), version)["rows"] == 1
    assert profiles.of(ws, version)["rows"] == 2
