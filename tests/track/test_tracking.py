"""Experiments and the runs that clients drive, on both databases."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.core.graphs.committing import Committer, committer_of, reading
from tidemill.core.ids import utc_now
from tidemill.core.types import Point, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.track import experiments, tracking

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    if request.param == "sqlite":
        opened = open_workspace(tmp_path / "w.mill")
    else:
        new_database: Callable[[], str] = request.getfixturevalue("new_database")
        opened = open_workspace(new_database(), store=str(tmp_path / "objects"))
    yield opened
    opened.close()


def test_the_default_experiment_is_there_and_stays(ws: Workspace) -> None:
    assert experiments.get(ws, 0).name == "Default"
    with pytest.raises(BadInput, match="it stays"):
        experiments.delete(ws, 0)


def test_an_experiment_through_its_life(ws: Workspace) -> None:
    made = experiments.create(ws, "rates", location="anywhere", tags={"team": "a"})
    assert experiments.by_name(ws, "rates") == made
    with pytest.raises(Conflict, match="there already"):
        experiments.create(ws, "rates")
    experiments.set_tags(ws, made.id, {"team": "b", "more": "c"})
    experiments.delete_tag(ws, made.id, "more")
    with pytest.raises(NotFound, match="no tag 'more'"):
        experiments.delete_tag(ws, made.id, "more")
    experiments.delete(ws, made.id)
    with pytest.raises(BadInput, match="deleted"):
        experiments.rename(ws, made.id, "ratios")
    with pytest.raises(Conflict, match="restore it"):
        experiments.create(ws, "rates")
    experiments.restore(ws, made.id)
    found = experiments.rename(ws, made.id, "ratios")
    assert (found.name, found.tags, found.stage, found.location) == ("ratios", {"team": "b"}, "active", "anywhere")
    assert found.updated_ms >= made.updated_ms
    assert len(ws.graph.events(f"experiment/{made.id}")) == 6
    with pytest.raises(NotFound, match=r"no experiment 'ratio'; there are 2\. Did you mean"):
        experiments.find(ws, "ratio")


def test_a_run_through_its_life(ws: Workspace) -> None:
    place = experiments.create(ws, "rates").id
    run_id = tracking.start(ws, place, tags={"mlflow.runName": "first", "mlflow.user": "yoko"}, start_ms=1000).run.id
    points = [Point("loss", 1.0 / (step + 1), step, AT + timedelta(seconds=step)) for step in range(5)]
    tracking.log(ws, run_id, metrics=points, params={"c": "1"}, tags={"a": "b"})
    tracking.log(ws, run_id, metrics=points[2:4], params={"c": "1"}, tags={"a": "b"})  # a client tries again
    assert [each.value for each in ws.graph.series(run_id, "loss")] == [point.value for point in points]
    with pytest.raises(BadInput, match=r"'c' of run .* is '1' already, not '2'"):
        tracking.log(ws, run_id, metrics=[Point("never", 1.0, 0, AT)], params={"d": "3", "c": "2"})
    found = tracking.get(ws, run_id)
    assert (found.experiment, found.owner, found.start_ms, found.run.name) == (place, "yoko", 1000, "first")
    assert (found.params, set(found.metrics)) == ({"c": "1"}, {"loss"})
    assert found.metrics["loss"][:2] == (0.2, 4)
    ended = tracking.update(ws, run_id, status="done", end_ms=5000, name="second")
    assert (ended.end_ms, ended.run.metrics, ended.tags["mlflow.runName"]) == (5000, {"loss": 0.2}, "second")
    tracking.log(ws, run_id, tags={"late": "tag"})  # as trackers allow
    tracking.update(ws, run_id, status="running")
    assert tracking.get(ws, run_id).end_ms is None
    tracking.delete(ws, run_id)
    assert tracking.get(ws, run_id).stage == "deleted"
    with pytest.raises(BadInput, match="deleted"):
        tracking.log(ws, run_id, metrics=[Point("loss", 0.0, 9, AT)])
    tracking.restore(ws, run_id)
    tracking.delete_tag(ws, run_id, "late")
    assert set(tracking.get(ws, run_id).tags) == {"mlflow.runName", "mlflow.user", "a"}
    assert ws.graph.verify() == []


def test_the_last_value_is_that_of_the_last_step_whatever_comes_last(ws: Workspace) -> None:
    run_id = tracking.start(ws).run.id
    for value, step, second in ((1.0, 5, 0), (2.0, 3, 9), (math.nan, 5, 1), (3.0, 5, 1), (math.inf, 4, 9)):
        tracking.log(ws, run_id, metrics=[Point("m", value, step, AT + timedelta(seconds=second))])
    assert tracking.get(ws, run_id).metrics["m"][:2] == (3.0, 5)
    tracking.log(ws, run_id, metrics=[Point("m", math.nan, 6, AT)])
    assert math.isnan(tracking.get(ws, run_id).metrics["m"].value)
    assert len(ws.graph.series(run_id, "m")) == 6


def test_runs_that_tidemill_records_are_shown_too(ws: Workspace) -> None:
    ws.graph.put_run(Run("f" * 32, "train.fit", "logistic", "running", utc_now(), params={"c": 1.5, "deep": [1]}))
    ws.graph.put_run(Run("f" * 32, "train.fit", "logistic", "done", utc_now(), utc_now(), metrics={"auc": 0.7}))
    found = tracking.get(ws, "f" * 32)
    assert (found.experiment, found.metrics["auc"].value, found.params) == (0, 0.7, {})
    with pytest.raises(Conflict, match="cannot change"):
        tracking.log(ws, "f" * 32, tags={"a": "b"})
    ws.graph.put_run(Run("e" * 32, "data.import", "rows", "running", utc_now()))
    with pytest.raises(NotFound, match=r"trackers do not show"):
        tracking.get(ws, "e" * 32)


def test_many_writers_are_committed_together_and_fail_alone(ws: Workspace) -> None:
    run_ids = [tracking.start(ws).run.id for _ in range(8)]
    before = len(ws.graph.events())
    failed: list[str] = []

    def work(run_id: str) -> None:
        for step in range(20):
            tracking.log(ws, run_id, metrics=[Point("m", float(step), step, AT)], params={"p": "1"})
            try:
                tracking.log(ws, run_id, params={"q": "1", "p": "2"})
            except BadInput as error:
                failed.append(str(error))

    threads = [threading.Thread(target=work, args=(run_id,)) for run_id in run_ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 160
    for run_id in run_ids:
        assert len(ws.graph.series(run_id, "m")) == 20
        assert tracking.get(ws, run_id).params == {"p": "1"}
    assert len(ws.graph.events()) == before + 8 * 21  # 20 values and a parameter each
    assert ws.graph.verify() == []


def test_amending_takes_the_copies_along(ws: Workspace) -> None:
    place = experiments.create(ws, "of yoko", tags={"who": "yoko"}).id
    run_id = tracking.start(ws, place, name="yoko's", tags={"who": "yoko"}).run.id
    tracking.log(ws, run_id, params={"name": "yoko", "c": "1"})
    ws.graph.amend(lambda text: text.replace("yoko", "[erased]"), reason="asked")
    assert tracking.get(ws, run_id).params == {"name": "[erased]", "c": "1"}
    with reading(ws) as link:
        for table in ("experiments", "tracked", "run_params", "run_tags"):
            assert "yoko" not in str(link.exec_driver_sql(f"SELECT * FROM {table}").all())
    assert experiments.get(ws, place).name == "of [erased]"


def test_one_committer_a_workspace_and_it_goes_with_it(tmp_path: Path) -> None:
    opened = open_workspace(tmp_path / "w.mill")
    one = committer_of(opened)
    assert isinstance(one, Committer)
    assert committer_of(opened) is one
    opened.close()
