"""A contract lets good rows in, keeps bad ones with their reasons, and says what a version breaks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.core.checks import between, condition, matches, not_null, one_of, references, unique, warn
from tidemill.core.errors import BadInput, Conflict, NotFound, UnknownColumn, WrongFormat, WrongType
from tidemill.core.tables import Tables
from tidemill.core.types import Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.quality import contract as data
from tidemill.data.quality import contracts, keeping
from tidemill.data.quality.contracts import Contract, Freshness
from tidemill.data.versioning import branches

TEMP = Contract(checks=(between("temp", -30, 120), not_null("temp")))


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    workspace = open_workspace(tmp_path / "w.mill")
    yield workspace
    workspace.close()


def rows(*pairs: tuple[str, Any]) -> pl.DataFrame:
    return pl.DataFrame({"id": [key for key, _ in pairs], "temp": [value for _, value in pairs]})


def imported(ws: Workspace, name: str, frame: pl.DataFrame) -> tuple[Any, Any]:
    good, kept = contracts.sieve(ws, name, frame, key="id")
    return (datasets.add(ws, name, good, key="id") if good.height else None), kept


# ------------------------------------------------------------------------------------------------------ the record

LINES = [
    "temp type Float64",
    "id unique",
    "carrier,flight,day unique",
    "temp not_null",
    "warn temp between -30 120.5",
    'carrier one_of AA UA "1" "a b" 7',
    'carrier matches ^[A-Z0-9]{2}$ "x"',
    "origin references airports.faa",
    "condition arrives >= leaves AND note = 'a b'",
    '"my column" not_null',
    "day between 2013-01-01 2013-12-31",
    "time fresh 2d",
]


def test_rules_that_a_person_typed_come_back_as_they_were() -> None:
    found = data.rules(LINES)
    assert sorted(found.rules) == sorted(LINES)
    assert data.rules(found.rules) == found


def test_a_contract_comes_back_from_its_json_which_begins_with_the_format() -> None:
    found = data.rules(LINES)
    text = json.dumps(data.to_json(found))
    assert text.startswith('{"format": 1')
    assert data.read(text) == found


def test_a_file_of_rules_may_hold_remarks() -> None:
    assert data.read("# temperatures\n\ntemp not_null\n").checks == (not_null("temp"),)


@pytest.mark.parametrize("word", ["01", "1", "true", "null", "a b", 'say "x"', "", "AA", "2013-01-01"])
def test_a_text_is_no_number_after_it_was_written_down(word: str) -> None:
    found = Contract(checks=(one_of("x", word),))
    assert data.rules(found.rules).checks[0].args == (word,)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("temp", "rule 'temp' cannot be read; write column, rule and arguments"),
        ("temp betwen 1 2", "no kind 'betwen'; known are type, fresh, unique, not_null"),
        ("temp between 1", "takes 2"),
        ("temp type Float", "column 'temp' has type 'Float'; allowed are .*Did you mean 'Float"),
        ("time fresh soon", "'soon' is no time span; write a number and one of s, m, h, d, w, such as 2d"),
        ("time fresh 0d", "freshness of 0 s; allowed: more than 0"),
        ("condition temp >", "condition 'temp >': unable to parse"),
        ("origin references airports", "takes 2"),
    ],
)
def test_a_rule_that_is_none_says_why(line: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        data.rules([line])


def test_json_of_a_newer_format_or_with_unknown_keys_is_refused() -> None:
    with pytest.raises(WrongFormat, match="contract format 2, this tidemill reads 1"):
        data.from_json({"format": 2})
    with pytest.raises(
        BadInput, match=r"a contract has no 'check'; it has types, checks, freshness\. Did you mean 'check"
    ):
        data.from_json({"format": 1, "check": []})
    with pytest.raises(BadInput, match="no contract: "):
        data.read("{")


# ------------------------------------------------------------------------------------------------------ set and get


def test_a_contract_is_known_by_the_event_that_set_it(ws: Workspace) -> None:
    assert contracts.get(ws, "weather") is None
    first = contracts.set_contract(ws, "weather", TEMP)
    assert contracts.get(ws, "weather") == first
    assert (first.checks, first.by, first.seq > 0) == (TEMP.checks, ws.settings.who, True)
    assert contracts.set_contract(ws, "weather", TEMP).seq == first.seq
    second = contracts.set_contract(ws, "weather", Contract(checks=(not_null("temp"),)))
    assert [each.seq for each in contracts.history(ws, "weather")] == [second.seq, first.seq]
    contracts.drop(ws, "weather")
    assert contracts.get(ws, "weather") is None
    assert ws.graph.verify() == []


def test_of_two_people_who_change_a_contract_the_second_is_told(ws: Workspace) -> None:
    first = contracts.set_contract(ws, "weather", TEMP, expect=0)
    contracts.set_contract(ws, "weather", Contract(checks=(not_null("temp"),)), expect=first.seq)
    with pytest.raises(Conflict):
        contracts.set_contract(ws, "weather", Contract(checks=(unique("id"),)), expect=first.seq)


def test_a_contract_names_columns_that_the_dataset_has(ws: Workspace) -> None:
    datasets.add(ws, "weather", rows(("a", 1.0)), key="id")
    with pytest.raises(UnknownColumn, match=r"no column 'tmp' in dataset 'weather'; .*Did you mean 'temp'"):
        contracts.set_contract(ws, "weather", Contract(checks=(not_null("tmp"),)))


def test_a_rule_that_is_not_for_its_column_is_refused_when_it_is_set(ws: Workspace) -> None:
    datasets.add(ws, "weather", rows(("a", 1.0)), key="id")
    with pytest.raises(WrongType, match=r"column 'temp' is Float64; matches\('x',\) is not for it"):
        contracts.set_contract(ws, "weather", Contract(checks=(matches("temp", "x"),)))
    with pytest.raises(WrongType, match="column 'temp' of dataset 'weather' is Float64; how fresh rows are is told by"):
        contracts.set_contract(ws, "weather", Contract(freshness=Freshness("temp", 60)))
    assert contracts.get(ws, "weather") is None


def test_freshness_of_a_column_without_times_stops_an_import(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", Contract(freshness=Freshness("temp", 60)))
    with pytest.raises(WrongType, match="column 'temp' of the rows for dataset 'weather' is Float64; how fresh"):
        contracts.sieve(ws, "weather", rows(("a", 1.0)), key="id")


# ------------------------------------------------------------------------------------------------------ the sieve


def test_without_a_contract_everything_goes_through(ws: Workspace) -> None:
    frame = rows(("a", -99.0))
    good, kept = contracts.sieve(ws, "weather", frame, key="id")
    assert good is frame
    assert kept is None


def test_bad_rows_are_in_quarantine_with_all_their_reasons(ws: Workspace) -> None:
    wanted = contracts.set_contract(ws, "weather", Contract(checks=(*TEMP.checks, matches("id", "^[a-z]$"))))
    version, kept = imported(ws, "weather", rows(("a", 1.0), ("b", -99.0), ("c", None), ("D", 200.0)))
    assert version.rows == 1
    assert (kept.rows, kept.contract) == (3, wanted.seq)
    assert kept.reasons == {"temp between -30 120": 2, "temp not_null": 1, "id matches ^[a-z]$": 1}
    there = contracts.quarantined(ws, "weather").sort("id")
    assert there["id"].to_list() == ["D", "b", "c"]
    assert there["temp"].to_list() == [200.0, -99.0, None]
    assert there["__reasons"].to_list() == [
        ["temp between -30 120", "id matches ^[a-z]$"],
        ["temp between -30 120"],
        ["temp not_null"],
    ]
    assert set(there["__contract"]) == {wanted.seq}
    (run,) = ws.graph.find(Query("run", kind="data.sieve"))
    assert set(there["__run"]) == {run.id} == {kept.run}
    assert run.metrics == {"quarantined": 3.0, "warned": 0.0}  # type: ignore[union-attr]


def test_rows_that_all_keep_the_contract_leave_no_run(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", TEMP)
    good, kept = contracts.sieve(ws, "weather", rows(("a", 1.0)), key="id")
    assert (good.height, kept) == (1, None)
    assert ws.graph.find(Query("run", kind="data.sieve")) == []
    assert contracts.quarantined(ws, "weather").height == 0


def test_a_warning_lets_rows_in_and_is_counted(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", Contract(checks=(warn(between("temp", 0, 10)),)))
    version, kept = imported(ws, "weather", rows(("a", 1.0), ("b", 99.0)))
    assert version.rows == 2
    assert (kept.rows, kept.warned, kept.text) == (0, {"temp between 0 10": 1}, "warned: temp between 0 10 (1)")


def test_an_import_that_is_run_again_quarantines_no_row_twice(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", TEMP)
    frame = rows(("a", 1.0), ("b", -99.0), ("b", -99.0))
    first, _ = imported(ws, "weather", frame)
    again, kept = imported(ws, "weather", frame)
    assert again.id == first.id
    assert kept.rows == 2
    assert contracts.quarantined(ws, "weather").height == 2


def test_values_that_are_not_of_their_type_are_a_reason_and_kept_as_they_came(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", Contract({"temp": "Float64", "day": "Date", "n": "Int64"}))
    frame = pl.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "temp": ["1.5", "n/a", None, "2"],
            "day": ["2013-01-01", "2013-01-02", "2013-01-03", "yesterday"],
            "n": [1.0, 2.0, 2.5, None],
        }
    )
    good, kept = contracts.sieve(ws, "weather", frame, key="id")
    assert good.rows() == [("a", 1.5, date(2013, 1, 1), 1)]
    assert kept is not None
    assert kept.reasons == {"temp type Float64": 1, "day type Date": 1, "n type Int64": 1}
    there = contracts.quarantined(ws, "weather").sort("id")
    assert there.select("temp", "day", "n").rows() == [
        ("n/a", "2013-01-02", 2.0),
        (None, "2013-01-03", 2.5),
        ("2", "yesterday", None),
    ]


def test_a_column_that_cannot_be_what_the_contract_says_stops_the_import(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", Contract({"temp": "Float64"}))
    with pytest.raises(
        WrongType, match="column 'temp' of the rows for dataset 'weather' is Boolean, its contract says"
    ):
        contracts.sieve(ws, "weather", rows(("a", True)), key="id")
    with pytest.raises(UnknownColumn, match="no column 'temp' in the rows for dataset 'weather'"):
        contracts.sieve(ws, "weather", pl.DataFrame({"id": ["a"]}), key="id")


def test_rows_of_another_shape_go_into_the_same_quarantine(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", Contract(checks=(matches("id", "^[a-z]$"),)))
    imported(ws, "weather", pl.DataFrame({"id": ["A"], "temp": [1.5], "gone": [date(2013, 1, 1)]}))
    imported(ws, "weather", pl.DataFrame({"id": ["B"], "temp": ["cold"], "new": [[1, 2]]}))
    imported(ws, "weather", pl.DataFrame({"id": ["C"], "temp": [[1]], "new": [[3]], "gone": [None]}))
    there = contracts.quarantined(ws, "weather").sort("id")
    assert there["temp"].to_list() == ["1.5", "cold", '{"temp":[1]}']
    assert there["gone"].to_list() == [date(2013, 1, 1), None, None] or there["gone"].to_list()[0] == "2013-01-01"
    assert there["new"].to_list() == [None, [1, 2], [3]]


def test_imports_of_two_machines_lose_no_row_of_the_quarantine(tmp_path: Path) -> None:
    """Each workspace has locks of its own, as two machines have; the tables and the graph are the same."""
    one = open_workspace(tmp_path / "w.mill")
    other = replace(one, root=tmp_path / "other", tables=Tables(one.tables.root))
    contracts.set_contract(one, "weather", Contract(checks=(matches("id", "^[a-z]$"),)))

    def bad(ws: Workspace, n: int) -> None:
        frame = pl.DataFrame({"id": [f"{n}"], f"extra{n % 4}": [n]})  # a new column at times: the table is written anew
        contracts.sieve(ws, "weather", frame, key="id")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(bad, [one, other] * 8, range(16)))
    assert sorted(contracts.quarantined(one, "weather")["id"].cast(pl.Int64)) == list(range(16))
    one.close()


def test_unique_columns_are_compared_with_rows_that_are_there(ws: Workspace) -> None:
    contracts.set_contract(ws, "people", Contract(checks=(unique("mail"), unique("id"))))
    first = pl.DataFrame({"id": [1, 2], "mail": ["a@x", "b@x"]})
    imported(ws, "people", first)
    again, kept = imported(ws, "people", first)  # the same rows: not their own duplicates
    assert (again.version, kept) == (1, None)
    version, kept = imported(ws, "people", pl.DataFrame({"id": [3, 4], "mail": ["b@x", None]}))
    assert (version.rows, kept.reasons) == (3, {"mail unique": 1})
    good, kept = contracts.sieve(ws, "people", pl.DataFrame({"id": [9], "mail": ["a@x"]}), key="id", append=False)
    assert (good.height, kept) == (1, None)


def test_a_row_that_is_not_known_yet_takes_its_value_all_the_same(ws: Workspace) -> None:
    contracts.set_contract(ws, "people", Contract(checks=(unique("mail"),)))
    first = pl.DataFrame({"id": [1], "mail": ["a@x"], "known": [datetime(2013, 5, 1, tzinfo=UTC)]})
    datasets.add(ws, "people", first, key="id", known_time="known")
    before = ws.at(datetime(2013, 1, 1, tzinfo=UTC))
    good, _ = contracts.sieve(before, "people", first.with_columns(id=pl.lit(2)), key="id")
    assert good.height == 0


def test_columns_without_a_value_and_of_smaller_types_are_judged_as_the_datasets_are(ws: Workspace) -> None:
    wanted = (unique("mail"), unique("n"), matches("mail", "@"), one_of("mail", "a@x"), between("n", 0, 9))
    contracts.set_contract(ws, "people", Contract(checks=wanted))
    imported(ws, "people", pl.DataFrame({"id": [1], "mail": ["a@x"], "n": [7]}))
    frame = pl.DataFrame({"id": [2, 3], "mail": [None, None], "n": pl.Series([7, 8], dtype=pl.Int8)})
    good, kept = contracts.sieve(ws, "people", frame, key="id")
    assert good["id"].to_list() == [3]
    assert kept is not None
    assert kept.reasons == {"n unique": 1}


def test_a_foreign_key_is_looked_up_in_the_other_dataset(ws: Workspace) -> None:
    datasets.add(ws, "airports", pl.DataFrame({"faa": ["JFK", "LGA"]}), key="faa")
    contracts.set_contract(ws, "flights", Contract(checks=(references("origin", "airports", "faa"),)))
    good, kept = contracts.sieve(ws, "flights", pl.DataFrame({"id": [1, 2], "origin": ["JFK", "XXX"]}), key="id")
    assert good["id"].to_list() == [1]
    assert kept is not None
    assert kept.reasons == {"origin references airports.faa": 1}


def test_a_dataset_may_reference_itself_within_one_import(ws: Workspace) -> None:
    contracts.set_contract(ws, "staff", Contract(checks=(references("boss", "staff", "id"),)))
    good, _ = contracts.sieve(ws, "staff", pl.DataFrame({"id": [1, 2, 3], "boss": [None, 1, 9]}), key="id")
    assert good["id"].to_list() == [1, 2]


def test_stale_rows_are_refused_before_anything_is_written(ws: Workspace) -> None:
    now = ws.at(datetime(2013, 1, 10, tzinfo=UTC))
    contracts.set_contract(ws, "weather", Contract(checks=TEMP.checks, freshness=Freshness("at", 86_400)))
    old = rows(("a", 1.0), ("b", -99.0)).with_columns(at=datetime(2013, 1, 7, tzinfo=UTC))
    with pytest.raises(
        BadInput, match=r"at fresh 1d: the newest value of dataset 'weather' must be at most 1 days old; .*3 days ago"
    ):
        contracts.sieve(now, "weather", old, key="id")
    assert contracts.quarantined(ws, "weather").height == 0
    good, _ = contracts.sieve(now, "weather", old.with_columns(at=datetime(2013, 1, 9, 1, tzinfo=UTC)), key="id")
    assert good.height == 1


def test_old_rows_are_no_matter_where_newer_ones_are_there(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", Contract(freshness=Freshness("at", 86_400)))
    imported(ws, "weather", rows(("a", 1.0)).with_columns(at=datetime.now(UTC)))
    late = rows(("b", 1.0)).with_columns(at=datetime.now(UTC) - timedelta(days=9))
    assert contracts.sieve(ws, "weather", late, key="id")[0].height == 1


def test_a_stale_import_only_warns_where_the_contract_says_so(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", Contract(freshness=Freshness("day", 86_400, "warn")))
    good, kept = contracts.sieve(ws, "weather", rows(("a", 1.0)).with_columns(day=date(2013, 1, 1)), key="id")
    assert good.height == 1
    assert kept is not None
    assert list(kept.warned.values()) == [1]


def test_batches_know_the_unique_values_of_those_before(ws: Workspace) -> None:
    wanted = contracts.set_contract(ws, "people", Contract(checks=(unique("mail"), unique("id", "mail"))))
    with contracts.sifting(ws, "people", wanted, key="id") as one:
        first = one.sift(pl.DataFrame({"id": [1, 2, 3], "mail": ["a", "b", None]}))
        second = one.sift(pl.DataFrame({"id": [4, 5, 6], "mail": ["c", "a", None]}))
        kept = one.finish()
    assert first["id"].to_list() == [1, 2, 3]
    assert second["id"].to_list() == [4, 6]
    assert kept is not None
    assert kept.reasons == {"mail unique": 1}
    assert contracts.quarantined(ws, "people")["id"].to_list() == [5]


def test_an_import_that_fails_between_batches_leaves_a_failed_run(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.data.quality.sieve.HELD", 1)
    wanted = contracts.set_contract(ws, "weather", TEMP)
    with (
        pytest.raises(UnknownColumn, match="no column 'temp'"),
        contracts.sifting(ws, "weather", wanted, key="id") as one,
    ):
        list(map(one.sift, [rows(("a", -99.0)), pl.DataFrame({"id": ["b"]})]))
    (run,) = ws.graph.find(Query("run", kind="data.sieve"))
    assert run.status == "failed"  # type: ignore[union-attr]
    assert contracts.quarantined(ws, "weather")["__run"].to_list() == [run.id]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.one_of(st.none(), st.integers(-5, 15)), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=3),
)
def test_good_and_quarantined_rows_are_all_rows_however_they_are_cut(
    tmp_path_factory: pytest.TempPathFactory, values: list[int | None], cuts: list[int]
) -> None:
    ws = open_workspace(tmp_path_factory.mktemp("w") / "w.mill")
    wanted = contracts.set_contract(ws, "n", Contract(checks=(between("x", 0, 10), not_null("x"))))
    frame = pl.DataFrame({"id": range(len(values)), "x": pl.Series(values, dtype=pl.Int64)})
    ends = sorted({0, *(min(cut, len(values)) for cut in cuts), len(values)})
    with contracts.sifting(ws, "n", wanted, key="id") as one:
        good = [one.sift(frame[start:end]) for start, end in itertools.pairwise(ends)]
        one.finish()
    expected = [n for n, value in enumerate(values) if value is not None and 0 <= value <= 10]
    assert [key for part in good for key in part["id"]] == expected
    there = contracts.quarantined(ws, "n")
    kept = sorted(there["id"]) if "id" in there.columns else []
    assert sorted(expected + kept) == list(range(len(values)))
    ws.close()


# ------------------------------------------------------------------------------------------------------ out again


def test_mended_rows_come_back_through_the_contract(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", TEMP)
    imported(ws, "weather", rows(("a", 1.0), ("b", -99.0), ("c", None)))
    with pytest.raises(BadInput, match=r"1 row for dataset 'weather' still fails, such as b: temp between"):
        contracts.release(ws, "weather", ["b"], rows(("b", -50.0)))
    assert contracts.quarantined(ws, "weather").height == 2
    version = contracts.release(ws, "weather", ["b"], rows(("b", 9.0)))
    assert sorted(datasets.scan(ws, version).collect().rows()) == [("a", 1.0), ("b", 9.0)]
    assert contracts.quarantined(ws, "weather")["id"].to_list() == ["c"]
    (event,) = ws.graph.events("quarantine/weather", kind="released")
    assert (event.body["version"], event.body["mended"]) == (version.id, True)


def test_rows_come_back_as_they_are_once_the_contract_is_eased(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", TEMP)
    imported(ws, "weather", rows(("a", 1.0), ("b", -99.0)))
    with pytest.raises(BadInput, match="still fail"):
        contracts.release(ws, "weather", ["b"])
    contracts.set_contract(ws, "weather", Contract(checks=(between("temp", -100, 120),)))
    there = contracts.quarantined(ws, "weather")
    version = contracts.release(ws, "weather", there["__id"].to_list())
    assert version.rows == 2
    assert contracts.quarantined(ws, "weather").height == 0


def test_a_release_that_was_killed_before_its_end_is_done_again(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", TEMP)
    imported(ws, "weather", rows(("a", 1.0), ("b", -99.0)))
    added = datasets.add(ws, "weather", rows(("b", 9.0)), key="id")  # what it had done when it was killed
    assert contracts.release(ws, "weather", ["b"], rows(("b", 9.0))).id == added.id
    assert contracts.quarantined(ws, "weather").height == 0


def test_rows_that_are_discarded_leave_who_and_why(ws: Workspace) -> None:
    contracts.set_contract(ws, "weather", TEMP)
    imported(ws, "weather", rows(("a", 1.0), ("b", -99.0)))
    with pytest.raises(BadInput, match="no reason to discard 1 rows of dataset 'weather'"):
        contracts.discard(ws, "weather", ["b"], reason=" ")
    with pytest.raises(NotFound, match=r"no rows \['x'\] in quarantine of dataset 'weather'; it has 1"):
        contracts.discard(ws, "weather", ["x"], reason="broken sensor")
    assert contracts.discard(ws, "weather", ["b"], reason="broken sensor") == 1
    (event,) = ws.graph.events("quarantine/weather", kind="discarded")
    assert (event.body["reason"], event.actor) == ("broken sensor", ws.settings.who)
    assert contracts.quarantined(ws, "weather").height == 0


# ------------------------------------------------------------------------------------------------------ a version


def test_a_version_is_judged_by_a_run_with_a_report(ws: Workspace) -> None:
    version = datasets.add(ws, "weather", rows(("a", 1.0), ("b", -99.0), ("c", None)), key="id")
    wanted = contracts.set_contract(
        ws, "weather", Contract({"temp": "Float64"}, (*TEMP.checks, warn(one_of("id", "a", "b")), unique("id")))
    )
    report = contracts.evaluate(ws, version)
    assert (report.ok, report.contract) == (False, wanted.seq)
    assert [(each.rule, each.rows, each.keys) for each in report.failed] == [
        ("temp between -30 120", 1, ("b",)),
        ("temp not_null", 1, ("c",)),
        ("id one_of a b", 1, ("c",)),
    ]
    assert len(report.results) == 5
    kept = json.loads(ws.store.get(report.artifact.digest))
    assert (kept["format"], kept["contract"], len(kept["results"])) == (1, wanted.seq, 5)
    assert version.id in {each.id for each in ws.graph.trail(report.artifact.id, "down").artifacts}


def test_a_warning_alone_does_not_make_a_version_bad(ws: Workspace) -> None:
    version = datasets.add(ws, "weather", rows(("a", 99.0)), key="id")
    contracts.set_contract(
        ws, "weather", Contract({"temp": "Float32"}, (warn(between("temp", 0, 1)), condition("temp < 100")))
    )
    assert [each.rule for each in contracts.evaluate(ws, version).failed] == [
        "temp type Float32",
        "temp between 0 1",
    ]
    contracts.set_contract(ws, "weather", Contract(checks=(warn(between("temp", 0, 1)),)))
    assert contracts.evaluate(ws, version).ok


def test_an_old_version_is_stale(ws: Workspace) -> None:
    frame = rows(("a", 1.0)).with_columns(at=datetime(2013, 1, 1, tzinfo=UTC))
    version = datasets.add(ws, "weather", frame, key="id", event_time="at")
    contracts.set_contract(ws, "weather", Contract(freshness=Freshness("at", 86_400)))
    (result,) = contracts.evaluate(ws, version).failed
    assert result.rule.startswith("at fresh 1d: the newest value of dataset 'weather' must be at most 1 days old")
    assert contracts.evaluate(ws.at(datetime(2013, 1, 1, 12, tzinfo=UTC)), version).ok


def test_a_dataset_without_a_contract_cannot_be_judged(ws: Workspace) -> None:
    version = datasets.add(ws, "weather", rows(("a", 1.0)), key="id")
    with pytest.raises(NotFound, match="dataset 'weather' has no contract; set one"):
        contracts.evaluate(ws, version)


def test_all_rows_that_fail_a_rule_are_named_on_request(ws: Workspace) -> None:
    version = datasets.add(ws, "weather", rows(*((f"k{n:03d}", 99.0) for n in range(50))), key="id")
    assert contracts.failing_keys(ws, version, between("temp", 0, 1)) == [f"k{n:03d}" for n in range(50)]
    assert contracts.failing_keys(ws, version, between("temp", 0, 99)) == []


def test_a_suggested_contract_is_kept_by_its_version(ws: Workspace) -> None:
    frame = pl.DataFrame(
        {
            "id": range(200),
            "temp": [n / 6 for n in range(199)] + [None],
            "carrier": [f"{n % 20:02d}" for n in range(200)],
            "tail": [f"N{n}" for n in range(200)],
            "at": [datetime(2013, 1, 1, tzinfo=UTC)] * 200,
        }
    )
    version = datasets.add(ws, "flights", frame, key="id", event_time="at")
    found = contracts.suggest(ws, version)
    assert found.types["at"] == "Datetime[UTC]"
    assert set(found.checks) == {
        *(not_null(column) for column in ("id", "carrier", "tail", "at")),
        unique("id"),
        unique("tail"),
        one_of("carrier", *(f"{n:02d}" for n in range(20))),
        warn(between("temp", 0, 33)),
    }
    contracts.set_contract(ws, "flights", found)
    assert contracts.evaluate(ws, version).failed == []


def test_a_change_that_breaks_the_contract_is_refused_whole(ws: Workspace) -> None:
    rows = pl.DataFrame({"id": [1, 2, 3], "age": [30, 40, 50]})
    datasets.add(ws, "people", rows, key="id")
    contracts.set_contract(ws, "people", data.rules(["age between 0 130"]))
    wrong = pl.DataFrame({"id": [1, 2], "age": [31, 999]})
    with pytest.raises(
        BadInput, match=r"1 rows of dataset 'people' would break its contract: age between 0 130 \(1 rows\)"
    ):
        keeping.update(ws, "people", wrong)
    assert datasets.get(ws, "people").version == 1
    branches.branch(ws, "people", "trial")
    datasets.update(ws, "people", wrong, branch="trial")  # a program may, past the contract
    keeping.update(ws, "people", pl.DataFrame({"id": [3], "age": [51]}))
    with pytest.raises(BadInput, match="such as 2"):
        keeping.merge(ws, "people", "trial")
    assert datasets.scan(ws, datasets.get(ws, "people")).collect().sort("id")["age"].to_list() == [30, 40, 51]
    datasets.update(ws, "people", pl.DataFrame({"id": [2], "age": [42]}), branch="trial")
    keeping.merge(ws, "people", "trial")
    keeping.add_column(ws, "people", pl.DataFrame({"id": [1], "city": ["Brest"]}))
    assert datasets.scan(ws, datasets.get(ws, "people")).collect().sort("id")["age"].to_list() == [31, 42, 51]


def test_reasons_results_and_the_contract_say_a_rule_in_one_wording(ws: Workspace) -> None:
    from tidemill.data.quality import quarantine

    lines = ["temp type Float64", "temp between 0 10", "id one_of a b", "id,temp unique", "condition temp > 0"]
    contracts.set_contract(ws, "weather", data.rules(lines))
    frame = rows(("a", 1.0), ("b", 11.0), ("c", -1.0))
    version, kept = imported(ws, "weather", frame)
    assert set(kept.reasons) == {"temp between 0 10", "id one_of a b", "condition temp > 0"}
    assert [each.rule for each in contracts.evaluate(ws, version).results] == lines
    waiting = quarantine.rows_of(ws, "weather")
    assert quarantine.reading_order(waiting, "id")[:3] == ["id", "__reasons", "temp"]


def test_older_reasons_name_their_columns_too() -> None:
    from tidemill.data.quality.quarantine import _speaks_of

    for reason, columns in (("temp: between [-30, 120]", ["temp"]), ("carrier,day unique", ["carrier", "day"]),
                            ('"air temp" not_null', ["air temp"]), ("condition a < b", ["a", "b"])):  # fmt: skip
        assert _speaks_of(reason) == columns
