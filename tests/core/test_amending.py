"""Old references are followed to what an erasure left."""

from __future__ import annotations

from tidemill.core import amending
from tidemill.core.graphs import memory
from tidemill.core.types import Pinned


def test_a_version_of_a_table_is_followed_to_the_last_erasure() -> None:
    graph = memory.open_graph()
    first, second, third = (Pinned("t", 3, rows, f"{rows:032x}") for rows in (9, 8, 7))
    assert amending.table(graph, first) is None
    amending.record_tables(graph, {first: second}, actor="dpo")
    amending.record_tables(graph, {first: second}, actor="dpo")
    assert amending.table(graph, first) == second
    amending.record_tables(graph, {second: third}, actor="dpo")
    assert amending.table(graph, first) == amending.table(graph, second) == third
    assert amending.table(graph, Pinned("t", 4, 9, first.digest)) is None
    assert [event.actor for event in graph.events("amended/*")] == ["dpo", "dpo"]


def test_a_blob_is_followed_through_erasures_to_what_is_there_or_to_nothing() -> None:
    graph = memory.open_graph()
    one, two, three = ("1" * 64, "2" * 64, "3" * 64)
    assert amending.blob(graph, one) is None
    amending.record_blobs(graph, {one: two}, actor="dpo")
    assert amending.blob(graph, one) == two
    amending.record_blobs(graph, {two: three}, actor="dpo")
    assert amending.blob(graph, one) == three
    amending.record_blobs(graph, {one: None}, actor="dpo")
    assert amending.blob(graph, one) is None
