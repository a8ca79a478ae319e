"""What every graph must do with many records at once; part of the graphs' suite."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tidemill.core.errors import BadInput, Conflict, NotFound, TidemillError
from tidemill.core.graph import Graph
from tidemill.core.ids import new_id
from tidemill.core.types import Artifact, Batch, Edge, NewEvent, Query
from tidemill.testing.records import a_run, an_artifact, ended


class BatchSuite:
    """Graph.write, and the look-up of many keys."""

    def test_a_batch_is_all_that_the_calls_one_by_one_would_be(self, graph: Graph) -> None:
        source = graph.put(an_artifact("source", "source"))
        runs = [replace(a_run(f"step{place}", key=f"key{place}"), actor="ada") for place in range(3)]
        given = [("result", an_artifact(f"{place}", f"thing{place}", run=run)) for place, run in enumerate(runs)]
        edges = [Edge(runs[0].id, source.id, "in", "data"), Edge(runs[1].id, given[0][1].id, "in")]
        made = graph.write(Batch(runs, given, edges, [NewEvent("flow/a", "nodes", {"n": 1}, "ada")]))
        assert [graph.get(run.id) for run in runs] == runs
        assert made == tuple(replace(artifact, version=1) for _, artifact in given)
        assert [graph.get(artifact.id) for artifact in made] == list(made)
        outputs = [Edge(run.id, artifact.id, "out", "result") for run, artifact in zip(runs, made, strict=True)]
        assert sorted(graph.edges([run.id for run in runs]), key=repr) == sorted([*edges, *outputs], key=repr)
        assert [run.id for run in made[1].trace().runs] == [runs[1].id, runs[0].id]
        assert [(event.actor, dict(event.body)) for event in graph.events("flow/a")] == [("ada", {"n": 1})]
        assert {event.actor for event in graph.events(after=1)} == {"ada"}
        assert graph.verify() == []

    def test_a_batch_begins_and_ends_runs(self, graph: Graph) -> None:
        old, run = graph.put_run(a_run()), a_run()
        graph.write(Batch([ended(old), run, ended(run)]))
        assert [graph.get(old.id), graph.get(run.id)] == [ended(old), ended(run)]
        assert [event.kind for event in graph.events(f"run/{run.id}")] == ["run.running", "run.done"]
        graph.write(Batch([ended(old)]))
        assert [event.kind for event in graph.events(f"run/{old.id}")] == ["run.running", "run.done"]
        assert graph.verify() == []

    def test_versions_count_on_within_a_batch(self, graph: Graph) -> None:
        first = graph.put(an_artifact("a"))
        made = graph.write(Batch(artifacts=[("", an_artifact(content)) for content in "abbac"]))
        assert [artifact.version for artifact in made] == [1, 2, 2, 3, 4]
        assert (made[0], made[1]) == (first, made[2])
        assert graph.put(an_artifact("c")) == made[4]
        assert len(graph.find(Query("artifact"))) == 4
        assert graph.verify() == []

    def test_an_edge_to_content_that_is_recorded_already_leads_to_it(self, graph: Graph) -> None:
        there, run = graph.put(an_artifact("a")), graph.put_run(a_run())
        again = an_artifact("a")
        graph.write(Batch(artifacts=[("", again)], edges=[Edge(run.id, again.id, "in", "x")]))
        graph.write(Batch(edges=[Edge(run.id, there.id, "in", "x"), Edge(run.id, there.id, "in", "y")]))
        assert graph.edges([run.id]) == [Edge(run.id, there.id, "in", slot) for slot in "xy"]
        assert graph.verify() == []

    def test_an_event_with_a_key_is_written_once(self, graph: Graph) -> None:
        first = graph.record("flow/a", "slot", {"at": 1}, key="1")
        events = [NewEvent("flow/a", "slot", {"at": place}, key=key) for place, key in enumerate("1223")]
        graph.write(Batch(events=[*events, NewEvent("flow/a", "note", {}), NewEvent("flow/a", "note", {})]))
        found = graph.events("flow/a")
        assert found[0] == first
        assert [(event.key, event.kind) for event in found] == [
            ("1", "slot"),
            ("2", "slot"),
            ("3", "slot"),
            (None, "note"),
            (None, "note"),
        ]
        assert found[1].body == {"at": 1}

    def test_a_batch_is_written_whole_or_not_at_all(self, graph: Graph) -> None:
        done, there = ended(graph.put_run(a_run())), graph.put(an_artifact("there"))
        graph.put_run(done)
        good = a_run()
        bad: list[tuple[Batch, type[TidemillError], str]] = [
            (Batch([good, replace(done, status="failed")]), Conflict, "an ended run cannot change"),
            (Batch([good, ended(good), replace(good, name="x")]), Conflict, "an ended run cannot change"),
            (Batch([good], [("", an_artifact("a", run=a_run()))]), NotFound, "to add to; put_run it first"),
            (Batch([good], [("", replace(an_artifact("a"), id=there.id))]), Conflict, "give a new id"),
            (Batch([good], edges=[Edge(good.id, new_id(), "in")]), NotFound, "to link; put it first"),
            (Batch([good], edges=[Edge(new_id(), there.id, "in")]), NotFound, "to add to; put_run it first"),
            (Batch([good], events=[NewEvent("run/x", "run.done", {})]), BadInput, "is the graph's own"),
            (Batch([good, replace(a_run(), params={"bad": object()})]), BadInput, "cannot be kept as JSON"),
            (Batch([good], events=[NewEvent("flow/a", "x", {"bad": object()})]), BadInput, "cannot be kept as JSON"),
        ]
        before = graph.events()
        for batch, error, words in bad:
            with pytest.raises(error, match=words):
                graph.write(batch)
            assert graph.events() == before
            assert graph.find(Query("run")) == [done]
            assert graph.find(Query("artifact")) == [there]
        assert graph.write(Batch()) == ()
        assert graph.events() == before
        assert graph.verify() == []

    def test_a_batch_may_be_large(self, graph: Graph) -> None:
        runs = [a_run(key=f"key{place}") for place in range(3000)]
        given = [("result", an_artifact(f"{place}", f"thing{place}", run=run)) for place, run in enumerate(runs)]
        graph.write(Batch(runs, given))
        again = [("result", replace(artifact, id=new_id())) for _, artifact in given]
        assert graph.write(Batch([ended(run) for run in runs], again)) == tuple(
            replace(artifact, version=1) for _, artifact in given
        )
        keys = tuple(f"key{place}" for place in range(0, 5000, 2))
        found = graph.find(Query("run", keys=keys, status="done", limit=5000))
        assert found == [ended(run) for run in runs[2998::-2]]
        assert graph.verify() == []

    def test_find_by_many_keys(self, graph: Graph) -> None:
        runs = [graph.put_run(a_run(key=key)) for key in ("a", "b", "a", None, "c")]
        graph.put(an_artifact("a"))
        assert graph.find(Query("run", keys=("a", "c", "none"))) == [runs[4], runs[2], runs[0]]
        assert graph.find(Query("run", keys=("a", "c"), limit=1)) == [runs[4]]
        assert graph.find(Query("run", keys=("a",), before=runs[2].id)) == [runs[0]]
        assert graph.find(Query("run", keys=("a",), status="done")) == []
        assert graph.find(Query("run", keys=())) == []
        assert graph.find(Query("artifact", keys=("a",))) == []

    def test_batches_of_many_threads_are_written_one_after_another(self, graph: Graph) -> None:
        def work(worker: int) -> list[Artifact]:
            runs = [a_run(f"{worker}") for _ in range(10)]
            given = [("", an_artifact(f"{worker} {place}", run=run)) for place, run in enumerate(runs)]
            return list(graph.write(Batch(runs, given)))

        with ThreadPoolExecutor(6) as threads:
            versions = [artifact.version for made in threads.map(work, range(6)) for artifact in made]
        assert sorted(versions) == list(range(1, 61))
        assert [event.seq for event in graph.events()] == list(range(1, 181))
        assert graph.verify() == []
