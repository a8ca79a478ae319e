"""Searches: on engines, with pruning, several scores, conditions, constraints, budgets, and what is left of a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import search_fits as fits
import user_fits
from sklearn.metrics import log_loss, root_mean_squared_error

from tidemill.core import recipe as recipes
from tidemill.core.errors import BadInput, NotFound
from tidemill.core.types import Query
from tidemill.flow.engines.pool import PoolEngine
from tidemill.train.fit import fit_model, predict
from tidemill.train.ranges import choice, given, log
from tidemill.train.tuning.studies import study_of
from tidemill.train.tuning.tune import tune

RECIPE = recipes.recipe(recipes.fill("distance"), recipes.scale("distance"), recipes.one_hot("carrier"))


@pytest.fixture
def tuned(ws, flights, train, valid):
    def call(functions, rows=train, on=valid, **options):
        given = {
            "target": "late", "key": "id", "time": "at", "trials": 8, "inputs": (flights,), "plan_digest": "p",
        } | options  # fmt: skip
        return tune(ws, functions, rows, on, RECIPE, **given)

    return call


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Two workers for all tests here: to start one takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIES_ONCE", str(tmp_path_factory.mktemp("marks") / "died"))
        engine = PoolEngine(2)
        yield engine
        engine.close()


def trials(ws):
    return ws.graph.find(Query("run", kind="train.trial"))[::-1]


def last_tuning(ws):
    return ws.graph.find(Query("run", kind="train.tune", limit=1))[0].id


# ------------------------------------------------------------------------------------------------ targets


def graded(rows):
    """Three classes of text and a delay in minutes, both of which follow the distance."""
    far = rows["distance"].fill_null(1000).to_numpy()
    grade = np.where(far < 850, "short", np.where(far < 1100, "middle", "wide"))
    return rows.with_columns(grade=pl.Series(grade), delay=pl.Series(far * 0.03 - 5.0))


def test_classes_of_text_are_tuned_and_predicted_in_their_order(tuned, train, valid):
    best = tuned(fits.linear, graded(train), graded(valid), target="grade", score="log_loss", trials=5)
    assert (best.task, best.classes) == ("multiclass", ("middle", "short", "wide"))
    p = predict(best, valid)
    assert p.shape == (400, 3)
    truth = graded(valid)["grade"].to_list()
    assert log_loss(truth, p, labels=["middle", "short", "wide"]) == pytest.approx(
        best.metrics["class_log_loss"], abs=1e-12
    )
    assert best.metrics["class_log_loss"] < best.baseline["class_log_loss"]


def test_a_class_that_training_lacks_is_refused_by_name(tuned, train, valid):
    strange = graded(valid).with_columns(grade=pl.lit("odd"))
    with pytest.raises(BadInput, match="target 'grade' holds 'odd', which the training rows lack; they have middle"):
        tuned(fits.linear, graded(train), strange, target="grade", score="log_loss")


def test_numbers_are_tuned_by_a_score_of_regression(tuned, train, valid):
    best = tuned([fits.ridge, fits.trees], graded(train), graded(valid), target="delay", score="rmse", trials=6)
    assert best.task == "regression"
    error = root_mean_squared_error(graded(valid)["delay"].to_numpy(), predict(best, valid))
    assert error == pytest.approx(best.metrics["rmse"], abs=1e-12)
    assert best.metrics["rmse"] < best.baseline["rmse"]


# ------------------------------------------------------------------------------------------------ what is searched


def test_a_conditional_range_is_searched_where_its_condition_holds_only(ws, tuned):
    tuned(fits.either, trials=14)
    drawn = [(run.params["penalty"], run.params["c"]) for run in trials(ws)]
    assert {penalty for penalty, _ in drawn} == {"strong", "none"}
    assert all(c == 1.0 for penalty, c in drawn if penalty == "none")
    assert len({c for penalty, c in drawn if penalty == "strong"}) > 2


def test_a_condition_on_a_later_parameter_is_refused():
    from typing import Annotated

    def fit(
        train, c: Annotated[float, log(1e-3, 1), given(kind="a")] = 0.1, kind: Annotated[str, choice("a", "b")] = "a"
    ):
        raise AssertionError

    from tidemill.train.ranges import conditions_of

    with pytest.raises(BadInput, match="'c' is given 'kind', which has no range before it"):
        conditions_of(fit)


def test_two_scores_give_a_front_that_nothing_beats(ws, tuned):
    best = tuned(fits.linear, score=["auc", "brier"], trials=12)
    view = study_of(ws, best.tuning)
    points = {trial.number: trial.values for trial in view.trials}
    front = {number: points[number] for number in view.front}
    assert front
    for number, (area, loss) in points.items():
        better = [n for n, (a, b) in points.items() if a >= area and b <= loss and (a, b) != (area, loss)]
        assert (number in front) == (not better)
    assert view.best in front
    assert best.metrics["auc"] == max(area for area, _ in points.values())


def test_the_best_keeps_to_the_constraints(ws, tuned):
    free = tuned(fits.linear, trials=8)
    worst = sorted(run.metrics["log_loss"] for run in trials(ws))
    bound = worst[3]
    kept = tuned(fits.linear, trials=8, score="brier", constraints=[f"log_loss >= {bound}"])
    assert kept.metrics["log_loss"] >= bound > free.metrics["log_loss"]
    view = study_of(ws, last_tuning(ws))
    assert {trial.number for trial in view.trials if trial.broken} == {
        trial.number
        for trial in view.trials
        if ws.graph.get(trial.run).metrics["log_loss"] < bound
    }  # fmt: skip


def test_constraints_that_no_trial_keeps_to_are_said(tuned):
    with pytest.raises(NotFound, match="no trial of 2 keeps to auc >= 2"):
        tuned(fits.linear, trials=2, constraints=["auc >= 2"])
    with pytest.raises(BadInput, match=r"no metric 'auk'.*Did you mean 'auc'"):
        tuned(fits.linear, constraints=["auk >= 0.5"])
    with pytest.raises(BadInput, match="constraint 'auc = 3' is not understood"):
        tuned(fits.linear, constraints=["auc = 3"])


def test_a_warm_start_tries_the_best_of_an_earlier_study_after_the_defaults(ws, tuned):
    first = tuned(fits.linear, trials=8)
    early = study_of(ws, first.tuning)
    ranked = sorted(early.trials, key=lambda trial: -trial.values[0])[:3]
    second = tuned(fits.linear, trials=5, seed=1, start_from=[first.tuning])
    begun = [trial.params["c"] for trial in study_of(ws, second.tuning).trials[:4]]
    wanted = [1.0, *(trial.params["c"] for trial in ranked if trial.params["c"] != 1.0)]
    assert begun[: len(wanted)] == wanted


# ------------------------------------------------------------------------------------------------ pruning


def test_the_median_pruner_gives_up_trials_that_report_less(ws, tuned):
    best = tuned(fits.stepwise, trials=20, pruner="median")
    view = study_of(ws, best.tuning)
    pruned = [trial for trial in view.trials if trial.state == "pruned"]
    assert pruned
    whole = [trial for trial in view.trials if trial.state == "complete"]
    assert max(trial.params["rate"] for trial in pruned) < max(trial.params["rate"] for trial in whole)
    run = ws.graph.get(pruned[0].run)
    assert run.status == "cancelled"
    assert run.error.startswith("given up at step")
    assert [point.value for point in ws.graph.series(run.id, "auc")] == [value for _, value in pruned[0].reports]


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_other_pruners_end_with_the_best_of_what_is_left(ws, tuned, pruner):
    best = tuned(fits.stepwise, trials=12, pruner=pruner)
    view = study_of(ws, best.tuning)
    assert {trial.state for trial in view.trials} == {"complete", "pruned"}
    assert best.metrics["auc"] == max(trial.values[0] for trial in view.trials if trial.state == "complete")


def test_a_reported_model_is_scored_on_the_validation_rows(ws, tuned):
    best = tuned(fits.reporting_models, trials=2, pruner="median", score="log_loss")
    (trial, _) = study_of(ws, best.tuning).trials
    run = ws.graph.get(trial.run)
    assert trial.reports[-1][1] == pytest.approx(run.metrics["log_loss"], abs=1e-12)


def test_a_pruner_that_is_unknown_or_has_two_scores_is_refused(tuned):
    with pytest.raises(BadInput, match="no pruner 'medina'; known are none, median, halving, hyperband"):
        tuned(fits.stepwise, pruner="medina")
    with pytest.raises(BadInput, match="needs one score, not 2"):
        tuned(fits.stepwise, pruner="median", score=["auc", "brier"])


# ------------------------------------------------------------------------------------------------ budgets


def test_a_spent_budget_begins_no_further_trial(ws, tuned):
    best = tuned(fits.sleeps, trials=50, cost=0.15, price_per_hour=3600.0)  # 0.15 s of trials
    spent = [trial.wall_s for trial in study_of(ws, best.tuning).trials]
    count = len(spent)
    assert sum(spent[:-1]) < 0.15 <= sum(spent)
    tuned(fits.sleeps, trials=50, cost=0.15, price_per_hour=3600.0)
    assert len(study_of(ws, best.tuning).trials) == count  # the whole study's cost counts
    tuned(fits.sleeps, trials=50, seed=1, time_s=0.2)
    assert len(study_of(ws, last_tuning(ws)).trials) < 5


# ------------------------------------------------------------------------------------------------ engines


def test_trials_on_worker_processes_are_the_trials_of_one_process(ws, tuned, pool):
    best = tuned(fits.linear, trials=8, sampler="random", engine=pool)
    there = {run.params["c"]: run.metrics["auc"] for run in trials(ws)}
    assert len(there) == 8
    assert {run.parent for run in trials(ws)} == {best.tuning}
    here = tuned(fits.linear, trials=8, sampler="random", plan_digest="again")
    again = {run.params["c"]: run.metrics["auc"] for run in trials(ws)[8:]}
    assert again == there
    assert here.params == best.params


def test_a_trial_whose_worker_died_is_done_again(ws, tuned, pool):
    best = tuned(fits.dies_once, trials=5, engine=pool)
    assert Path(os.environ["DIES_ONCE"]).exists()
    states = [trial.state for trial in study_of(ws, best.tuning).trials]
    assert states == ["complete"] * 5


def test_a_trial_that_kills_every_worker_fails_alone(ws, tuned, pool):
    best = tuned(fits.always_dies, trials=3, engine=pool, retries=1)
    assert best.params == {"c": 1.0}
    view = study_of(ws, best.tuning)
    assert [trial.state for trial in view.trials] == ["complete", "fail", "fail"]
    assert "ServerFailed" in view.trials[1].text


def test_reports_of_workers_are_pruned_too(ws, tuned, pool):
    best = tuned(fits.stepwise, trials=20, pruner="median", engine=pool)
    states = [trial.state for trial in study_of(ws, best.tuning).trials]
    assert set(states) == {"complete", "pruned"}, states


def test_an_error_of_a_fit_with_its_defaults_comes_from_the_worker_as_it_was(ws, tuned, pool):
    with pytest.raises(RuntimeError, match="no luck"):
        tuned(user_fits.always_breaks, engine=pool)
    assert [run.status for run in trials(ws)] == ["failed"] * len(trials(ws))
    assert ws.graph.find(Query("run", kind="train.tune"))[0].status == "failed"


def test_many_at_once_need_an_engine(tuned):
    with pytest.raises(BadInput, match="parallel is 2 without an engine"):
        tuned(fits.linear, parallel=2)


def test_a_plain_fit_logs_what_it_reports(ws, train, flights):
    fitted = fit_model(
        ws, fits.stepwise, train, RECIPE, target="late", key="id", time="at", params={"rate": 1.0},
        inputs=(flights,), plan_digest="p",
    )  # fmt: skip
    assert [point.value for point in ws.graph.series(fitted.run, "score")] == [0.6, 0.7, 0.8, 0.9, 1.0]


# ------------------------------------------------------------------------------------------------ the page's view


def test_the_view_of_a_study_has_history_importance_and_slices(ws, tuned):
    best = tuned([fits.linear, fits.either], trials=14)
    view = study_of(ws, best.tuning)
    assert view.scores == (("auc", "max"),)
    values = [trial.values[0] for trial in view.trials]
    assert [line[1] for line in view.history] == values
    assert [line[2] for line in view.history] == list(np.maximum.accumulate(values))
    assert values[view.best] == max(values)
    assert set(view.slices["linear"]) == {"c"}
    for shares in view.importance.values():
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-9) or not shares
    assert view.to_json()["trials"][0]["params"] == {"c": 1.0}


def test_a_run_that_is_no_tuning_has_no_study(ws, tuned):
    best = tuned(fits.linear, trials=1)
    with pytest.raises(BadInput, match=r"is a train\.fit, not a tuning"):
        study_of(ws, best.run)


# ------------------------------------------------------------------------------------------------ kills

PROGRAM = """
import sys
import late_rows
import search_fits as fits
import user_fits
from test_search import RECIPE
from tidemill.core.workspace import open_workspace
from tidemill.train.tuning.tune import tune
ws = open_workspace(sys.argv[1])
best = tune(
    ws, fits.in_steps, late_rows.make_rows(1), late_rows.make_rows(2, 400), RECIPE,
    target="late", key="id", time="at", trials=4, inputs=(), plan_digest="p",
    progress=lambda done, total, text: print(done, flush=True),
)
print(dict(best.params), dict(best.metrics))
"""


def start(where, steps):
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here), "STEPS": str(steps)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(where)], stdout=subprocess.PIPE, text=True, cwd=here, env=environment
    )


def test_a_killed_trial_goes_on_from_its_checkpoint(tmp_path):
    whole = start(tmp_path / "whole.mill", tmp_path / "whole")
    want = whole.communicate(timeout=120)[0].splitlines()[-1]
    assert whole.returncode == 0
    killed = start(tmp_path / "killed.mill", tmp_path / "steps")
    while killed.stdout.readline() != "1\n":
        pass
    while len((tmp_path / "steps").read_text().splitlines()) < 15:  # in the middle of the second trial
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = start(tmp_path / "killed.mill", tmp_path / "steps")
    assert again.communicate(timeout=120)[0].splitlines()[-1] == want
    lines = (tmp_path / "steps").read_text().splitlines()
    assert sorted(set(lines)) == sorted(set((tmp_path / "whole").read_text().splitlines()))
    assert len(lines) <= 41  # at most the step in hand was done twice
