"""Running again from a node: it and all that follows are computed anew, the rest comes from the cache."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tidemill.core.ids import new_id, utc_now
from tidemill.flow import states
from tidemill.flow.executing import execution
from tidemill.flow.why import why


def test_a_node_and_all_that_follows_are_computed_anew(ws, engine, pieces, notes):
    first = execution.run(ws, pieces.chain, {"n": 3}, engine=engine)
    ran = len(notes())
    again = execution.run(ws, pieces.chain, {"n": 3}, engine=engine, fresh=["plus#2"])
    assert again.result() == first.result()
    assert {each.node: each.state for each in states.read(ws, again.id).nodes} == {
        "start": "cached", "plus": "cached", "plus#2": "done", "plus#3": "done",
    }  # fmt: skip
    assert notes()[ran:] == ["plus 1 1", "plus 2 1"]
    assert why(ws, "plus#2", execution=again.id).text == "plus#2 ran: it was asked to be computed anew"


ALL = {"plus[0]", "plus[1]", "plus[2]", "total"}


@pytest.mark.parametrize(("fresh", "anew"), [("plus", ALL), ("plus[1]", {"plus[1]", "total"})])
def test_all_of_a_map_or_one_of_it(ws, engine, pieces, notes, fresh, anew):
    execution.run(ws, pieces.fan, {"n": 3}, engine=engine).result()
    again = execution.run(ws, pieces.fan, {"n": 3}, engine=engine, fresh=[fresh])
    assert {each.node for each in states.read(ws, again.id).nodes if each.state == "done"} == anew


def test_what_was_computed_anew_is_what_comes_next(ws, engine, pieces, notes):
    execution.run(ws, pieces.chain, {"n": 1}, engine=engine).result()
    again = execution.run(ws, pieces.chain, {"n": 1}, engine=engine, fresh=["start"])
    third = execution.run(ws, pieces.chain, {"n": 1}, engine=engine)
    assert {each.state for each in states.read(ws, third.id).nodes} == {"cached"}
    assert states.read(ws, third.id).node("plus").run == states.read(ws, again.id).node("plus").run


def test_one_that_waits_in_a_queue_remembers_it(ws, here, pieces, notes):
    first = execution.run(ws, pieces.chain, {"n": 1}, engine=here)
    record = states.execution(ws, first.id)
    tags = {**record.tags, "queue": "default", "fresh": json.dumps(["plus"])}
    queued = replace(record, id=new_id(), status="running", started_at=utc_now(), ended_at=None, tags=tags, metrics={})
    ws.graph.put_run(queued)
    again = execution.resume(ws, queued.id, pipeline=pieces.chain, engine=here)
    assert again.result() == first.result()
    assert {each.node: each.state for each in states.read(ws, again.id).nodes} == {"start": "cached", "plus": "done"}
