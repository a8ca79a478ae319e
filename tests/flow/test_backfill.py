"""A backfill runs each partition once, and goes on where it was left."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tidemill.core.errors import BadInput
from tidemill.core.ids import utc_now
from tidemill.core.types import Run, Status
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow.scheduling import backfill, queues
from tidemill.flow.scheduling.backfill import Backfill
from tidemill.flow.scheduling.scheduler import tick
from tidemill.flow.scheduling.schedules import cron


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


def filled(ws: Workspace, partitions: list[object], **options: object) -> Backfill:
    return backfill.backfill(ws, "build", "flows.py:build", partitions, param="day", **options)  # type: ignore[arg-type]


def end(ws: Workspace, run_id: str, status: Status) -> None:
    run = ws.graph.get(run_id)
    assert isinstance(run, Run)
    ws.graph.put_run(replace(run, status=status, ended_at=utc_now()))


def test_each_partition_has_an_execution_that_is_given_it(ws: Workspace) -> None:
    made = filled(ws, [date(2026, 1, 1), date(2026, 1, 2)], params={"rows": 5}, as_="ada")
    assert (made.queued, made.count("running")) == (2, 2)
    runs = [each.run for each in queues.listed(ws, utc_now())]
    assert [run.params for run in runs] == [{"rows": 5, "day": "2026-01-01"}, {"rows": 5, "day": "2026-01-02"}]
    assert {(run.tags["trigger"], run.tags["queue"], run.actor) for run in runs} == {("backfill", "backfill", "ada")}


def test_asked_for_again_it_goes_on_where_it_was_left(ws: Workspace) -> None:
    first = filled(ws, ["a", "b", "c", "d"])
    for one, status in zip(first.partitions, ("done", "failed", "cancelled"), strict=False):
        end(ws, one.run_id, status)  # type: ignore[arg-type]
    again = filled(ws, ["a", "b", "c", "d", "e"])
    assert again.queued == 3
    assert [one.status for one in again.partitions] == ["done", "running", "running", "running", "running"]
    kept = [new.run_id == old.run_id for new, old in zip(again.partitions, first.partitions, strict=False)]
    assert kept == [True, False, False, True]


def test_done_ones_run_again_only_when_asked_to(ws: Workspace) -> None:
    (one,) = filled(ws, ["a"]).partitions
    end(ws, one.run_id, "done")
    assert filled(ws, ["a"]).queued == 0
    assert filled(ws, ["a"], again=True).queued == 1


def test_another_value_of_any_parameter_is_another_partition(ws: Workspace) -> None:
    assert filled(ws, ["a"], params={"rows": 1}).queued == 1
    assert filled(ws, ["a"], params={"rows": 2}).queued == 1
    assert filled(ws, [1, "1"], params={"rows": 2}).queued == 2
    assert filled(ws, ["a", "a"], params={"rows": 3}).queued == 1


def test_no_more_run_at_once_than_asked_for(ws: Workspace) -> None:
    filled(ws, list("abcdef"), at_once=2)
    started = tick(ws, utc_now())
    assert [start.run.params["day"] for start in started] == ["a", "b"]
    assert tick(ws, utc_now()) == []
    end(ws, started[0].run.id, "done")
    assert [start.run.params["day"] for start in tick(ws, utc_now())] == ["c"]


def test_a_thousand_partitions_are_one_transaction(ws: Workspace) -> None:
    made = filled(ws, list(range(1000)))
    assert made.queued == 1000
    assert backfill.state(ws, made) == made
    assert len(queues.listed(ws, utc_now())) == 1000
    assert ws.graph.verify() == []


def test_partitions_may_be_the_slots_of_a_schedule() -> None:
    daily = cron("30 2 * * *", zone="Europe/Berlin")
    found = backfill.times(daily, datetime(2026, 3, 28, 1, 30, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC))
    assert found == ["2026-03-28T01:30:00.000000Z", "2026-03-29T01:00:00.000000Z"]
    assert backfill.days(date(2026, 2, 27), date(2026, 3, 1)) == ["2026-02-27", "2026-02-28", "2026-03-01"]


def test_what_is_no_backfill_is_refused(ws: Workspace) -> None:
    with pytest.raises(BadInput, match="a backfill of 0 partitions"):
        filled(ws, [])
    with pytest.raises(BadInput, match="is no JSON value, date or time"):
        filled(ws, [object()])
    with pytest.raises(BadInput, match="parameter 'day' is given a value and the partition"):
        filled(ws, ["a"], params={"day": 1})
    with pytest.raises(BadInput, match="the last day, 2026-01-01, is before the first, 2026-01-02"):
        backfill.days(date(2026, 1, 2), date(2026, 1, 1))
    assert queues.listed(ws, utc_now()) == []
