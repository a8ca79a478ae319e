"""Model cards from records."""

import pytest
import user_fits as fits

from tidemill.core import recipe as recipes
from tidemill.core.scores import all_scores, calibration
from tidemill.train.fit import predict
from tidemill.train.scoring.cards import card
from tidemill.train.scoring.compare import paired
from tidemill.train.scoring.slices import by_slice
from tidemill.train.tuning.tune import tune

RECIPE = recipes.recipe(recipes.fill("distance"), recipes.one_hot("carrier"))


@pytest.fixture
def fitted(ws, flights, train, valid):
    return tune(
        ws, fits.logistic, train, valid, RECIPE, target="late", key="id", time="at", trials=2,
        inputs=(flights,), plan_digest="p",
    )  # fmt: skip


def test_a_card_names_data_scores_slices_calibration_baseline_and_limits(fitted, flights, valid):
    y, p = valid["late"].cast(float).to_numpy(), predict(fitted, valid)
    text = card(
        fitted,
        name="departures",
        metrics=all_scores(y, p),
        test_rows=valid.height,
        slices=by_slice(valid, y, p, ["carrier"]),
        calibration=calibration(y, p),
        against=paired(y, [0.5] * len(y), p, score="brier"),
        intended_use="Warn passengers at the scheduled departure.",
        limits=["New York only."],
    )
    assert text.startswith("# Model card: departures\n\nWarn passengers at the scheduled departure.")
    assert f"- from `dataset/flights@1` (1,000 rows, digest `{flights.digest[:12]}`)" in text
    assert "- trained on 600 rows known until 2013-01-25T23:00:00.000000Z" in text
    assert f"| auc | {all_scores(y, p)['auc']:.4g} | {fitted.metrics['auc']:.4g} | 0.5 |" in text
    assert "| carrier | UA |" in text
    assert "## Calibration" in text
    assert ": better." in text
    assert "- New York only." in text
    assert "- Weakest slice by AUC: carrier = " in text


def test_a_model_no_better_than_a_constant_says_so(fitted):
    text = card(fitted, name="x", metrics={"log_loss": 9.0}, test_rows=10)
    assert "no better than a constant's" in text


def test_the_same_records_give_the_same_text(fitted):
    assert card(fitted, name="x", metrics={"auc": 0.7}, test_rows=1) == card(
        fitted, name="x", metrics={"auc": 0.7}, test_rows=1
    )


def test_a_cell_cannot_break_the_table(fitted):
    line = {"column": "carrier", "value": "a|b\nc", "rows": 60, "auc": None}
    text = card(fitted, name="x", metrics={"auc": 0.7}, test_rows=1, slices=[line])
    assert "| carrier | a\\|b c | 60 |" in text
