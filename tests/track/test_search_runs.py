"""Search of runs on both databases: against MLflow's own, and against plain Python where the language is ours."""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import search_samples as samples
from search_samples import Sample
from search_table import BOTH, NEITHER, OURS

from tidemill.core.errors import BadInput
from tidemill.core.graphs import schema
from tidemill.core.graphs.committing import reading
from tidemill.core.ids import new_id
from tidemill.core.types import Artifact, Batch, Edge, Point, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.track import experiments, tracking
from tidemill.track.searching.evaluating import matches, ordered
from tidemill.track.searching.experiments import search_experiments
from tidemill.track.searching.found import read
from tidemill.track.searching.grammar import parse
from tidemill.track.searching.order import parse_orders
from tidemill.track.searching.ordering import terms_of
from tidemill.track.searching.runs import search
from tidemill.track.searching.statements import Scope, page
from tidemill.track.searching.vocabulary import MODELS, VERSIONS, Field, Vocabulary

HERE = Path(__file__).parent
MLFLOW = HERE.parents[1] / ".venvs" / "mlflow" / "bin" / "python"
AT = datetime(1970, 1, 1, tzinfo=UTC)
GRAPH = {"RUNNING": "running", "FINISHED": "done", "FAILED": "failed", "KILLED": "cancelled"}
Predicate = Callable[[Sample], bool]


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    if request.param == "sqlite":
        opened = open_workspace(tmp_path / "w.mill")
    else:
        new_database: Callable[[], str] = request.getfixturevalue("new_database")
        opened = open_workspace(new_database(), store=str(tmp_path / "objects"))
    yield opened
    opened.close()


def time_of(ms: int) -> datetime:
    return AT + timedelta(milliseconds=ms)


def keep(ws: Workspace, runs: list[Sample], experiment: int) -> None:
    """The samples as runs of the experiment, with what they read."""
    written: list[Run] = []
    points: dict[str, list[Point]] = {}
    edges: list[Edge] = []
    artifacts: dict[tuple[str, str], Artifact] = {}
    for each in runs:
        own = {"tidemill.experiment": str(experiment)} | ({"tidemill.stage": each["stage"]} if "stage" in each else {})
        written.append(
            Run(
                each["run_id"],
                "track.run",
                each["name"],
                GRAPH[each["status"]],  # type: ignore[arg-type]  # its values are statuses
                time_of(each["start_ms"]),
                None if each["end_ms"] is None else time_of(each["end_ms"]),
                params=each["params"],
                tags={**each["tags"], **own},
                actor=each["owner"],
            )
        )
        points[each["run_id"]] = [Point(key, float(value), 0, AT) for key, value in each["metrics"].items()]
        for name, digest, context in each["datasets"]:
            if (name, digest) not in artifacts:
                artifacts[name, digest] = ws.graph.put(Artifact(new_id(), "dataset", name, 0, digest, AT))
            edges.append(Edge(each["run_id"], artifacts[name, digest].id, "in", context))
    ws.graph.write(Batch(written, edges=edges))
    with ws.graph.transaction() as now:  # type: ignore[attr-defined]  # both graphs are in a database
        now.log(points)


def ids(ws: Workspace, experiment: int, text: str = "", *order_by: str, **more: Any) -> list[str]:
    return [each.run_id for each in search(ws, [experiment], text, order_by=order_by, **more).runs]


# ---------------------------------------------------------------------------------------- against MLflow itself


def needs_mlflow() -> None:
    if not MLFLOW.exists():
        pytest.skip("no .venvs/mlflow; make it as CONTRIBUTING.md says")


