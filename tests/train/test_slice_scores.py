"""Any score by slice, and the search for weak slices: planted ones are found, chance finds stay at alpha."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tidemill.core.errors import BadInput, UnknownColumn
from tidemill.train.scoring.intervals import interval
from tidemill.train.scoring.slice_scores import scores_by_slice, weak_slices


def data(seed=0, n=3000, weak=None):
    """p is calibrated everywhere, but for the rows that `weak` picks, where it says the contrary."""
    dice = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "carrier": dice.choice(["AA", "UA", "ZZ"], n, p=[0.5, 0.3, 0.2]),
            "origin": dice.choice(["JFK", "LGA", "EWR"], n),
            "distance": dice.random(n),
            "plane": dice.choice([f"N{number}" for number in range(400)], n),
        }
    )
    p = dice.random(n)
    y = (dice.random(n) < p).astype(float)
    if weak is not None:
        p = np.where(weak(frame), 1 - p, p)
    return frame, y, p


COLUMNS = ["carrier", "origin", "distance", "plane"]


def test_each_slice_has_the_interval_of_its_rows():
    frame, y, p = data()
    got = scores_by_slice(frame, y, p, ["carrier", "plane"], score="f1")
    assert [(each.column, each.value) for each in got] == [("carrier", "AA"), ("carrier", "UA"), ("carrier", "ZZ")]
    mine = (frame["carrier"] == "UA").to_numpy()
    assert got[1].score == interval(y[mine], p[mine], "f1")


def test_a_score_that_is_undefined_in_a_slice_is_none():
    frame = pl.DataFrame({"a": ["x"] * 60 + ["y"] * 60})
    got = scores_by_slice(frame, [1.0] * 60 + [0.0, 1.0] * 30, np.tile([0.1, 0.9], 60), ["a"])
    assert got[0].score is None
    assert got[1].score.value == 1


def test_a_weak_value_is_found_and_not_told_again_in_every_pair():
    frame, y, p = data(weak=lambda frame: (frame["carrier"] == "ZZ").to_numpy())
    got = weak_slices(frame, y, p, COLUMNS)
    assert [str(each) for each in got.found] == ["carrier = ZZ"]
    mine = (frame["carrier"] == "ZZ").to_numpy()
    losses = -np.log(np.where(y == 1, p, 1 - p))
    want = stats.ttest_ind(losses[mine], losses[~mine], equal_var=False, alternative="greater")
    worst = got.found[0]
    assert worst.p_value == pytest.approx(want.pvalue, rel=1e-6)
    assert worst.value == pytest.approx(losses[mine].mean())
    assert worst.elsewhere == pytest.approx(losses[~mine].mean())
    assert worst.rows == mine.sum()
    assert got.looked_at == 3 + 3 + 4 + 9 + 12 + 12


def test_a_weak_pair_of_values_is_found():
    frame, y, p = data(n=6000, weak=lambda frame: ((frame["carrier"] == "UA") & (frame["origin"] == "LGA")).to_numpy())
    found = weak_slices(frame, y, p, COLUMNS).found
    assert str(found[0]) == "carrier = UA and origin = LGA"
    # Its two values are weak too, as wholes; nothing else is.
    assert {str(each) for each in found[1:]} <= {"carrier = UA", "origin = LGA"}


def test_accuracy_is_searched_in_its_good_direction():
    frame, y, p = data(weak=lambda frame: (frame["origin"] == "EWR").to_numpy())
    got = weak_slices(frame, y, p, COLUMNS, score="accuracy", depth=1)
    assert [str(each) for each in got.found] == ["origin = EWR"]
    assert got.found[0].value < 0.5 < got.found[0].elsewhere
    assert got.found[0].worse_by == pytest.approx(got.found[0].elsewhere - got.found[0].value)


def test_a_model_without_weak_slices_is_told_to_have_some_as_rarely_as_alpha_says():
    found = sum(bool(weak_slices(*data(seed, 1000), COLUMNS, alpha=0.1, min_effect=0).found) for seed in range(150))
    # Family-wise: at most Binomial(150, 0.1), 27 with probability 0.999.
    assert found <= 27


def test_benjamini_hochberg_finds_no_less_than_holm():
    frame, y, p = data(3, weak=lambda frame: (frame["distance"] > 0.8).to_numpy())
    holm = weak_slices(frame, y, p, COLUMNS)
    bh = weak_slices(frame, y, p, COLUMNS, correction="bh")
    assert {str(each) for each in holm.found} <= {str(each) for each in bh.found}
    p_values = np.array([each.p_value for each in bh.found])
    assert [each.adjusted for each in bh.found] >= p_values.tolist()


def test_missing_values_and_regressions_are_searched_too():
    dice = np.random.default_rng(0)
    frame = pl.DataFrame({"plane": [None] * 100 + ["x"] * 400, "size": [*dice.random(450), *[None] * 50]})
    y = dice.normal(size=500)
    p = y + dice.normal(size=500) * np.where(np.arange(500) < 100, 5, 0.5)
    found = weak_slices(frame, y, p, ["plane", "size"], score="mae").found
    assert str(found[0]) == "plane = (missing)"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"columns": ["carier"]}, UnknownColumn, "no column 'carier' in the rows"),
        ({"score": "auc"}, BadInput, "score 'auc' is no mean over rows; search with log_loss"),
        ({"score": "precision"}, BadInput, "score 'precision' is no mean over rows"),
        ({"alpha": 5}, BadInput, "alpha is 5 and depth 2; allowed are 0 to 1 and 1 or 2"),
    ],
)
def test_bad_questions_are_refused(change, error, message):
    frame, y, p = data(n=200)
    with pytest.raises(error, match=message):
        weak_slices(frame, y, p, change.pop("columns", COLUMNS), **change)
    with pytest.raises(BadInput, match="200 rows but 100 truths"):
        weak_slices(frame, y[:100], p, COLUMNS)
