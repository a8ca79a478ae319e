"""Leaderboards: judged as the functions for one model judge, recorded, resumable, the same on every engine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import board_fits as fits
import numpy as np
import polars as pl
import pytest

from tidemill.core import recipe as recipes
from tidemill.core import scores
from tidemill.core.errors import BadInput, EmptyInput, NotFound, Refused
from tidemill.core.types import Query
from tidemill.core.workspace import open_workspace
from tidemill.flow.engines.pool import PoolEngine
from tidemill.train import looks
from tidemill.train.fit import fit_model, predict
from tidemill.train.scoring.compare import paired
from tidemill.train.scoring.intervals import interval
from tidemill.train.selecting import boards
from tidemill.train.selecting.candidates import candidates
from tidemill.train.selecting.judging import holm
from tidemill.train.selecting.leaderboard import leaderboard, listed, read

RECIPE = recipes.recipe(recipes.fill("distance"), recipes.scale("distance"), recipes.one_hot("carrier"))


@pytest.fixture
def board(ws, flights, train, valid):
    """A leaderboard of these fits, on flights unless told otherwise."""
    later = valid.with_columns(pl.col("at") + pl.duration(days=90))

    def call(given, where=ws, rows=train, on=later, recipe=RECIPE, **options):
        asked = {"target": "late", "key": "id", "time": "at", "inputs": (flights,), "plan_digest": "p"} | options
        return leaderboard(where, given, rows, on, recipe, **asked)

    return call


@pytest.fixture(scope="module")
def pool():
    engine = PoolEngine(2)
    yield engine
    engine.close()


def runs(ws, kind="train.candidate"):
    return ws.graph.find(Query("run", kind=kind))[::-1]


def truth(valid):
    return valid["late"].cast(pl.Float64).to_numpy()


# ------------------------------------------------------------------------------------------------------ judging


def test_lines_say_what_the_functions_for_one_model_say(ws, board, flights, train, valid):
    made = board([fits.plain, *candidates("classification", include=["tree", "class_shares"])])
    said = {}
    for fit in (fits.plain, *candidates("classification", include=["tree", "class_shares"])):
        fitted = fit_model(
            ws, fit, train, RECIPE,
            target="late", key="id", time="at", params={}, inputs=(flights,), plan_digest="p",
        )  # fmt: skip
        said[fit.__name__] = predict(fitted, valid)
    y = truth(valid)
    order = sorted(said, key=lambda name: -scores.auc(y, said[name]))
    assert [line.name for line in made.lines] == order
    for line in made.lines:
        own = interval(y, said[line.name], "auc")
        assert (line.standing.value, line.standing.low, line.standing.high) == (own.value, own.low, own.high)
        assert line.scores["log_loss"] == scores.log_loss(y, said[line.name])
    tests = {name: paired(y, said[order[0]], said[name], score="auc") for name in order[1:]}
    adjusted = holm({name: each.p_value for name, each in tests.items()})
    for name, each in tests.items():
        standing = made.line(name).standing
        assert (standing.difference, standing.p_value) == (each.difference, adjusted[name])
        assert standing.tied == (adjusted[name] >= 0.05)


def test_ties_are_shown_as_ties_and_what_is_worse_is_not(board):
    made = board([fits.plain, fits.nearly_plain])
    assert {line.name for line in made.tied} == {"plain", "nearly_plain"}
    assert [(line.name, line.rank) for line in made.lines[2:]] == [("class_shares", 3)]
    assert "1=" in made.text
    assert "2 models share rank 1" in made.text


def test_a_baseline_is_always_there_and_a_model_of_noise_is_not_better(board, train, valid):
    dice = np.random.default_rng(5)
    noise = train.with_columns(distance=dice.normal(size=600), carrier=pl.lit("AA"))
    made = board(candidates("classification", include=["tree"]), rows=noise, score="log_loss")
    assert [line.name for line in made.lines if line.baseline] == ["class_shares"]
    assert made.line("tree").standing.over_baseline is False
    assert made.line("class_shares").standing.over_baseline is None
    assert board([fits.plain]).line("plain").standing.over_baseline is True


def test_groups_make_intervals_as_wide_as_they_should_be(board, valid):
    # The same row five times is no more than one row.
    many = pl.concat([valid.with_columns(id=pl.format("{}/{}", "id", pl.lit(n)), day="id") for n in range(5)])
    alone, wide, narrow = (
        board([fits.plain], on=on, score="log_loss", groups=groups).line("plain").standing
        for on, groups in ((valid, None), (many, "day"), (many, None))
    )
    widths = [each.high - each.low for each in (alone, wide, narrow)]
    assert widths[1] == pytest.approx(widths[0], rel=0.01)
    assert widths[2] == pytest.approx(widths[0] / 5**0.5, rel=0.01)


def test_holm_is_what_the_paper_says():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


# ------------------------------------------------------------------------------------------------------ kinds


def test_classes_of_text_are_compared_by_their_probabilities(board):
    made = board(candidates("classification", include=["logistic", "tree"]), target="carrier",
                 recipe=recipes.recipe(recipes.fill("distance")))  # fmt: skip
    assert (made.task, made.score, made.direction) == ("multiclass", "class_log_loss", "min")
    assert {"label_accuracy", "macro_f1"} <= set(made.best.scores)
    by_label = board([*candidates("classification", include=["logistic"])], target="carrier", score="macro_f1",
                     recipe=recipes.recipe(recipes.fill("distance")))  # fmt: skip
    assert by_label.best.standing.method.startswith("bootstrap")


def test_numbers_are_compared_by_their_errors(board):
    made = board(candidates("regression", include=["ridge", "median_value"]), target="distance",
                 rows=TALL, on=TALL_LATER, recipe=recipes.recipe(recipes.keep("x")))  # fmt: skip
    assert [(line.name, line.rank) for line in made.lines] == [("ridge", 1), ("median_value", 2)]
    assert (made.kind, made.score) == ("regression", "mae")
    own = board([linear_fit], target="distance", rows=TALL, on=TALL_LATER, recipe=recipes.recipe(recipes.keep("x")))
    assert own.kind == "regression"
    assert {line.name for line in own.lines} == {"linear_fit", "mean_value", "median_value"}


def test_a_forecast_is_judged_in_blocks_of_time(board):
    made = board(candidates("forecast", include=["lagged_linear", "last_season"]), target="distance",
                 rows=TALL, on=TALL_LATER, recipe=recipes.recipe(recipes.keep("x")))  # fmt: skip
    assert (made.best.name, made.units, made.rows) == ("lagged_linear", 30, 200)
    assert made.line("last_season").standing.tied is False


def test_a_clustering_needs_no_target_and_its_intervals_no_row_twice(board):
    options = {"rows": TWO_HEAPS, "on": TWO_HEAPS_LATER, "recipe": recipes.recipe(recipes.keep("x", "z"))}
    made = board(
        candidates("clustering", include=["k_means"]), target=None, params={"k_means": {"clusters": 2}}, **options
    )
    assert (made.kind, made.score, made.best.name) == ("clustering", "silhouette", "k_means")
    labels = (TWO_HEAPS_LATER["x"] > 5).to_numpy().astype(float)
    X = TWO_HEAPS_LATER.select("x", "z").to_numpy()
    mean, spread = (f(TWO_HEAPS.select("x", "z").to_numpy(), axis=0) for f in (np.mean, np.std))
    assert made.best.standing.value == pytest.approx(scores.named("silhouette").function((X - mean) / spread, labels))
    assert made.best.standing.low < made.best.standing.value < made.best.standing.high
    assert made.line("one_cluster").standing.value == 0
    assert made.best.scores["clusters"] == 2
    known = board(candidates("clustering", include=["k_means"]), target="heap", params={"k_means": {"clusters": 2}},
                  **options)  # fmt: skip
    assert (known.score, known.best.standing.value) == ("adjusted_rand", 1.0)


def test_rows_without_event_time_will_do_but_not_for_a_forecast(board):
    untimed = {"rows": TALL.drop("at"), "on": TALL_LATER.drop("at"), "time": None, "target": "distance"}
    assert board(candidates("regression", include=["ridge"]), recipe=recipes.recipe(recipes.keep("x")), **untimed).best
    with pytest.raises(BadInput, match="a forecast needs rows with an event time"):
        board(candidates("forecast"), recipe=recipes.recipe(recipes.keep("x")), **untimed)


# ------------------------------------------------------------------------------------------------------ recording


def test_each_candidate_is_a_run_and_the_report_comes_from_all_of_them(ws, board):
    made = board([fits.plain, fits.nearly_plain])
    (run,) = runs(ws, "train.leaderboard")
    assert [each.name for each in runs(ws)] == ["class_shares", "plain", "nearly_plain"]
    assert {each.parent for each in runs(ws)} == {run.id}
    assert all({"auc", "fit_s", "latency_us", "size_bytes"} <= set(each.metrics) for each in runs(ws))
    artifact = listed(ws)[0]
    assert (artifact.label, artifact.run_id) == ("report/leaderboard/flights@1", run.id)
    came_from = {each.id for each in artifact.trace().runs}
    assert {each.id for each in runs(ws)} <= came_from
    assert made.run == run.id
    assert run.metrics["auc"] == made.best.standing.value


def test_size_and_times_are_those_of_the_model(ws, board):
    import pickle

    made = board([fits.plain, fits.unsendable])
    line = made.line("plain")
    assert 0 < line.fit_s < 60
    assert 0 < line.latency_us < 1e6
    from sklearn.linear_model import LogisticRegression

    small = len(pickle.dumps(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])))
    assert small * 0.8 < line.size_bytes < small * 1.5
    assert made.line("unsendable").size_bytes is None


def test_the_same_question_again_fits_nothing_and_is_no_new_look(ws, board):
    first = board([fits.plain, fits.nearly_plain])
    fits.CALLS.clear()
    again = board([fits.plain, fits.nearly_plain])
    assert fits.CALLS == []
    assert [line.cached for line in again.lines] == [True] * 3
    assert [(line.name, line.standing) for line in again.lines] == [(line.name, line.standing) for line in first.lines]
    assert (first.looks["times"], again.looks["times"], again.looks["models"]) == (1, 1, 3)


def test_one_more_candidate_or_another_parameter_fits_that_one_only(ws, board):
    board([fits.plain])
    fits.CALLS.clear()
    board([fits.plain, fits.nearly_plain])
    assert fits.CALLS == ["nearly_plain"]
    made = board([fits.plain, fits.nearly_plain], params={"plain": {"strength": 0.01}})
    assert fits.CALLS == ["nearly_plain", "plain"]
    assert (made.looks["times"], made.looks["models"]) == (3, 4)
    assert "looked at 3 times, for 4 models" in made.text


def test_a_look_is_counted_for_these_rows(ws, board, valid):
    made = board([fits.plain], on=valid)
    digest = looks.digest_of(valid, key="id", target="late")
    assert (made.looks["digest"], looks.of(ws, digest).times) == (digest, 1)
    assert looks.of(ws, looks.digest_of(valid.head(10), key="id", target="late")).times == 0


def test_a_candidate_that_fails_is_told_and_tried_again_next_time(ws, board):
    made = board([fits.breaks, fits.silent, fits.plain])
    assert made.line("breaks").error == "RuntimeError: no luck"
    assert "object has no predict_proba" in made.line("silent").error
    assert [line.name for line in made.lines if line.rank is None] == ["breaks", "silent"]
    assert "failed: RuntimeError: no luck" in made.text
    assert [each.status for each in runs(ws) if each.name == "breaks"] == ["failed"]
    fits.CALLS.clear()
    board([fits.breaks, fits.silent, fits.plain])
    assert fits.CALLS == ["breaks"]


def test_a_board_is_read_back_as_it_was(ws, board):
    made = board([fits.plain, fits.breaks], name="late")
    assert read(ws, "late") == made
    assert read(ws, made.run) == made
    assert boards.from_json(json.loads(json.dumps(made.as_json()))) == made
    with pytest.raises(NotFound, match=r"no leaderboard 'lat'; there are late. Did you mean 'late'\?"):
        read(ws, "lat")
    with pytest.raises(NotFound, match=r"no candidate 'plan' here; .* Did you mean 'plain'\?"):
        made.line("plan")


# ------------------------------------------------------------------------------------------------------ leaks


def test_leaks_are_in_the_table_and_can_stop_it_before_any_fit(ws, board, train, valid):
    overlapping = pl.concat([valid, train.head(5)])
    made = board([fits.plain], on=overlapping)
    assert [finding.kind for finding in made.findings][:1] == ["same key"]
    assert "error: 5 row ids (id) of 5 held-out rows" in made.text
    before = len(runs(ws))
    with pytest.raises(Refused, match=r"5 row ids \(id\) of 5 held-out rows .* Mend the split"):
        board([fits.nearly_plain], on=overlapping, leaks="refuse")
    assert len(runs(ws)) == before


# ------------------------------------------------------------------------------------------------------ engines


def test_two_workers_come_to_the_same_table(tmp_path, ws, board, pool):
    given = [fits.plain, fits.breaks, *candidates("classification", include=["tree", "class_shares"])]
    said = []
    there = board(given, engine=pool, progress=lambda done, total, text: said.append((done, total, text)))
    other = open_workspace(tmp_path / "other.mill")
    here = board(given, where=other, inputs=())
    assert [(line.name, line.standing, line.error) for line in there.lines] == [
        (line.name, line.standing, line.error) for line in here.lines
    ]
    assert said[1] == (2, 4, "breaks failed")
    assert {run.status for run in runs(ws)} == {"done", "failed"}
    other.close()


def test_a_worker_that_dies_or_takes_too_long_costs_one_candidate(board, pool):
    made = board([fits.plain, fits.dies, fits.sleeps], engine=pool, timeout_s=15)
    assert made.line("plain").rank == 1
    assert made.line("dies").error.startswith("ServerFailed")
    assert made.line("sleeps").error.startswith("TimedOut")


PROGRAM = """
import sys
import board_fits as fits
import late_rows
from test_leaderboard import RECIPE
from tidemill.core.workspace import open_workspace
from tidemill.train.selecting.leaderboard import leaderboard
ws = open_workspace(sys.argv[1])
made = leaderboard(
    ws, [fits.plain, fits.marks], late_rows.make_rows(1), late_rows.make_rows(2, 400), RECIPE,
    target="late", key="id", time="at", inputs=(), plan_digest="p",
)
print([(line.name, line.standing.value, line.cached) for line in made.lines])
"""


def start(where, mark, nap):
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here), "MARK": str(mark), "NAP": str(nap)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(where)], stdout=subprocess.PIPE, text=True, cwd=here, env=environment
    )


def test_a_leaderboard_killed_in_the_middle_goes_on_with_what_is_left(tmp_path):
    killed = start(tmp_path / "w.mill", tmp_path / "mark", 60)
    while not (tmp_path / "mark").exists():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again = start(tmp_path / "w.mill", tmp_path / "mark", 0)
    lines = {name: cached for name, _, cached in eval(again.communicate(timeout=120)[0])}
    assert lines == {"class_shares": True, "plain": True, "marks": False}
    left = open_workspace(tmp_path / "w.mill")
    assert [run.name for run in runs(left) if run.status == "done"] == ["class_shares", "plain", "marks"]
    assert left.graph.verify() == []
    left.close()


def test_two_processes_that_ask_at_once_fit_each_candidate_once(tmp_path):
    open_workspace(tmp_path / "w.mill").close()
    both = [start(tmp_path / "w.mill", tmp_path / "mark", 2) for _ in range(2)]
    said = [each.communicate(timeout=120)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0]
    first, second = ([(name, value) for name, value, _ in eval(each)] for each in said)
    assert first == second
    left = open_workspace(tmp_path / "w.mill")
    assert sorted(run.name for run in runs(left)) == ["class_shares", "marks", "plain"]
    left.close()


# ------------------------------------------------------------------------------------------------------ refusals


def test_bad_questions_are_refused_before_anything_runs(ws, board, valid):
    with pytest.raises(BadInput, match=r"no score 'auk'; known are auc"):
        board([fits.plain], score="auk")
    with pytest.raises(BadInput, match="two candidates are named 'plain'"):
        board([fits.plain, fits.plain])
    with pytest.raises(BadInput, match="no candidates; give some"):
        board([])
    with pytest.raises(BadInput, match=r"params are given for 'plan'; .* Did you mean 'plain'\?"):
        board([fits.plain], params={"plan": {}})
    with pytest.raises(BadInput, match=r"plain\(\) has no parameter 'c'"):
        board([fits.plain], params={"plain": {"c": 1}})
    with pytest.raises(BadInput, match="target is None; only a clustering has none"):
        board(candidates("classification"), target=None)
    with pytest.raises(BadInput, match="level is 95; it must lie between 0 and 1"):
        board([fits.plain], level=95)
    with pytest.raises(EmptyInput, match="there are no held-out rows; check the split"):
        board([fits.plain], on=valid.head(0))
    with pytest.raises(BadInput, match="score 'mae' is for regression"):
        board(candidates("classification"), score="mae")
    with pytest.raises(BadInput, match="'adjusted_rand' compares clusters with a target"):
        board(candidates("clustering"), target=None, score="adjusted_rand")
    assert runs(ws, "train.*") == []


def linear_fit(train):
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(train.X, train.y)


def _tall(first, n):
    from datetime import timedelta

    import late_rows

    dice = np.random.default_rng(first)
    x = dice.normal(size=n)
    at = [late_rows.START + timedelta(hours=first + hour) for hour in range(n)]
    frame = {
        "id": [f"t{first + row}" for row in range(n)],
        "at": at,
        "x": x,
        "distance": 50 + 9 * x + dice.normal(size=n),
    }
    return pl.DataFrame(frame)


def _heaps(seed, n):
    dice = np.random.default_rng(seed)
    heap = dice.integers(0, 2, n)
    x, z = 10 * heap + dice.normal(size=n), dice.normal(size=n)
    at = _tall(seed * n, n)["at"]
    return pl.DataFrame({"id": [f"{seed}-{row}" for row in range(n)], "at": at, "x": x, "z": z, "heap": heap})


TALL, TALL_LATER = _tall(0, 600), _tall(600, 200)
TWO_HEAPS, TWO_HEAPS_LATER = _heaps(1, 300), _heaps(2, 300)
