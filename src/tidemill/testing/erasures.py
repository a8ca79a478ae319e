"""What every graph must do with what is to be erased: a part of the suite in tidemill.testing.graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tidemill.core.errors import BadInput
from tidemill.core.graph import Graph
from tidemill.core.types import Artifact, Edge, Query, Run
from tidemill.testing.records import a_run, an_artifact, ended


class ErasureSuite:
    """Erasure: amend, and what verify makes of it."""

    def test_amended_records_and_events_hold_the_rest_and_the_chain_is_whole(self, graph: Graph) -> None:
        run = graph.put_run(ended(replace(a_run(), params={"who": "yoko@example.org", "rate": 0.5})))
        other = graph.put_run(ended(a_run("weather")))
        made = graph.put(replace(an_artifact("yoko@example.org", run=run), name="yoko@example.org"))
        asked = graph.record("labels/q/1", "asked", {"show": "yoko@example.org"}, key="yoko@example.org/1")
        graph.record("labels/q/2", "asked", {"show": "bob@example.org"})
        before = {event.seq: event for event in graph.events()}
        changed = graph.amend(without("yoko@example.org"), reason="asked to", actor="dpo")
        assert changed == [run.id, made.id, f"event {asked.seq}"]
        assert graph.get(run.id) == replace(run, params={"who": "(erased)", "rate": 0.5})
        assert graph.get(other.id) == other
        again = graph.get(made.id)
        assert isinstance(again, Artifact)
        assert (again.name, again.meta, again.version) == ("(erased)", {"note": "(erased)"}, 1)
        assert graph.find(Query("artifact", kind="dataset", name="(erased)")) == [again]
        after = {event.seq: event for event in graph.events()}
        assert after[asked.seq] == replace(asked, body={"show": "(erased)"}, key="(erased)/1")
        assert {seq: after[seq] for seq in before if seq != asked.seq} == {
            seq: before[seq] for seq in before if seq != asked.seq
        }
        told = [(each.subject, each.kind, each.actor, each.body["reason"]) for each in graph.events(after=max(before))]
        assert told == [
            (f"run/{run.id}", "run.erased", "dpo", "asked to"),
            (f"artifact/{made.id}", "artifact.erased", "dpo", "asked to"),
            (f"event/{asked.seq}", "event.erased", "dpo", "asked to"),
        ]
        assert graph.verify() == []
        assert graph.edges([run.id]) == [Edge(run.id, made.id, "out")]

    def test_erasing_again_erases_what_is_left_and_nothing_twice(self, graph: Graph) -> None:
        first = graph.record("labels/q/1", "asked", {"show": ["yoko", "bob"]})
        graph.amend(without("yoko"), reason="one")
        graph.amend(without("bob"), reason="two")
        assert graph.amend(without("yoko"), reason="three") == []
        assert graph.events("labels/q/1") == [replace(first, body={"show": ["(erased)", "(erased)"]})]
        assert [event.body["reason"] for event in graph.events(kind="event.erased")] == ["one", "two"]
        assert graph.verify() == []

    def test_the_log_goes_on_after_an_erasure(self, graph: Graph) -> None:
        run = graph.put_run(replace(a_run(), params={"who": "yoko"}))
        graph.record("labels/q/1", "asked", {"show": "yoko"}, key="once")
        graph.amend(without("yoko"), reason="asked to")
        left = graph.get(run.id)
        assert isinstance(left, Run)
        graph.put_run(ended(left))
        assert graph.record("labels/q/1", "asked", {"show": "bob"}, key="once").body == {"show": "(erased)"}
        graph.put(an_artifact("next", run=run))
        assert graph.verify() == []

    def test_a_rewriting_to_no_record_or_another_id_changes_nothing(self, graph: Graph) -> None:
        run = graph.put_run(a_run())
        for wrong in (lambda _: "{}", lambda text: text.replace(run.id, "f" * 32)):
            with pytest.raises(BadInput, match="a rewriting of runs"):
                graph.amend(wrong, reason="asked to")
        assert graph.get(run.id) == run
        assert graph.verify() == []

    def test_only_the_graph_says_that_an_event_was_erased(self, graph: Graph) -> None:
        first = graph.record("labels/q/1", "asked", {})
        with pytest.raises(BadInput, match="is the graph's own"):
            graph.record("event/1", "event.erased", {"seq": first.seq, "digest": "forged"})


def without(text: str) -> Callable[[str], str | None]:
    """A rewriting that puts "(erased)" in the place of a text."""
    return lambda record: record.replace(text, "(erased)") if text in record else None
