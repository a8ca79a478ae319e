"""Feature views: the same definition in the graph, in a join and in a plan of rows; never a value known later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.errors import BadInput, NotFound, UnknownColumn, WrongFormat
from tidemill.core.types import Artifact, Query, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.feature_store import features
from tidemill.data.feature_store.features import Source, View, source

START = datetime(2013, 1, 1, tzinfo=UTC)
CLOCKS = {"event_time": "at", "known_time": "known"}


def hour(number: float) -> datetime:
    """The moment that many hours after the start."""
    return START + timedelta(hours=number)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    weather = pl.DataFrame(
        {
            "report": ["w0", "w1", "w2"],
            "station": ["EWR", "EWR", "JFK"],
            "temp": [10.0, 11.0, 12.0],
            "at": [hour(0), hour(1), hour(2)],
            "known": [hour(0), hour(3), hour(2)],
        }
    )
    datasets.add(made, "weather", weather, key="report", **CLOCKS)
    queue = pl.DataFrame(
        {"n": [1, 2], "origin": ["EWR", "JFK"], "planes": [7, 9], "at": [hour(1), hour(1)], "known": [hour(1), hour(1)]}
    )
    datasets.add(made, "queue", queue, key="n", **CLOCKS)
    yield made
    made.close()


def departures() -> View:
    """Weather and queue where a flight leaves, and weather where it goes."""
    return View(
        "departures",
        (
            source("weather", by="origin", on="station", columns=["temp"], within=timedelta(hours=3)),
            source("queue", by="origin", columns=["planes"]),
            source("weather", by="dest", on="station", columns=["temp"], prefix="dest_"),
        ),
    )


def flights() -> pl.DataFrame:
    """Four flights, not in order of time."""
    return pl.DataFrame(
        {
            "flight": ["d", "a", "c", "b"],
            "origin": ["EWR", "EWR", "JFK", "LGA"],
            "dest": ["JFK", "JFK", "EWR", "EWR"],
            "leaves": [hour(4), hour(2), hour(6), hour(0.5)],
        }
    )


def test_a_view_gives_exactly_the_rows_that_ask_in_their_order(ws: Workspace) -> None:
    made = features.offline(ws, departures(), flights(), time="leaves")
    assert made.drop("temp", "planes", "dest_temp").equals(flights())
    # d: w1 of hour 1 is known by 4; a: w1 is not known at 2; c: w2 of hour 2 is older than 3 hours at 6; b: no LGA
    assert made["temp"].to_list() == [11.0, 10.0, None, None]
    assert made["planes"].to_list() == [7, 7, 9, None]
    assert made["dest_temp"].to_list() == [12.0, 12.0, 11.0, 10.0]


def test_a_definition_comes_back_as_it_was_kept(ws: Workspace) -> None:
    kept = features.define(ws, departures())
    assert features.get(ws, "departures") == departures()
    assert (kept.kind, kept.name, kept.version) == ("feature-view", "departures", 1)
    assert list(json.loads(ws.store.get(kept.digest))) == ["format", "name", "sources"]


def test_a_changed_definition_is_the_next_version_and_the_first_stays(ws: Workspace) -> None:
    features.define(ws, departures())
    fewer = View("departures", departures().sources[:1])
    assert features.define(ws, fewer).version == 2
    assert features.get(ws, "departures") == fewer
    assert features.get(ws, "departures", 1) == departures()


def test_a_definition_leads_down_to_its_datasets(ws: Workspace) -> None:
    trail = features.define(ws, departures()).trace()
    assert {each.label for each in trail.artifacts} >= {"dataset/weather@1", "dataset/queue@1"}


def test_an_unknown_view_names_the_nearest(ws: Workspace) -> None:
    features.define(ws, departures())
    with pytest.raises(NotFound, match=r"no feature view 'departure'; there are departures. Did you mean 'departures'"):
        features.get(ws, "departure")


def test_an_unknown_column_is_refused_when_the_view_is_defined(ws: Workspace) -> None:
    view = View("v", (source("weather", by="origin", on="station", columns=["tmp"]),))
    with pytest.raises(UnknownColumn, match=r"no column 'tmp' in dataset 'weather'.*Did you mean 'temp'\?"):
        features.define(ws, view)


def test_a_dataset_without_a_clock_is_refused(ws: Workspace) -> None:
    datasets.add(ws, "planes", pl.DataFrame({"tail": ["N1"], "seats": [100]}), key="tail")
    with pytest.raises(BadInput, match=r"dataset 'planes' has no event time; add it with event_time="):
        features.define(ws, View("v", (source("planes", by="tail", columns=["seats"]),)))


def test_a_feature_that_is_there_twice_asks_for_a_prefix() -> None:
    twice = (source("weather", by="a", columns=["temp"]), source("weather", by="b", columns=["temp"]))
    with pytest.raises(BadInput, match=r"feature view 'v' has 'temp' twice; give a source a prefix="):
        View("v", twice)


def test_a_view_without_sources_columns_or_keys_is_refused() -> None:
    with pytest.raises(BadInput, match="has no sources"):
        View("v", ())
    with pytest.raises(BadInput, match=r"names no columns= column"):
        View("v", (source("weather", by="a", columns=[]),))
    with pytest.raises(BadInput, match="has 1 columns in by= and 2 in on="):
        View("v", (Source("weather", ("a",), ("temp",), ("b", "c")),))


def test_a_newer_format_asks_for_a_newer_tidemill() -> None:
    with pytest.raises(WrongFormat, match="has format 2, this tidemill reads 1"):
        View.of({**departures().body(), "format": 2})


def test_rows_that_ask_without_the_entity_are_refused(ws: Workspace) -> None:
    with pytest.raises(UnknownColumn, match="no column 'dest' in the rows that ask for features"):
        features.offline(ws, departures(), flights().drop("dest"), time="leaves")


def test_under_a_clock_a_view_reads_what_was_known_then(ws: Workspace) -> None:
    made = features.offline(ws.at(hour(2.5)), departures(), flights(), time="leaves")
    assert made["temp"].to_list() == [None, 10.0, None, None]  # at 4 the report of hour 0 is older than 3 hours


def test_another_version_can_be_read(ws: Workspace) -> None:
    first = datasets.get(ws, "queue")
    more = pl.DataFrame({"n": [3], "origin": ["EWR"], "planes": [99], "at": [hour(1.5)], "known": [hour(1.5)]})
    datasets.add(ws, "queue", more, key="n", **CLOCKS)
    view = View("q", (source("queue", by="origin", columns=["planes"]),))
    assert features.offline(ws, view, flights(), time="leaves")["planes"].to_list() == [99, 99, 9, None]
    old = features.offline(ws, view, flights(), time="leaves", at={"queue": first})
    assert old["planes"].to_list() == [7, 7, 9, None]


def test_equal_clocks_are_settled_by_row_id_however_the_rows_are_laid_out(ws: Workspace) -> None:
    view = View("q", (source("queue", by="origin", columns=["planes"]),))
    for n in (10, 9):  # as numbers 10 is the larger one, as text 9 is
        more = pl.DataFrame({"n": [n], "origin": ["EWR"], "planes": [n * 10], "at": [hour(1)], "known": [hour(1)]})
        datasets.add(ws, "queue", more, key="n", **CLOCKS)
    assert features.offline(ws, view, flights(), time="leaves")["planes"].to_list() == [100, 100, 9, None]


def test_defining_a_view_is_a_recorded_run(ws: Workspace) -> None:
    kept = features.define(ws, departures())
    run = ws.graph.get(kept.run_id or "")
    assert isinstance(run, Run)
    assert (run.kind, run.name, run.status) == ("data.define", "departures", "done")
    assert run.params == {"features": ["temp", "planes", "dest_temp"]}
    assert [each for each in ws.graph.find(Query("artifact", kind="feature-view")) if isinstance(each, Artifact)] == [
        kept
    ]