def of_mlflow(given: list[Sample], queries: list[tuple[str, list[str]]], kind: str = "runs") -> list[str]:
    """What MLflow's own search gives for each query: places of samples, or "refused: ..."."""
    done = subprocess.run(
        [MLFLOW, HERE / "mlflow_searching.py"],
        input=json.dumps({"kind": kind, "samples": given, "queries": queries}),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    theirs = done.stdout.splitlines()
    assert len(theirs) == len(queries)
    return theirs


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
def test_filters_and_orders_give_what_mlflow_gives(ws: Workspace, count: int) -> None:
    needs_mlflow()
    chance = random.Random(count)
    runs = samples.runs(chance, 40)
    queries = [samples.query(chance, runs) for _ in range(count)]
    experiment = experiments.create(ws, "drawn").id
    keep(ws, runs, experiment)
    theirs = of_mlflow(runs, queries)
    wrong, telling = [], 0
    for (text, order_by), told in zip(queries, theirs, strict=True):
        assert not told.startswith("refused"), (text, order_by, told)
        want = [runs[int(place)]["run_id"] for place in told.split()]
        got = ids(ws, experiment, text, *order_by, fields=())
        if got != want:
            wrong.append((text, order_by, want, got))
        telling += 0 < len(want) < len(runs)
    assert not wrong, (len(wrong), wrong[0])
    assert telling > count / 3  # so many tell runs apart


def test_what_mlflow_takes_is_what_the_table_says() -> None:
    needs_mlflow()
    theirs = of_mlflow(samples.runs(random.Random(1), 1), [(text, []) for text in (*BOTH, *OURS, *NEITHER)])
    taken = {
        text for text, told in zip((*BOTH, *OURS, *NEITHER), theirs, strict=True) if not told.startswith("refused")
    }
    assert taken == set(BOTH)


@pytest.mark.parametrize(("kind", "vocabulary"), [("models", MODELS), ("versions", VERSIONS)])
def test_models_and_versions_in_memory_match_as_in_mlflow(kind: str, vocabulary: Vocabulary) -> None:
    needs_mlflow()
    chance = random.Random(9)
    rows = samples.registered(chance, 30)
    queries = [samples.registered_query(chance, rows, kind) for _ in range(500)]
    for (text, order_by), told in zip(queries, of_mlflow(rows, queries, kind), strict=True):
        assert not told.startswith("refused"), (text, order_by, told)
        asked, orders = parse(text, vocabulary), parse_orders(order_by, vocabulary)
        found = ordered([row for row in rows if matches(asked, partial(value_of, row))], orders, value_of)
        assert [rows.index(row) for row in found] == [int(place) for place in told.split()], (text, order_by)


def value_of(row: Sample, field: Field) -> Any:
    return row["tags"].get(field.key) if field.entity == "tag" else row[field.key]


# ---------------------------------------------------------------------------------------- against plain Python


def like(pattern: str, fold: bool) -> Callable[[str], bool]:
    made = re.compile(re.escape(pattern).replace("%", ".*").replace("_", "."), re.DOTALL | (re.IGNORECASE * fold))
    return lambda has: made.fullmatch(has) is not None


def comparison(chance: random.Random, runs: list[Sample]) -> tuple[str, Predicate]:
    """A comparison that MLflow does not have, or one that it has, and what it means."""
    run = chance.choice(runs)
    match chance.randrange(6):
        case 0:
            key = chance.choice(samples.METRICS)
            numbers = [value for value in samples.NUMBERS if math.isfinite(value)]
            some = chance.sample(numbers, 3)
            word = chance.choice(("IN", "NOT IN"))
            return (
                f"metrics.`{key}` {word} ({', '.join(map(repr, some))})",
                lambda has: key in has["metrics"] and (float(has["metrics"][key]) in some) == (word == "IN"),
            )
        case 1:
            table, key = chance.choice([("metrics", "loss"), ("params", "lr"), ("tags", "team")])
            word = chance.choice(("IS NULL", "IS NOT NULL"))
            return f"{table}.{key} {word}", lambda has: (key in has[table]) == (word == "IS NOT NULL")
        case 2:
            table, key = chance.choice([("params", "model type"), ("tags", "release")])
            some = chance.sample([each for each in samples.TEXTS if not set(each) & set("'\\")], 3)
            word = chance.choice(("IN", "NOT IN"))
            return (
                f'{table}."{key}" {word} ({", ".join(f"{chr(39)}{each}{chr(39)}" for each in some)})',
                lambda has: key in has[table] and (has[table][key] in some) == (word == "IN"),
            )
        case 3:
            pattern = chance.choice(("r%", "%d", "_e%", "*x%", "[ab]", "%-1", "GREEN%", "%NDER"))
            word = chance.choice(("LIKE", "ILIKE", "NOT LIKE", "not ilike"))
            matching = like(pattern, "ILIKE" in word.upper())
            return f"run_name {word} '{pattern}'", lambda has: matching(has["name"]) != word.upper().startswith("NOT")
        case 4:
            return (
                f"end_time IS {'NOT ' * (yes := chance.random() < 0.5)}NULL",
                lambda has: (has["end_ms"] is not None) == yes,
            )
        case _:
            value = run["start_ms"]
            return f"start_time <= {value}", lambda has: has["start_ms"] <= value


def expression(chance: random.Random, runs: list[Sample], depth: int) -> tuple[str, Predicate]:
    if depth == 0 or chance.random() < 0.25:
        return comparison(chance, runs)
    one_text, one = expression(chance, runs, depth - 1)
    other_text, other = expression(chance, runs, depth - 1)
    match chance.randrange(3):
        case 0:
            return f"NOT ({one_text})", lambda has: not one(has)
        case 1:
            return f"({one_text} OR {other_text})", lambda has: one(has) or other(has)
        case _:
            return f"({one_text}) and ({other_text})", lambda has: one(has) and other(has)


def test_or_not_brackets_lists_and_nulls_mean_what_they_say(ws: Workspace) -> None:
    chance = random.Random(7)
    runs = samples.runs(chance, 60)
    experiment = experiments.create(ws, "drawn").id
    keep(ws, runs, experiment)
    kept = 0
    for _ in range(400):
        text, predicate = expression(chance, runs, 3)
        want = sorted(each["run_id"] for each in runs if predicate(each))
        assert sorted(ids(ws, experiment, text, fields=())) == want, text
        kept += 0 < len(want) < len(runs)
    assert kept > 200  # the filters do tell runs apart


def test_and_binds_more_than_or_and_not_more_than_and(ws: Workspace) -> None:
    experiment = experiments.create(ws, "e").id
    for place, (a, b) in enumerate([("1", "1"), ("1", "0"), ("0", "1"), ("0", "0")]):
        tracking.log(ws, tracking.start(ws, experiment, start_ms=9 - place, name=a + b).run.id, params={"a": a, "b": b})

    def names(text: str) -> list[str]:
        return [each.name for each in search(ws, [experiment], text).runs]

    assert names("params.a = '0' OR params.a = '1' AND params.b = '1'") == ["11", "01", "00"]
    assert names("NOT params.a = '1' AND params.b = '1'") == ["01"]
    assert names("NOT (params.a = '1' AND params.b = '1')") == ["10", "01", "00"]
    assert names("not not params.a = '1'") == ["11", "10"]


# ---------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("few", [2000, 0], ids=["looked up", "read in order"])
def test_pages_are_the_whole_cut_up(ws: Workspace, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.track.searching.statements.FEW", few)
    monkeypatch.setattr("tidemill.track.searching.statements.SHARE", 5 if few else 0)
    chance = random.Random(3)
    runs = samples.runs(chance, 50)
    places = [experiments.create(ws, name).id for name in ("one", "two", "three")]
    for at, place in enumerate(places):
        keep(ws, runs[at::3], place)
    for _ in range(60):
        text, order_by = samples.query(chance, runs)
        among = places[: chance.choice((1, 2, 3))]
        kept = {each["run_id"] for at, each in enumerate(runs) if at % 3 < len(among)}
        whole = search(ws, among, text, order_by=order_by, fields=()).runs
        alone = search(ws, places, text, order_by=order_by, fields=()).runs
        assert whole == tuple(each for each in alone if each.run_id in kept)
        token, seen = None, []
        while True:
            page = search(ws, among, text, order_by=order_by, limit=chance.choice((1, 3, 7)), token=token, fields=())
            seen += page.runs
            token = page.token
            if token is None:
                break
        assert tuple(seen) == whole, (text, order_by)


@pytest.mark.parametrize(
    ("text", "order_by"),
    [
        ("", []),
        ("", ["metrics.a"]),
        ("", ["metrics.a DESC"]),
        ("", ["metrics.none"]),
        ("metrics.b > 0.5 AND params.p != '3'", ["metrics.a"]),
        ("metrics.b > 0.5 OR NOT params.p LIKE '3%'", []),
        ("params.one = 'x'", ["params.p"]),
        ("run_id IN ('00000000000000000000000000000007')", ["run_name"]),
    ],
)
def test_a_page_of_many_runs_costs_what_a_page_of_few_does(
    tmp_path: Path, text: str, order_by: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in hundreds of instructions of SQLite's machine, not in time."""
    monkeypatch.setattr("tidemill.track.searching.statements.FEW", 100)  # fewer than are there
    costs = []
    for count in (500, 5000):
        ws = open_workspace(tmp_path / f"{count}.mill")
        chance = random.Random(1)
        rows: dict[str, list[dict[str, Any]]] = {"tracked": [], "latest": [], "run_params": []}
        for at in range(count):
            key = {"run_id": f"{at:032x}"}
            more = {"experiment": 1, "stage": "active", "status": "done", "name": f"r{at}", "owner": "a"}
            rows["tracked"].append({**key, **more, "start_ms": at, "end_ms": at, "deleted_ms": None})
            rows["run_params"].append({**key, "key": "p", "value": str(at % 10)})
            rows["run_params"] += [{**key, "key": "one", "value": "x"}] if at == 9 else []
            for name in "ab":
                value = {"experiment": 1, "value": chance.random(), "is_nan": 0, "step": 0, "at_ms": 0}
                rows["latest"].append({**key, "key": name, **value})
        with ws.graph.transaction() as now:  # type: ignore[attr-defined]  # it is in a database
            for name, some in rows.items():
                now.link.execute(schema.metadata.tables[name].insert(), some)
        found = search(ws, [1], text, order_by=order_by, limit=20)
        assert len(found.runs) == 20 if "=" not in text and "IN" not in text else found.runs
        ticks = []
        with reading(ws) as link:
            driver: Any = link.connection.driver_connection
            driver.set_progress_handler(lambda: ticks.append(1), 100)  # noqa: B023
            scope = Scope((1,), ("active",))
            read(link, page(scope, parse(text), terms_of(parse_orders(order_by)), None, rows=21, dialect="sqlite"))
            driver.set_progress_handler(None, 0)
        costs.append(len(ticks))
        ws.close()
    assert costs[1] <= costs[0] * 1.25 + 5, costs


def test_a_page_goes_on_where_it_was_whatever_came_meanwhile(ws: Workspace) -> None:
    experiment = experiments.create(ws, "e").id
    for at in range(6):
        tracking.start(ws, experiment, name=f"r{at}", start_ms=1000 + at)
    first = search(ws, [experiment], limit=3)
    tracking.start(ws, experiment, name="newest", start_ms=2000)
    tracking.delete(ws, first.runs[0].run_id)
    second = search(ws, [experiment], limit=3, token=first.token)
    assert [each.name for each in (*first.runs, *second.runs)] == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert second.token is None


def test_a_token_belongs_to_its_search(ws: Workspace) -> None:
    experiment = experiments.create(ws, "e").id
    for at in range(3):
        tracking.start(ws, experiment, name=f"r{at}")
    token = search(ws, [experiment], limit=1).token
    assert token is not None
    tried: list[tuple[dict[str, Any], str]] = [
        ({"order_by": ["run_name"]}, "belongs to another search"),
        ({"view": "all"}, "belongs to another search"),
        ({"token": "!"}, "is none of ours"),
        ({"token": "e30="}, "belongs to another search"),
    ]
    for wrong, said in tried:
        with pytest.raises(BadInput, match=said):
            search(ws, [experiment], **{"token": token, **wrong})


def test_deleted_runs_are_seen_where_asked_for(ws: Workspace) -> None:
    experiment = experiments.create(ws, "e").id
    gone, stays = (tracking.start(ws, experiment, start_ms=at).run.id for at in (1000, 2000))
    for run_id in (gone, stays):
        tracking.log(ws, run_id, metrics=[Point("loss", 1.0, 0, AT)])
    tracking.delete(ws, gone)
    for order_by in ((), ("metrics.loss",), ("params.none",), ("run_name",)):
        assert ids(ws, experiment, "", *order_by) == [stays]
        assert ids(ws, experiment, "", *order_by, view="deleted") == [gone]
        assert sorted(ids(ws, experiment, "", *order_by, view="all")) == sorted([gone, stays])


def test_all_texts_come_back_as_they_were(ws: Workspace) -> None:
    runs = samples.runs(random.Random(2), 30)
    runs[0]["params"] = {"a\nb": '\t"\\\u2028\x7f😀', "empty": ""}
    experiment = experiments.create(ws, "e").id
    keep(ws, runs, experiment)
    found = {each.run_id: each for each in search(ws, [experiment]).runs}
    for each in runs:
        made = found[each["run_id"]]
        assert (made.params, made.tags) == (each["params"], each["tags"])
        assert {key: str(value.value) for key, value in made.metrics.items()} == each["metrics"]
        assert (made.name, made.status, made.owner) == (each["name"], GRAPH[each["status"]], each["owner"])
        assert (made.start_ms, made.end_ms, made.stage) == (each["start_ms"], each["end_ms"], "active")


def test_only_the_fields_asked_for_are_read(ws: Workspace) -> None:
    experiment = experiments.create(ws, "e").id
    run_id = tracking.start(ws, experiment, name="r", tags={"team": "a", "mlflow.user": "ada"}).run.id
    tracking.log(
        ws, run_id, params={"c": "1", "d.e": "2"}, metrics=[Point("loss", 0.5, 3, AT), Point("nan", math.nan, 0, AT)]
    )
    (whole,) = search(ws, [experiment]).runs
    assert (whole.params, whole.tags["team"], whole.owner) == ({"c": "1", "d.e": "2"}, "a", "ada")
    assert whole.metrics["loss"] == (0.5, 3, 0)
    assert math.isnan(whole.metrics["nan"].value)
    (some,) = search(ws, [experiment], fields=("params.d.e", "metrics.loss")).runs
    assert (some.params, some.tags, set(some.metrics)) == ({"d.e": "2"}, {}, {"loss"})
    (none,) = search(ws, [experiment], fields=()).runs
    assert (none.params, none.tags, none.metrics) == ({}, {}, {})
    with pytest.raises(BadInput, match=r"no field 'metric'; there are params, tags, metrics"):
        search(ws, [experiment], fields=("metric",))


def test_what_cannot_be_asked_is_said(ws: Workspace) -> None:
    with pytest.raises(BadInput, match="a page of 50001 runs; ask for 1 to 50000"):
        search(ws, [0], limit=50_001)
    with pytest.raises(BadInput, match="no view 'gone'; there are active, deleted, all"):
        search(ws, [0], view="gone")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"order by start_time is there twice in \['start_time', 'Created desc'\]"):
        search(ws, [0], order_by=["start_time", "Created desc"])
    assert search(ws, []).runs == ()


def test_long_lists_and_large_numbers(ws: Workspace) -> None:
    experiment = experiments.create(ws, "e").id
    run_id = tracking.start(ws, experiment, start_ms=1000).run.id
    tracking.log(ws, run_id, metrics=[Point("big", 1e300, 0, AT)])
    many = ", ".join(f"'{new_id()}'" for _ in range(3000))
    assert ids(ws, experiment, f"run_id IN ({many}, '{run_id}')") == [run_id]
    assert ids(ws, experiment, f"run_id NOT IN ({many})") == [run_id]
    numbers = ", ".join(f"{at}.5" for at in range(9000))
    assert ids(ws, experiment, f"NOT metrics.big IN ({numbers}) AND metrics.big NOT IN ({numbers})") == [run_id]
    texts = " OR ".join(f"params.a IN ({', '.join(repr(str(at)) for at in range(49))})" for _ in range(397))
    assert ids(ws, experiment, f"metrics.big > 1 AND ({texts} OR run_id = '{run_id}')", "metrics.big") == [run_id]
    with pytest.raises(BadInput, match="a filter of 27003 values; at most 20000"):
        ids(ws, experiment, " OR ".join([f"metrics.big IN ({numbers})"] * 3))
    with pytest.raises(BadInput, match=r"a list of 301 after data\.version; at most 300"):
        ids(ws, experiment, f"data.version IN ({', '.join(repr(str(at)) for at in range(301))})")
    found = search(ws, range(5000), "metrics.big > 1", order_by=["metrics.big"])
    assert [each.run_id for each in found.runs] == [run_id]
    assert ids(ws, experiment, "start_time < 99999999999999999999999999 and metrics.big > 1e299") == [run_id]
    assert ids(ws, experiment, "start_time > -99999999999999999999999999 and metrics.big < 99999999999999999999") == []


def test_all_that_is_taken_can_be_asked(ws: Workspace) -> None:
    keep(ws, samples.runs(random.Random(4), 5), 0)
    for text in (*BOTH, *OURS):
        search(ws, [0, 2**70, -1], text, order_by=["tags.`a'b\"; --` desc", "metrics.`%s`"])
    letters = "éa%" * 1600
    for text in (
        f"params.a ILIKE '{letters}'",
        f"tags.a LIKE '{letters}'",
        "run_name NOT LIKE '%a%b%' OR params.`?` = '%s ? :x'",
    ):
        search(ws, [0], text)


# ---------------------------------------------------------------------------------------- lineage


def test_runs_are_found_by_what_they_read_and_what_came_of_them(ws: Workspace) -> None:
    experiment = experiments.create(ws, "e").id
    named = {name: tracking.start(ws, experiment, name=name, start_ms=at).run.id for at, name in enumerate("abc", 1000)}

    def put(
        kind: str, name: str, maker: str | None = None, *, reads: tuple[Artifact, ...] = (), **meta: Any
    ) -> Artifact:
        run_id = maker or new_id()
        edges = [Edge(run_id, each.id, "in") for each in reads]
        runs = [] if maker else [Run(run_id, "x.y", name, "done", AT, AT)]
        made = Artifact(new_id(), kind, name, 0, new_id(), AT, run_id, meta)
        return ws.graph.write(Batch(runs, edges=edges, artifacts=[("", made)]))[0]

    labels = put("labels", "delays")
    first, second = put("dataset", "flights"), put("dataset", "flights", reads=(labels,))
    ws.graph.link(
        [Edge(named["a"], first.id, "in"), Edge(named["b"], second.id, "in"), Edge(named["c"], labels.id, "in")]
    )
    made = put("model", "delays", named["a"])
    told = put("model", "late", run=named["b"])
    put("deployment", "departures", reads=(made,))
    put("deployment", "departures", reads=(told,))
    tracking.log(ws, named["c"], tags={"mlflow.source.git.commit": "0123456789abcdef0123456789abcdef01234567"})

    def names(text: str) -> str:
        return "".join(sorted(each.name for each in search(ws, [experiment], text).runs))

    assert names("data.version = 'flights@1'") == "a"
    ws.graph.link([Edge(named["b"], second.id, "in", "test")])  # read twice, found once
    assert [each.name for each in search(ws, [experiment], "data.version = 'flights'").runs] == ["b", "a"]
    assert names("data.version != 'flights@1'") == "b"
    assert names("data.version LIKE 'fl%@2'") == "b"
    assert names("data.version ILIKE 'FLIGHTS%'") == "ab"
    assert names("data.version IN ('flights@1', 'flights@2')") == "ab"
    assert names("data.version IS NULL") == "c"
    assert names("NOT data.version = 'flights@1'") == "bc"
    assert names("labels.version = 'delays@1'") == "bc"
    assert names("labels.version IS NOT NULL and data.version IS NOT NULL") == "b"
    assert names("deployed.as = 'departures'") == "ab"
    assert names("deployed.as = 'departures@1'") == "a"
    assert names("deployed.as = 'departures@2' OR git.commit = '0123456'") == "bc"
    assert names("deployed.as IS NULL") == "c"
    assert names("git.commit LIKE '01234%'") == "c"
    assert names("git.commit = '123'") == ""
    assert names("datasets.name = 'flights'") == "ab"
    with pytest.raises(BadInput, match=r"no lineage 'use'; there are data\.version, labels\.version"):
        names("data.use = 'flights@1'")


# ---------------------------------------------------------------------------------------- experiments


def test_experiments_are_found_by_name_tags_and_times(ws: Workspace) -> None:
    made = {
        name: experiments.create(ws, name, tags=tags)
        for name, tags in [("rates", {"team": "a.b"}), ("Rates 2", {"team": "B", "x'y": "1"}), ("other", {})]
    }
    experiments.delete(ws, made["other"].id)

    def names(text: str = "", *order_by: str, **more: Any) -> list[str]:
        return [each.name for each in search_experiments(ws, text, order_by=order_by, **more).experiments]

    assert names("", "name") == ["Default", "Rates 2", "rates"]
    assert names("name LIKE 'r%'") == ["rates"]
    assert sorted(names("name ILIKE 'r%' AND tags.team IS NOT NULL")) == ["Rates 2", "rates"]
    assert names("tags.team = 'a.b'") == ["rates"]
    assert names("tags.team != 'a.b'") == ["Rates 2"]
    assert names("""tags."x'y" = '1'""") == ["Rates 2"]
    assert names("tag.team IS NULL") == ["Default"]
    assert names(f"experiment_id = '{made['rates'].id}'") == ["rates"]
    assert names(f"experiment_id IN ('0', '{made['rates'].id}')", "experiment_id desc") == ["rates", "Default"]
    assert names(f"creation_time < {made['rates'].created_ms}") == ["Default"] or made["rates"].created_ms == 0
    assert names("name = 'rates' OR NOT (tags.team IS NULL)", "name ASC") == ["Rates 2", "rates"]
    assert names(view="deleted") == ["other"]
    assert len(names(view="all")) == 4
    token: str | None = None
    seen: list[str] = []
    while True:
        page = search_experiments(ws, order_by=["name DESC"], view="all", limit=1, token=token)
        seen += [each.name for each in page.experiments]
        if (token := page.token) is None:
            break
    assert seen == ["rates", "other", "Rates 2", "Default"]
    with pytest.raises(BadInput, match=r"'LIKE' does not compare creation_time; it takes =, !=, <"):
        names("creation_time LIKE 5")
    with pytest.raises(BadInput, match="expected a whole number after experiment_id"):
        names("experiment_id = 'one'")
    with pytest.raises(BadInput, match="experiments are not ordered by tag 'team'"):
        names("", "tags.team")
