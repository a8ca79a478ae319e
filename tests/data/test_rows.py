"""Plans over dataset versions: what they read, what they refuse at the call, and what makes two the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.checks import between, unique, warn
from tidemill.core.errors import BadInput, UnknownColumn
from tidemill.core.recording import outputs_of
from tidemill.core.types import Artifact, DatasetVersion, Query, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.feature_store import features
from tidemill.data.feature_store.features import View, source
from tidemill.data.rows import Rows, rows

START = datetime(2013, 1, 1, tzinfo=UTC)
CLOCKS = {"event_time": "at", "known_time": "known"}


def hour(number: float) -> datetime:
    """The moment that many hours after the start."""
    return START + timedelta(hours=number)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    yield made
    made.close()


def flights(ws: Workspace) -> DatasetVersion:
    """Six flights, one an hour, known four hours before; not in order."""
    frame = pl.DataFrame(
        {
            "flight": ["f0", "f3", "f1", "f5", "f2", "f4"],
            "origin": ["EWR", "JFK", "JFK", "JFK", "EWR", "EWR"],
            "at": [hour(n) for n in (0, 3, 1, 5, 2, 4)],
            "known": [hour(n - 4) for n in (0, 3, 1, 5, 2, 4)],
        }
    )
    return datasets.add(ws, "flights", frame, key="flight", **CLOCKS)


def weather(ws: Workspace) -> DatasetVersion:
    """Weather at EWR, of which the third report comes late."""
    frame = pl.DataFrame(
        {
            "report": ["w0", "w1", "w2"],
            "origin": ["EWR"] * 3,
            "temp": [10.0, 11.0, 12.0],
            "at": [hour(0), hour(1), hour(2)],
            "known": [hour(0), hour(1), hour(3)],
        }
    )
    return datasets.add(ws, "weather", frame, key="report", **CLOCKS)


def landings(ws: Workspace) -> DatasetVersion:
    """Labels of four of the flights, each known three hours after the flight."""
    numbers = [0, 1, 2, 4]
    frame = pl.DataFrame(
        {"flight": [f"f{n}" for n in numbers], "late": [1, 0, 1, 0], "landed": [hour(n + 3) for n in numbers]}
    )
    return datasets.add(ws, "landings", frame, key="flight", event_time="landed", known_time="landed")


def ids(some: Rows) -> list[str]:
    """The row ids, in order."""
    return some.frame()["flight"].to_list()


def test_rows_come_in_the_order_of_their_event_time(ws: Workspace) -> None:
    assert ids(rows(ws, flights(ws))) == ["f0", "f1", "f2", "f3", "f4", "f5"]


def test_a_notebook_shows_the_version_the_steps_and_the_columns(ws: Workspace) -> None:
    made = rows(ws, flights(ws)).as_of(weather(ws), by="origin", columns=["temp"])
    assert repr(made).startswith("<Rows of flights@1, as_of; columns: flight, ")
    assert repr(made).endswith(", temp>")


def test_under_a_clock_only_what_was_known_is_there(ws: Workspace) -> None:
    version = flights(ws)
    assert ids(rows(ws.at(hour(-1.5)), version)) == ["f0", "f1", "f2"]


def test_as_of_adds_what_was_known_at_each_rows_time(ws: Workspace) -> None:
    made = rows(ws, flights(ws)).as_of(weather(ws), by="origin")
    assert made.frame().select("flight", "temp").rows() == [
        ("f0", 10.0),
        ("f1", None),
        ("f2", 11.0),
        ("f3", None),
        ("f4", 12.0),
        ("f5", None),
    ]


def test_as_of_forgets_what_is_further_back_than_within(ws: Workspace) -> None:
    made = rows(ws, flights(ws)).as_of(weather(ws), by="origin", within=timedelta(minutes=90), prefix="w_")
    assert made.frame()["w_temp"].to_list() == [10.0, None, 11.0, None, None, None]


def test_as_of_leaves_out_keys_and_clocks_of_the_other_dataset(ws: Workspace) -> None:
    made = rows(ws, flights(ws)).as_of(weather(ws), by="origin")
    assert list(made.columns) == made.frame().columns == ["flight", "origin", "at", "known", "temp"]


def test_labelled_keeps_only_rows_whose_label_is_known_by_now(ws: Workspace) -> None:
    version, labels = flights(ws), landings(ws)
    assert ids(rows(ws, version).labelled(labels, "late")) == ["f0", "f1", "f2", "f4"]
    known = ws.at(hour(4.5))
    assert ids(rows(known, version).labelled(labels, "late")) == ["f0", "f1"]
    assert rows(known, version).labelled(labels, "late").frame()["late"].to_list() == [1, 0]


def test_two_labels_of_one_row_are_refused(ws: Workspace) -> None:
    version = flights(ws)
    frame = pl.DataFrame({"answer": [1, 2], "flight": ["f0", "f0"], "late": [1, 0]})
    answers = datasets.add(ws, "answers", frame, key="answer")
    with pytest.raises(BadInput, match=r"dataset 'answers' labels flight 'f0' "):
        rows(ws, version).labelled(answers, "late", on="flight").frame()


def test_where_takes_its_beginning_and_leaves_its_end(ws: Workspace) -> None:
    some = rows(ws, flights(ws))
    assert ids(some.where(since=hour(1), until=hour(3))) == ["f1", "f2"]
    assert ids(some.where(since="2013-01-01T04:00Z")) == ["f4", "f5"]


def test_split_parts_cover_all_rows_once(ws: Workspace) -> None:
    some = rows(ws, flights(ws)).as_of(weather(ws), by="origin")
    parts = some.split(time=["2013-01-01T02:00", hour(4)])
    assert [ids(part) for part in parts] == [["f0", "f1"], ["f2", "f3"], ["f4", "f5"]]
    assert pl.concat([part.frame() for part in parts]).equals(some.frame())


def test_select_keeps_the_row_id_and_the_event_time(ws: Workspace) -> None:
    some = rows(ws, flights(ws)).select("origin")
    assert list(some.columns) == some.frame().columns == ["flight", "at", "origin"]
    assert len(some) == 6


def test_each_step_leaves_the_rows_before_it_as_they_were(ws: Workspace) -> None:
    some = rows(ws, flights(ws))
    before = some.digest()
    some.where(until=hour(2)).select("origin").frame()
    assert (some.digest(), len(some)) == (before, 6)


def test_the_inputs_name_every_dataset_once(ws: Workspace) -> None:
    one, two, three = flights(ws), weather(ws), landings(ws)
    some = rows(ws, one).as_of(two, by="origin").as_of(two, by="origin", prefix="again_").labelled(three, "late")
    assert some.inputs == (one, two, three)


def test_the_digest_says_whether_two_plans_read_the_same(ws: Workspace) -> None:
    version, other = flights(ws), weather(ws)
    some = rows(ws, version)
    assert some.as_of(other, by="origin").digest() == rows(ws, version).as_of(other, by="origin").digest()
    plans = [
        some,
        some.as_of(other, by="origin"),
        some.as_of(other, by="origin", within=timedelta(hours=1)),
        some.where(since=hour(1)),
        some.where(until=hour(1)),
        some.select("origin"),
        rows(ws.at(hour(0)), version),
    ]
    assert len({plan.digest() for plan in plans}) == len(plans)


def test_more_rows_make_another_digest(ws: Workspace) -> None:
    before = rows(ws, flights(ws))
    frame = pl.DataFrame({"flight": ["f9"], "origin": ["EWR"], "at": [hour(9)], "known": [hour(5)]})
    after = rows(ws, datasets.add(ws, "flights", frame, key="flight", **CLOCKS))
    assert before.digest() != after.digest()
    assert (len(before), len(after)) == (6, 7)


def test_a_failed_check_stops_and_its_report_is_recorded(ws: Workspace) -> None:
    some = rows(ws, flights(ws)).as_of(weather(ws), by="origin")
    with pytest.raises(BadInput, match=r"1 checks of 'flights' fail: temp between 0 11 fails for 1 rows.*'f4'"):
        some.check(unique("flight"), between("temp", 0, 11))
    (run,) = ws.graph.find(Query("run", kind="data.check"))
    assert isinstance(run, Run)
    assert run.status == "failed"
    ((_, report),) = outputs_of(ws, run)
    content = json.loads(ws.store.get(report.digest))
    assert [(line["kind"], line["failing"], line["keys"]) for line in content] == [
        ("unique", 0, []),
        ("between", 1, ["f4"]),
    ]


def test_a_failed_warning_is_recorded_but_does_not_stop(ws: Workspace) -> None:
    some = rows(ws, flights(ws)).as_of(weather(ws), by="origin")
    assert ids(some.check(warn(between("temp", 0, 11)))) == ids(some)
    (run,) = ws.graph.find(Query("run", kind="data.check"))
    assert isinstance(run, Run)
    assert (run.status, run.metrics) == ("done", {"checks": 1.0, "failed": 1.0})


def test_the_report_of_a_check_leads_to_the_datasets_it_read(ws: Workspace) -> None:
    one, two = flights(ws), weather(ws)
    rows(ws, one).as_of(two, by="origin").check(unique("flight"))
    (report,) = ws.graph.find(Query("artifact", kind="report"))
    assert isinstance(report, Artifact)
    assert {one.id, two.id} <= {each.id for each in report.trace().artifacts}


def test_wrong_names_are_refused_at_the_call_with_the_nearest(ws: Workspace) -> None:
    some, other = rows(ws, flights(ws)), weather(ws)
    with pytest.raises(UnknownColumn, match=r"no column 'orgin' in dataset 'flights'.*Did you mean 'origin'"):
        some.as_of(other, by="orgin")
    with pytest.raises(UnknownColumn, match=r"no column 'tmp' in dataset 'weather'.*Did you mean 'temp'"):
        some.as_of(other, by="origin", columns=["tmp"])
    with pytest.raises(UnknownColumn, match=r"no column 'dest' in dataset 'flights'"):
        some.select("dest")
    with pytest.raises(UnknownColumn, match=r"no column 'tmp' in dataset 'flights'"):
        some.check(unique("tmp"))
    with pytest.raises(UnknownColumn, match=r"no column 'lat' in dataset 'landings'.*Did you mean 'late'"):
        some.labelled(landings(ws), "lat")


def test_a_taken_name_asks_for_a_prefix(ws: Workspace) -> None:
    some, other = rows(ws, flights(ws)), weather(ws)
    with pytest.raises(BadInput, match=r"column 'temp' is there already; give as_of a prefix="):
        some.as_of(other, by="origin").as_of(other, by="origin")


def test_a_dataset_without_an_event_time_cannot_look_back(ws: Workspace) -> None:
    planes = datasets.add(ws, "planes", pl.DataFrame({"plane": ["p"], "seats": [100]}), key="plane")
    with pytest.raises(BadInput, match=r"dataset 'planes' has no event time; add it with event_time="):
        rows(ws, flights(ws)).as_of(planes)
    with pytest.raises(BadInput, match=r"dataset 'planes' has no event time to filter by"):
        rows(ws, planes).where(since=hour(0))


@pytest.mark.parametrize("moments", [[], ["2013-02-01", "2013-01-01"], ["2013-01-01", "2013-01-01"]])
def test_split_refuses_moments_out_of_order(ws: Workspace, moments: list[str]) -> None:
    with pytest.raises(BadInput, match="split needs moments in ascending order"):
        rows(ws, flights(ws)).split(time=moments)


def test_times_must_be_times(ws: Workspace) -> None:
    some = rows(ws, flights(ws))
    with pytest.raises(BadInput, match=r"'March' is no time .* write one such as 2013-04-01"):
        some.where(since="March")
    with pytest.raises(BadInput, match=r"has no zone; use datetime"):
        some.split(time=[datetime(2013, 1, 1)])


def test_the_naive_join_is_asked_for_by_name_and_sees_what_was_not_known(ws: Workspace) -> None:
    made = rows(ws, flights(ws))
    assert made.as_of(weather(ws), by="origin").frame()["temp"].to_list()[2] == 11.0
    naive = made.as_of_naive(weather(ws), by="origin")
    assert naive.frame()["temp"].to_list()[2] == 12.0  # reported at hour 2, known at hour 3
    assert naive.digest() != made.as_of(weather(ws), by="origin").digest()


def test_a_join_may_look_up_by_a_column_of_another_name(ws: Workspace) -> None:
    stations = weather(ws)
    renamed = datasets.scan(ws, stations).collect().rename({"origin": "station"})
    other = datasets.add(ws, "stations", renamed, key="report", **CLOCKS)
    made = rows(ws, flights(ws)).as_of(other, by="origin", on="station")
    assert made.columns.keys() == {"flight", "origin", "at", "known", "temp"}
    assert made.frame().equals(rows(ws, flights(ws)).as_of(stations, by="origin").frame())
    with pytest.raises(BadInput, match="by= names 1 columns and on= 2; give one for each"):
        rows(ws, flights(ws)).as_of(other, by="origin", on=["station", "report"])


def test_a_view_is_joined_as_its_sources_are(ws: Workspace) -> None:
    weather(ws)
    within = timedelta(hours=1)
    sources = (
        source("weather", by="origin", columns=["temp"], within=within),
        source("weather", by="origin", columns=["temp"], prefix="any_"),
    )
    view = View("weather at hand", sources)
    made = rows(ws, flights(ws)).features(view)
    by_hand = (
        rows(ws, flights(ws))
        .as_of(weather(ws), by="origin", columns=["temp"], within=within)
        .as_of(weather(ws), by="origin", columns=["temp"], prefix="any_")
    )
    assert made.frame().equals(by_hand.frame())
    assert made.digest() == by_hand.digest()
    assert [each.name for each in made.inputs] == ["flights", "weather"]
    features.define(ws, view)
    assert rows(ws, flights(ws)).features("weather at hand").digest() == made.digest()


def test_a_join_may_look_up_by_what_another_one_added(ws: Workspace) -> None:
    runways = pl.DataFrame({"id": [1], "temp": [10.0], "runway": ["4L"], "at": [hour(-9)], "known": [hour(-9)]})
    other = datasets.add(ws, "runways", runways, key="id", **CLOCKS)
    made = rows(ws, flights(ws)).as_of(weather(ws), by="origin").as_of(other, by="temp")
    assert made.frame().filter(pl.col("temp") == 10.0)["runway"].unique().to_list() == ["4L"]
    assert made.frame().filter(pl.col("temp") != 10.0)["runway"].unique().to_list() == [None]


def test_a_plan_of_joins_made_before_has_the_same_key(ws: Workspace) -> None:
    step = rows(ws, flights(ws)).as_of(weather(ws), by="origin").steps[0]
    assert list(step) == ["step", "dataset", "name", "by", "within_s", "columns", "prefix"]
