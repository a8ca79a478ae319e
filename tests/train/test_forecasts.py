"""Forecasts of series whose future is known: baselines by hand, seasons, gaps, trends."""

import numpy as np
import pytest

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.types import Matrix
from tidemill.train.selecting import baselines, forecasts
from tidemill.train.selecting.series import of_train, season_of

HOUR_US = 3_600_000_000
STEPS = np.arange(24 * 40)


def matrix(y, times=None, X=None):
    y = np.asarray(y, dtype=float)
    times = np.arange(len(y)) * HOUR_US if times is None else np.asarray(times)
    X = np.zeros((len(y), 1)) if X is None else X
    return Matrix(X, y, ("x",), np.array([str(n) for n in range(len(y))], dtype=object), times)


def daily(steps):
    return 50 + 10 * np.sin(2 * np.pi * steps / 24) + 0.01 * steps


def asked(model, steps, X=None):
    times = np.asarray(steps) * HOUR_US
    return model.forecast(times, np.zeros((len(times), 1)) if X is None else X)


def test_baselines_are_what_the_textbook_says():
    y = [3.0, 5.0, 4.0, 6.0, 5.0, 9.0]
    ahead = [6, 7, 8]
    assert asked(baselines.last_value(matrix(y)), ahead).tolist() == [9.0, 9.0, 9.0]
    assert asked(baselines.historic_mean(matrix(y)), ahead) == pytest.approx([32 / 6] * 3)
    assert asked(baselines.drift(matrix(y)), ahead) == pytest.approx([9 + 6 / 5, 9 + 12 / 5, 9 + 18 / 5])
    assert asked(baselines.last_season(matrix(y), season=2), [6, 7, 8, 9]).tolist() == [5.0, 9.0, 5.0, 9.0]
    assert asked(baselines.last_season(matrix(y), season=3), [6, 9, 11]).tolist() == [6.0, 6.0, 9.0]


def test_predict_means_the_steps_that_follow():
    X = np.zeros((30, 1))
    for fit in (baselines.last_season, forecasts.lagged_linear, forecasts.exponential_smoothing):
        model = fit(matrix(daily(STEPS)))
        assert model.predict(X) == pytest.approx(asked(model, range(len(STEPS), len(STEPS) + 30), X))


def test_the_order_of_rows_and_of_questions_does_not_matter():
    turned = np.random.default_rng(0).permutation(len(STEPS))
    later = np.arange(len(STEPS), len(STEPS) + 50)
    for fit in (baselines.last_season, forecasts.lagged_boosting, forecasts.exponential_smoothing):
        straight = asked(fit(matrix(daily(STEPS))), later)
        mixed = fit(matrix(daily(STEPS)[turned], turned * HOUR_US))
        assert asked(mixed, later[::-1])[::-1] == pytest.approx(straight)


@pytest.mark.parametrize(
    ("values", "step_us", "season"),
    [
        (daily(STEPS), HOUR_US, 24),
        (np.tile([1.0, 2, 3, 4, 9, 12, 11], 30), 24 * HOUR_US, 7),
        (np.tile([1.0, 2, 6, 4], 12), 91 * 24 * HOUR_US, 4),
        (np.random.default_rng(0).normal(size=500), HOUR_US, 1),
        (np.random.default_rng(0).normal(size=500).cumsum(), HOUR_US, 1),
        (np.arange(200.0), HOUR_US, 1),
        (np.full(100, 5.0), HOUR_US, 1),
    ],
)
def test_a_season_is_found_where_there_is_one(values, step_us, season):
    assert season_of(values, step_us) == season


def test_working_days_make_a_week_of_hours():
    hours = np.arange(24 * 7 * 12)
    working = (hours // 24) % 7 < 5
    values = np.where(working, 10 * np.sin(2 * np.pi * hours / 24), 3.0)
    assert season_of(values, HOUR_US) == 168


@pytest.mark.parametrize(
    "fit",
    [
        forecasts.lagged_linear,
        forecasts.lagged_boosting,
        forecasts.seasonal_boosting,
        forecasts.exponential_smoothing,
    ],
)
def test_learners_go_on_with_season_and_trend(fit):
    later = np.arange(len(STEPS), len(STEPS) + 72)
    error = np.abs(asked(fit(matrix(daily(STEPS))), later) - daily(later)).mean()
    naive = np.abs(asked(baselines.last_value(matrix(daily(STEPS))), later) - daily(later)).mean()
    assert error < naive / 10


def test_known_columns_are_used():
    dice = np.random.default_rng(1)
    x = dice.normal(size=(1000, 1))
    y = 20 + 5 * x[:, 0]
    later = np.arange(900, 1000)
    error = np.abs(asked(forecasts.lagged_linear(matrix(y[:900], X=x[:900])), later, x[900:]) - y[900:]).mean()
    assert error < 0.1


def test_gaps_are_filled_and_a_gap_before_the_future_is_walked_over():
    kept = np.delete(STEPS, slice(100, 110))
    series = of_train(matrix(daily(kept), kept * HOUR_US))
    assert (len(series.values), series.season) == (len(STEPS), 24)
    assert series.filled == pytest.approx(10 / len(STEPS))
    later = np.arange(len(STEPS) + 30, len(STEPS) + 60)  # the first 30 steps are not asked for
    for fit in (baselines.last_season, forecasts.lagged_linear):
        told = asked(fit(matrix(daily(kept), kept * HOUR_US)), later)
        assert told == pytest.approx(daily(later), abs=1.0)


def test_what_is_no_series_is_said():
    with pytest.raises(NotEnoughRows, match="2 rows are no series"):
        of_train(matrix([1.0, 2.0]))
    with pytest.raises(BadInput, match=r"3 rows share their time \(step: 3600 s\) with another; .* one row a step"):
        of_train(matrix(np.arange(9.0), [0, 0, 1 * HOUR_US, 1 * HOUR_US, *(np.arange(2, 6) * HOUR_US), 5 * HOUR_US]))
    with pytest.raises(BadInput, match="season is 9 steps; it must be between 1 and the 5 steps"):
        baselines.last_season(matrix(np.arange(5.0)), season=9)
    with pytest.raises(BadInput, match="2 of 3 rows to forecast are not later than the training rows"):
        asked(baselines.last_value(matrix(np.arange(5.0))), [3, 4, 5])
