"""What every graph must do. Subclass GraphSuite and define a fixture `graph` that gives a new, empty graph."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.core.graph import Graph
from tidemill.core.ids import new_id
from tidemill.core.types import Artifact, Edge, Point, Query, Run
from tidemill.testing.batches import BatchSuite
from tidemill.testing.erasures import ErasureSuite, without
from tidemill.testing.records import AT, a_chain, a_run, an_artifact, ended, ids

__all__ = [
    "AT",
    "ArtifactSuite",
    "BatchSuite",
    "ErasureSuite",
    "GraphSuite",
    "LogSuite",
    "RunSuite",
    "a_chain",
    "a_run",
    "an_artifact",
    "ended",
    "ids",
    "without",
]


class RunSuite:
    """Runs: put_run, get, find."""

    def test_a_run_comes_back_as_it_was_put(self, graph: Graph) -> None:
        run = replace(a_run(key="k"), params={"rate": 0.1, "deep": [1, {"a": None}]}, tags={"a": "b"}, parent=new_id())
        assert graph.put_run(run) == run
        assert graph.get(run.id) == run
        done = ended(run)
        assert graph.put_run(done) == done
        assert graph.get(run.id) == done

    def test_metrics_that_are_not_finite_come_back(self, graph: Graph) -> None:
        run = replace(a_run(), metrics={"loss": math.nan, "worst": -math.inf, "tiny": 5e-324})
        graph.put_run(run)
        found = graph.get(run.id)
        assert isinstance(found, Run)
        assert math.isnan(found.metrics["loss"])
        assert (found.metrics["worst"], found.metrics["tiny"]) == (-math.inf, 5e-324)

    def test_an_ended_run_cannot_change(self, graph: Graph) -> None:
        done = ended(graph.put_run(a_run()))
        graph.put_run(done)
        assert graph.put_run(done) == done
        with pytest.raises(Conflict) as caught:
            graph.put_run(replace(done, status="failed"))
        assert str(caught.value) == f"run {done.id} ended as 'done'; an ended run cannot change, start another one"
        assert graph.get(done.id) == done

    def test_an_unknown_id_is_not_found(self, graph: Graph) -> None:
        with pytest.raises(NotFound, match="no run or artifact 'feedfacefeed'"):
            graph.get("feedfacefeed")

    def test_a_unique_prefix_of_an_id_is_enough(self, graph: Graph) -> None:
        first = graph.put_run(a_run(run_id="0123456789" + "a" * 22))
        second = graph.put_run(a_run(run_id="0123456789" + "b" * 22))
        assert graph.get("0123456789a") == first
        assert graph.get("0123456789b") == second
        with pytest.raises(NotFound, match="begins more than one id"):
            graph.get("0123456789")
        with pytest.raises(NotFound, match="first 8 or more of its digits"):
            graph.get("0123456")

    def test_params_that_are_no_json_are_refused(self, graph: Graph) -> None:
        run = replace(a_run(), params={"bad": object()})
        with pytest.raises(BadInput, match=f"run {run.id} cannot be kept as JSON"):
            graph.put_run(run)
        assert graph.find(Query("run")) == []
        assert graph.events() == []

    def test_text_that_no_database_holds_is_refused(self, graph: Graph) -> None:
        with pytest.raises(BadInput, match="holds no NUL character"):
            graph.put_run(a_run("fli\x00ghts"))

    def test_find_gives_the_newest_first_and_pages(self, graph: Graph) -> None:
        runs = [graph.put_run(a_run(kind=kind, name=name)) for kind in ("a.b", "a.c", "ab.d") for name in ("x", "yx")]
        assert graph.find(Query("run")) == runs[::-1]
        assert graph.find(Query("run", kind="a.*")) == runs[3::-1]
        assert graph.find(Query("run", kind="a.b")) == runs[1::-1]
        assert graph.find(Query("run", name="x", kind="a.*")) == [runs[2], runs[0]]
        assert graph.find(Query("run", text="y")) == [runs[5], runs[3], runs[1]]
        assert graph.find(Query("run", text="%")) == []
        page = graph.find(Query("run", limit=2))
        assert graph.find(Query("run", limit=3, before=page[-1].id)) == runs[3:0:-1]

    def test_find_by_key_status_and_parent(self, graph: Graph) -> None:
        outer = graph.put_run(a_run(key="one"))
        inner = graph.put_run(replace(a_run(key="two"), parent=outer.id))
        graph.put_run(ended(outer))
        assert graph.find(Query("run", key="one", status="done")) == [ended(outer)]
        assert graph.find(Query("run", key="two", status="done")) == []
        assert graph.find(Query("run", parent=outer.id)) == [inner]
        assert graph.find(Query("artifact", key="one")) == []


class ArtifactSuite:
    """Artifacts and edges: put, link, edges, find, trail."""

    def test_versions_count_from_one_within_kind_and_name(self, graph: Graph) -> None:
        made = [graph.put(an_artifact(content)) for content in "abc"]
        assert [artifact.version for artifact in made] == [1, 2, 3]
        assert graph.put(an_artifact("a", "weather")).version == 1
        assert graph.put(an_artifact("a", kind="labels")).version == 1
        assert graph.find(Query("artifact", kind="dataset", name="flights")) == made[::-1]
        assert graph.find(Query("artifact", kind="dataset", name="flights", version=2)) == [made[1]]
        assert graph.find(Query("artifact", kind="dataset", name="flights", before=made[2].id, limit=1)) == [made[1]]
        assert graph.find(Query("artifact", digest=made[0].digest, name="flights", kind="dataset")) == [made[0]]

    def test_the_newest_version_is_found_first_whatever_the_clocks_said(self, graph: Graph) -> None:
        early, late = sorted([new_id(), new_id()])
        first = graph.put(replace(an_artifact("a"), id=late))
        second = graph.put(replace(an_artifact("b"), id=early))
        assert graph.find(Query("artifact", kind="dataset", name="flights")) == [second, first]
        assert graph.find(Query("artifact", kind="dataset", name="flights", before=second.id)) == [first]

    def test_equal_content_is_the_same_version_and_an_output_of_both_runs(self, graph: Graph) -> None:
        one, two = graph.put_run(a_run()), graph.put_run(a_run())
        first = graph.put(an_artifact("same", run=one), slot="data")
        assert graph.put(an_artifact("same", run=two), slot="data") == first
        assert graph.edges([first.id]) == [Edge(run.id, first.id, "out", "data") for run in (one, two)]
        assert graph.put(replace(an_artifact("same"), meta={"note": "other"})).version == 2

    def test_content_that_returns_after_a_change_is_a_new_version(self, graph: Graph) -> None:
        assert [graph.put(an_artifact(content)).version for content in "aba"] == [1, 2, 3]

    def test_an_artifact_of_an_unknown_run_is_refused(self, graph: Graph) -> None:
        with pytest.raises(NotFound, match="to add to; put_run it first"):
            graph.put(an_artifact("a", run=a_run()))
        assert graph.find(Query("artifact")) == []

    def test_an_id_is_used_once(self, graph: Graph) -> None:
        made = graph.put(an_artifact("a"))
        with pytest.raises(Conflict):
            graph.put(replace(an_artifact("b"), id=made.id))
        assert graph.verify() == []

    def test_artifacts_answer_trace_and_impact(self, graph: Graph) -> None:
        runs, made = a_chain(graph, 2)
        assert [run.id for run in made[1].trace().runs] == [runs[1].id, runs[0].id]
        found = graph.get(made[0].id)
        assert isinstance(found, Artifact)
        assert [artifact.id for artifact in found.impact().artifacts] == [made[0].id, made[1].id]
        for artifact in graph.find(Query("artifact")):
            assert isinstance(artifact, Artifact)
            assert artifact.graph is graph

    def test_a_link_that_is_there_stays_as_it_is(self, graph: Graph) -> None:
        run, artifact = graph.put_run(a_run()), graph.put(an_artifact("a"))
        edge, other = Edge(run.id, artifact.id, "in", "train"), Edge(run.id, artifact.id, "in", "test")
        graph.link([edge, edge])
        graph.link([edge, other])
        graph.link([])
        assert graph.edges([run.id]) == [other, edge]
        assert graph.edges([artifact.id, run.id]) == [other, edge]
        assert [event.body["edges"] for event in graph.events(f"run/{run.id}", kind="run.link")] == [
            [[run.id, artifact.id, "in", "train"]],
            [[run.id, artifact.id, "in", "test"]],
        ]

    def test_a_link_to_nowhere_is_refused_whole(self, graph: Graph) -> None:
        run, artifact = graph.put_run(a_run()), graph.put(an_artifact("a"))
        good = Edge(run.id, artifact.id, "in")
        for bad in (Edge(run.id, new_id(), "in"), Edge(new_id(), artifact.id, "in")):
            with pytest.raises(NotFound):
                graph.link([good, bad])
        assert graph.edges([run.id]) == []

    def test_a_trail_goes_down_to_the_source_and_up_to_the_last_use(self, graph: Graph) -> None:
        runs, made = a_chain(graph, 4)
        run_ids, made_ids = [run.id for run in runs], [artifact.id for artifact in made]
        down = graph.trail(made[3].id, "down")
        assert ids(down) == (run_ids[::-1], made_ids[::-1])
        assert (down.root, down.direction, len(down.edges)) == (made[3].id, "down", 7)
        assert set(down.edges) == set(graph.edges(run_ids))
        up = graph.trail(made[0].id, "up")
        assert ids(up) == (run_ids[1:], made_ids)
        assert ids(graph.trail(runs[2].id, "down")) == (run_ids[2::-1], made_ids[1::-1])
        assert ids(graph.trail(runs[2].id, "up")) == (run_ids[2:], made_ids[2:])

    def test_depth_counts_runs(self, graph: Graph) -> None:
        runs, made = a_chain(graph, 4)
        assert ids(graph.trail(made[3].id, "down", depth=0)) == ([], [made[3].id])
        assert ids(graph.trail(made[3].id, "down", depth=1)) == ([runs[3].id], [made[3].id, made[2].id])
        two = graph.trail(made[3].id, "down", depth=2)
        assert ids(two) == ([runs[3].id, runs[2].id], [made[3].id, made[2].id, made[1].id])
        assert len(two.edges) == 4
        assert ids(graph.trail(made[0].id, "up", depth=1)) == ([runs[1].id], [made[0].id, made[1].id])

    def test_a_trail_walks_a_diamond_once_and_a_circle_to_its_end(self, graph: Graph) -> None:
        source = graph.put(an_artifact("source", "source"))
        left, right, join = (graph.put_run(a_run(name)) for name in ("left", "right", "join"))
        graph.link([Edge(left.id, source.id, "in"), Edge(right.id, source.id, "in")])
        halves = [graph.put(an_artifact(run.name, run.name, run=run)) for run in (left, right)]
        graph.link([Edge(join.id, half.id, "in") for half in halves])
        end = graph.put(an_artifact("end", "end", run=join))
        down = graph.trail(end.id, "down")
        assert ids(down) == ([join.id, left.id, right.id], [end.id, halves[0].id, halves[1].id, source.id])
        back = graph.put_run(a_run("back"))
        graph.link([Edge(back.id, end.id, "in"), Edge(back.id, source.id, "out")])
        around = graph.trail(end.id, "down")
        assert ids(around) == ([join.id, left.id, right.id, back.id], ids(down)[1])
        assert len(set(around.edges)) == len(around.edges) == 9

    def test_a_trail_of_an_unknown_id_is_not_found(self, graph: Graph) -> None:
        with pytest.raises(NotFound):
            graph.trail(new_id(), "up")


class LogSuite:
    """Metric points and events: log, series, record, events, verify, and many threads at once."""

    def test_points_come_back_in_order_and_once(self, graph: Graph) -> None:
        run = graph.put_run(a_run())
        points = [Point(key, value, step, AT) for key, value in (("auc", 0.5), ("loss", 1.5)) for step in (3, 1, 2)]
        graph.log(run.id, points)
        graph.log(run.id, [*points[:2], Point("auc", 0.75, 3, AT + timedelta(seconds=1))])
        graph.log(run.id, [])
        assert [(point.step, point.value) for point in graph.series(run.id, "auc")] == [
            (1, 0.5),
            (2, 0.5),
            (3, 0.5),
            (3, 0.75),
        ]
        assert [point.key for point in graph.series(run.id)] == ["auc"] * 4 + ["loss"] * 3
        assert graph.series(new_id()) == []
        assert graph.verify() == []

    def test_points_keep_every_float(self, graph: Graph) -> None:
        run = graph.put_run(a_run())
        values = [0.1 + 0.2, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -3.0, -0.0]
        graph.log(run.id, [Point("x", value, step, AT) for step, value in enumerate(values)])
        for _ in range(2):
            graph.log(run.id, [Point("y", math.nan, 0, AT)])
        assert [point.value for point in graph.series(run.id, "x")] == values
        assert [math.isnan(point.value) for point in graph.series(run.id, "y")] == [True]
        assert graph.verify() == []

    def test_points_of_an_unknown_run_are_refused(self, graph: Graph) -> None:
        with pytest.raises(NotFound, match="to add to; put_run it first"):
            graph.log(new_id(), [Point("x", 1.0, 0, AT)])

    def test_events_come_back_in_order(self, graph: Graph) -> None:
        first = graph.record("deployment/a", "traffic", {"champion": 1}, actor="ada")
        second = graph.record("deployment/ab", "traffic", {"champion": 2, "share": 0.25, "text": "é\U0001f30a\x00"})
        third = graph.record("deployment/a", "note", {})
        assert [event.seq for event in (first, second, third)] == [1, 2, 3]
        assert first.actor == "ada"
        assert second.prev == first.hash
        assert graph.events() == [first, second, third]
        assert graph.events("deployment/a") == [first, third]
        assert graph.events("deployment/*") == [first, second, third]
        assert graph.events("deployment/a", kind="traffic") == [first]
        assert graph.events(kind="traffic", after=1) == [second]
        assert graph.events("deployment/*", last=2) == [second, third]
        assert graph.events("deployment", last=2) == []
        assert graph.events(last=0) == []

    def test_an_event_with_a_key_is_recorded_once(self, graph: Graph) -> None:
        first = graph.record("alert/a", "raised", {"day": 1}, key="day 1")
        assert graph.record("alert/a", "raised", {"day": "another"}, key="day 1") == first
        assert graph.record("alert/a", "raised", {"day": 1}, key="day 2").seq == 2
        assert len(graph.events("alert/a")) == 2

    def test_who_expects_another_event_is_told_of_the_conflict(self, graph: Graph) -> None:
        graph.record("other", "x", {})
        first = graph.record("model/m@champion", "alias", {"version": 1}, expect=0)
        second = graph.record("model/m@champion", "alias", {"version": 2}, expect=first.seq)
        with pytest.raises(Conflict) as caught:
            graph.record("model/m@champion", "alias", {"version": 3}, expect=first.seq)
        assert str(caught.value) == (
            f"model/m@champion is at event {second.seq}, not {first.seq}: somebody else was first; read it again, retry"
        )
        assert graph.events("model/m@champion", last=1) == [second]

    def test_only_the_graph_writes_events_of_runs_and_artifacts(self, graph: Graph) -> None:
        run = graph.put_run(a_run())
        with pytest.raises(BadInput, match="is the graph's own"):
            graph.record(f"run/{run.id}", "run.done", {"digest": "forged"})

    def test_an_event_that_is_no_json_is_refused(self, graph: Graph) -> None:
        with pytest.raises(BadInput, match="the body of an event of deployment/a cannot be kept as JSON"):
            graph.record("deployment/a", "traffic", {"share": math.nan})
        assert graph.events() == []

    def test_every_change_has_its_event(self, graph: Graph) -> None:
        run = graph.put_run(replace(a_run(), actor="ada"))
        made = graph.put(an_artifact("a", run=run))
        graph.log(run.id, [Point("x", 1.0, 0, AT)])
        graph.put_run(ended(run))
        assert [(event.subject, event.kind) for event in graph.events()] == [
            (f"run/{run.id}", "run.running"),
            (f"artifact/{made.id}", "artifact.put"),
            (f"run/{run.id}", "run.link"),
            (f"run/{run.id}", "run.log"),
            (f"run/{run.id}", "run.done"),
        ]
        assert {event.actor for event in graph.events(last=5)} == {"ada"}
        assert graph.verify() == []

    def test_a_call_that_changes_nothing_has_no_event(self, graph: Graph) -> None:
        run = graph.put_run(a_run())
        made = graph.put(an_artifact("a", run=run))
        graph.log(run.id, [Point("x", 1.0, 0, AT)])
        before = graph.events()
        graph.put_run(run)
        graph.put(an_artifact("a", run=run))
        graph.link([Edge(run.id, made.id, "out")])
        graph.log(run.id, [Point("x", 1.0, 0, AT)])
        assert graph.events() == before

    def test_threads_get_versions_without_a_gap(self, graph: Graph) -> None:
        run = graph.put_run(a_run())

        def work(worker: int) -> None:
            for place in range(10):
                graph.put(an_artifact(f"{worker} {place}", run=run))
                graph.record("count", "up", {"worker": worker})
                graph.find(Query("artifact", limit=3))

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(work, range(6)))
        found = graph.find(Query("artifact", kind="dataset", name="flights"))
        assert [artifact.version for artifact in found if isinstance(artifact, Artifact)] == list(range(60, 0, -1))
        assert [event.seq for event in graph.events()] == list(range(1, 182))
        assert graph.verify() == []

    def test_of_many_threads_with_one_expectation_one_wins(self, graph: Graph) -> None:
        def attempt(worker: int) -> bool:
            try:
                graph.record("model/m@champion", "alias", {"version": worker}, expect=0)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(6) as threads:
            assert sorted(threads.map(attempt, range(6))) == [False] * 5 + [True]


class GraphSuite(RunSuite, ArtifactSuite, LogSuite, BatchSuite, ErasureSuite):
    """The contract of tidemill.core.graph as tests."""
