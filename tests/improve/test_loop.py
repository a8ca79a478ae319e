"""The loop over a small simulated stream: what is better takes over, what is not is rejected, each tick counts once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tidemill as tm
from tidemill.core.errors import BadInput
from tidemill.core.types import Query, Traffic
from tidemill.improve.loop import Better, LoopSpec, approve, decisions, state_of, tick, ticked
from tidemill.serve import deploy, registry
from tidemill.watch.monitor import Monitor

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
A_DAY = 240
RECIPE = tm.recipe(tm.scale("x", "z"))


def stream(days: int, *, turns_at: int | None, back_at: int | None = None, seed: int = 0) -> pl.DataFrame:
    """Rows of `days` days; the label follows x, from day `turns_at` on -x and z, from `back_at` on x again."""
    draw = np.random.default_rng(seed)
    count = days * A_DAY
    x, z = draw.normal(size=count), draw.normal(size=count)
    day = np.arange(count) // A_DAY
    turned = (day >= (turns_at if turns_at is not None else days)) & (day < (back_at if back_at is not None else days))
    slope = np.where(turned, -1.5 * x + 1.5 * z, 2.0 * x)
    y = draw.uniform(size=count) < 1 / (1 + np.exp(-slope))
    at = [START + timedelta(days=int(d), minutes=6 * (n % A_DAY)) for n, d in enumerate(day)]
    known = [moment + timedelta(hours=2) for moment in at]
    return pl.DataFrame(
        {"row": [f"r{n}" for n in range(count)], "at": at, "x": x, "z": z, "y": y.astype(np.int64), "known": known}
    )


def fit(train: tm.Matrix) -> object:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(train.X, train.y)


def build(mill: tm.Project, *, memory: timedelta = 20 * DAY, held_out: timedelta = 4 * DAY) -> tm.ModelVersion:
    rows = mill.dataset("rows").labelled(mill.dataset("labels"), "y").where(since=mill.now - memory)
    train, test = rows.split(time=[mill.now - held_out])
    return mill.register(mill.fit(fit, train, RECIPE, target="y"), "m", on=test)


def build_of_two_days(mill: tm.Project) -> tm.ModelVersion:
    return build(mill, memory=2 * DAY, held_out=DAY / 2)


class World:
    """A project whose stream is played day by day."""

    def __init__(self, mill: tm.Project, frame: pl.DataFrame, spec: LoopSpec, served: object) -> None:
        self.mill, self.frame, self.spec, self.served = mill, frame, spec, served

    def play(self, first: int, last: int) -> list[str]:
        made = []
        for number in range(first, last):
            day = START + number * DAY
            rows = self.frame.filter(pl.col("at").is_between(day, day + DAY, closed="left"))
            asked = rows.select("x", "z").to_dicts()
            times = [at.isoformat() for at in rows["at"]]
            self.served.predict(asked, keys=rows["row"].to_list(), at=times)  # type: ignore[attr-defined]
            truth = rows.select(row_key="row", value="y", known_time="known")
            self.mill.at(day + DAY).deployments.truth("m", truth)
            made += [each.kind for each in tick(self.mill.ws, self.spec, day + DAY)]
        return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator:
    opened: list[object] = []

    def world(
        *, turns_at: int | None, build: Callable[[tm.Project], tm.ModelVersion] = build, **changes: object
    ) -> World:
        mill = tm.open(tmp_path / "loop.mill")
        frame = stream(60, turns_at=turns_at)
        mill.add("rows", frame.select("row", "at", "x", "z"), key="row", event_time="at", known_time="at")
        mill.add("labels", frame.select("row", "y", "known"), key="row", event_time="known", known_time="known")
        begin = START + 18 * DAY
        model = mill.at(begin).build(build, name="m")
        served = deploy.deploy(mill.at(begin).ws, model, name="m", lifetime="parent")
        opened.extend([served, mill])
        options = {"shadow_days": 3, "canary_days": 2, "probation_days": 6, "cooldown_days": 5, "monthly": False}
        spec = LoopSpec(
            deployment="m",
            build=lambda now: mill.at(now).build(build, name="m"),
            monitor=Monitor("m", min_rows=200, performance_days=3, window_days=3),
            **(options | changes),  # type: ignore[arg-type]
        )
        return World(mill, frame, spec, served)

    yield world
    for each in opened:
        (each.stop if hasattr(each, "stop") else each.close)()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_turn_of_the_tide_leads_to_a_better_model_and_each_tick_counts_once(world) -> None:
    here = world(turns_at=26)
    made = here.play(18, 44)
    assert "canary" in made
    assert "promoted" in made
    ws = here.mill.ws
    assert registry.get(ws, "m", "champion").version > 1
    assert deploy.traffic(ws, "m").champion > 1
    count = len(ws.graph.events(last=1_000_000))
    end = START + 44 * DAY
    assert ticked(ws, "m", end)
    assert tick(ws, here.spec, end) == []
    assert len(ws.graph.events(last=1_000_000)) == count
    assert ws.graph.verify() == []
    promoted = next(each for each in decisions(ws, "m") if each.kind == "promoted")
    assert promoted.evidence["new"] < promoted.evidence["old"]


def test_a_probation_too_short_to_be_judged_is_refused() -> None:
    with pytest.raises(BadInput, match=r"probation_days is 4; .* at least 5"):
        LoopSpec(deployment="m", build=lambda now: None, monitor=Monitor("m"), probation_days=4)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_promoted_model_that_proves_worse_is_rolled_back(world) -> None:
    here = world(turns_at=26, build=build_of_two_days, shadow_days=6)
    ws = here.mill.ws
    first = registry.get(ws, "m", "champion").version
    day = 18
    while "promoted" not in here.play(day, day + 1):
        day += 1
        assert day < 44
    here.frame = stream(60, turns_at=26, back_at=day + 1)  # the tide turns back on the next day
    made = here.play(day + 1, day + 8)
    assert made[0] == "rolled back"
    assert registry.get(ws, "m", "champion").version == first
    assert deploy.traffic(ws, "m").champion == first
    back = next(each for each in decisions(ws, "m") if each.kind == "rolled back")
    assert back.evidence["new"] < back.evidence["old"]  # the former champion's loss, in the shadow, was the smaller one
    assert ws.graph.verify() == []


@pytest.mark.slow
def test_what_is_not_better_is_rejected_and_the_champion_stays(world) -> None:
    here = world(turns_at=None, monthly=True, on_alerts=())
    made = here.play(18, 42)
    assert made == ["shadow", "rejected"]
    assert state_of(here.mill.ws, "m").phase == "idle"
    assert deploy.traffic(here.mill.ws, "m").body() == {"champion": 1, "canary": None, "share": 0.0, "shadow": None}


@pytest.mark.slow
def test_a_person_may_have_to_approve(world) -> None:
    here = world(turns_at=26, approve="human", promote=Better(alpha=0.2))
    made = here.play(18, 40)
    assert made.count("waiting") == 1
    assert "promoted" not in made
    assert deploy.traffic(here.mill.ws, "m").champion == 1
    approve(here.mill.ws.at(START + 40 * DAY), "m", who="ann")
    assert "promoted" in here.play(40, 41)


@pytest.mark.slow
def test_a_tick_killed_between_its_decision_and_its_act_is_done_again_to_the_same_end(
    world, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(turns_at=None, monthly=True, on_alerts=())
    assert here.play(18, 32) == []
    ws = here.mill.ws

    class Killed(BaseException):
        """Nothing in the loop may catch it."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(deploy, "set_traffic", die)
        with pytest.raises(Killed):
            here.play(32, 33)
    assert state_of(ws, "m").phase == "shadow"
    assert deploy.traffic(ws, "m").shadow is None
    checks = len(ws.graph.find(Query("run", kind="watch.day")))
    assert here.play(32, 33) == []  # the decision was made; now it is acted on
    assert deploy.traffic(ws, "m").shadow == 2
    assert [each.kind for each in decisions(ws, "m")] == ["shadow"]
    assert len(ws.graph.find(Query("run", kind="watch.day"))) == checks


@pytest.mark.slow
def test_a_person_who_moves_the_traffic_is_not_undone(world) -> None:
    here = world(turns_at=None, monthly=True, on_alerts=())
    assert here.play(18, 33) == ["shadow"]
    ws = here.mill.ws.at(START + 33 * DAY)
    by_hand = Traffic(2, canary=1, share=0.5)
    deploy.set_traffic(ws, "m", by_hand, why="I know better", actor="ann")
    assert here.play(33, 35) == ["overruled"]
    assert deploy.traffic(ws, "m") == by_hand
    state = state_of(ws, "m")
    assert (state.phase, state.champion, state.challenger) == ("idle", 2, None)
    assert decisions(ws, "m")[-1].text.startswith("ann moved the traffic (I know better)")
