"""Tuning: recorded, repeatable, and resumable after kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import user_fits as fits

from tidemill.core import recipe as recipes
from tidemill.core.errors import BadInput, NotEnoughRows, UnknownColumn
from tidemill.core.scores import auc, log_loss
from tidemill.core.types import Query
from tidemill.core.workspace import open_workspace
from tidemill.train.fit import predict
from tidemill.train.tuning.tune import tune

RECIPE = recipes.recipe(recipes.fill("distance"), recipes.scale("distance"), recipes.one_hot("carrier"))
ALL = [fits.logistic, fits.forest, fits.boosted]


@pytest.fixture
def tuned(ws, flights, train, valid):
    def call(functions=ALL, where=ws, rows=valid, **options):
        given = {
            "target": "late", "key": "id", "time": "at", "trials": 8, "inputs": (flights,), "plan_digest": "p",
        } | options  # fmt: skip
        return tune(where, functions, train, rows, RECIPE, **given)

    return call


def trials(ws):
    return ws.graph.find(Query("run", kind="train.trial"))[::-1]


def test_every_trial_is_a_run_inside_the_tuning(ws, tuned):
    best = tuned()
    runs = trials(ws)
    assert len(runs) == 8
    assert {run.parent for run in runs} == {best.tuning}
    assert all({"auc", "log_loss", "brier"} <= set(run.metrics) for run in runs)
    assert all(run.code and run.environment and run.duration_s is not None for run in runs)


def test_the_first_trial_of_each_algorithm_has_its_defaults(ws, tuned):
    tuned()
    first = [(run.name, run.params) for run in trials(ws)[:3]]
    assert first == [
        ("logistic", {"c": 1.0, "seed": 0}),
        ("forest", {"trees": 5, "share": 0.9, "criterion": "gini", "seed": 0}),
        ("boosted", {"rate": 0.1, "seed": 0}),
    ]


@pytest.mark.parametrize(("score", "best_of"), [("auc", max), ("log_loss", min)])
def test_the_best_trial_wins_in_the_scores_own_direction(ws, tuned, valid, score, best_of):
    best = tuned(score=score)
    assert best.metrics[score] == best_of(run.metrics[score] for run in trials(ws))
    got = {"auc": auc, "log_loss": log_loss}[score](valid["late"].cast(float), predict(best, valid))
    assert got == pytest.approx(best.metrics[score], abs=1e-12)


def test_a_constant_baseline_stands_beside(ws, tuned, train, valid):
    best = tuned(trials=3)
    share = train["late"].mean()
    assert best.baseline["log_loss"] == pytest.approx(log_loss(valid["late"].cast(float), np.full(400, share)))
    assert best.baseline["auc"] == 0.5
    (run,) = ws.graph.find(Query("run", kind="train.baseline"))
    assert run.params == {"p": share}


def test_the_same_seed_gives_the_same_search_in_another_workspace(tmp_path, ws, tuned):
    tuned()
    other = open_workspace(tmp_path / "other.mill")
    tuned(where=other, inputs=())
    assert [run.params for run in trials(ws)] == [run.params for run in trials(other)]
    assert [run.metrics["auc"] for run in trials(ws)] == [run.metrics["auc"] for run in trials(other)]
    other.close()


def test_the_same_tuning_again_fits_the_best_only(ws, tuned, valid):
    first = tuned()
    fits.CALLS.clear()
    again = tuned()
    assert [again.fit_name] == fits.CALLS
    assert len(trials(ws)) == 8
    assert (again.run, again.tuning, again.params) == (first.run, first.tuning, first.params)
    assert (again.metrics, again.baseline) == (first.metrics, first.baseline)
    assert np.array_equal(predict(again, valid), predict(first, valid))


def test_more_trials_go_on_from_those_there(ws, tuned):
    tuned(trials=5)
    before = [run.id for run in trials(ws)]
    tuned(trials=9)
    assert [run.id for run in trials(ws)][:5] == before
    assert len(trials(ws)) == 9


def test_a_later_trial_that_fails_is_recorded_and_passed_over(ws, tuned):
    said = []
    best = tuned([fits.breaks_sometimes], trials=4, progress=lambda done, total, text: said.append((done, total, text)))
    assert best.params == {"c": 1.0}
    assert [run.status for run in trials(ws)] == ["done", "failed", "failed", "failed"]
    assert said[1] == (2, 4, "breaks_sometimes failed, see its run")


def test_a_function_that_fails_with_its_defaults_ends_the_tuning(ws, tuned):
    with pytest.raises(RuntimeError, match="no luck"):
        tuned([fits.always_breaks])
    (run,) = ws.graph.find(Query("run", kind="train.tune"))
    assert run.status == "failed"


def test_one_function_alone_and_another_sampler_will_do(tuned):
    assert tuned(fits.logistic, trials=2, sampler="random").fit_name == "logistic"


def test_bad_questions_are_refused_before_anything_runs(ws, tuned, valid):
    with pytest.raises(BadInput, match="no score 'auk'; known are auc"):
        tuned(score="auk")
    with pytest.raises(BadInput, match="trials is 2 for 3 fits"):
        tuned(trials=2)
    with pytest.raises(BadInput, match="two fits are named 'logistic'"):
        tuned([fits.logistic, fits.logistic])
    with pytest.raises(BadInput, match="no fits to tune"):
        tuned([])
    with pytest.raises(BadInput, match="no sampler 'tpf'; known are random, tpe"):
        tuned(sampler="tpf")
    with pytest.raises(UnknownColumn, match="no column 'late' in the validation rows"):
        tuned(rows=valid.drop("late"))
    with pytest.raises(NotEnoughRows, match="target 'late' is 1 in all 400 validation rows, so auc is undefined"):
        tuned(rows=valid.with_columns(late=True))
    assert ws.graph.find(Query("run", kind="train.*")) == []


PROGRAM = """
import sys
import late_rows
import user_fits as fits
from test_tune import RECIPE
from tidemill.core.workspace import open_workspace
from tidemill.train.tuning.tune import tune
ws = open_workspace(sys.argv[1])
best = tune(
    ws, [fits.logistic, fits.forest, fits.boosted], late_rows.make_rows(1), late_rows.make_rows(2, 400), RECIPE,
    target="late", key="id", time="at", trials=12, inputs=(), plan_digest="p",
    progress=lambda done, total, text: print(done, flush=True),
)
print(best.fit_name, dict(best.params), dict(best.metrics))
"""


def start(where):
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(where)], stdout=subprocess.PIPE, text=True, cwd=here, env=environment
    )


def test_a_tuning_killed_in_the_middle_goes_on_and_ends_the_same(tmp_path):
    whole = start(tmp_path / "whole.mill")
    want = whole.communicate(timeout=120)[0].splitlines()[-1]
    assert whole.returncode == 0

    killed = start(tmp_path / "killed.mill")
    while killed.stdout.readline() != "6\n":
        pass
    time.sleep(0.02)  # somewhere within the next trial
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    left = open_workspace(tmp_path / "killed.mill")
    done = {run.id for run in trials(left) if run.status == "done"}
    assert len(done) >= 6

    again = start(tmp_path / "killed.mill")
    got = again.communicate(timeout=120)[0].splitlines()[-1]
    assert got == want
    finished = {run.id for run in trials(left) if run.status == "done"}
    assert done < finished
    assert len(finished) == 12  # none was done twice
    assert left.graph.verify() == []
    left.close()
