"""Evaluations as recorded things: their numbers against scikit-learn, SciPy and plain counting, and what is kept."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from late_rows import make_rows
from sklearn import metrics
from sklearn.calibration import calibration_curve

import tidemill as tm
from tidemill.core.errors import BadInput, NotEnoughRows, NotFound, Refused, UnknownColumn
from tidemill.core.types import Query
from tidemill.train.fit import fit_model, predict
from tidemill.train.scoring import evaluating
from tidemill.train.scoring.evaluating import evaluate, of_fitted

RECIPE = tm.recipe(tm.fill("distance"), tm.scale("distance", "noise"), tm.one_hot("carrier"))
KEYS = {"key": "id", "time": "at"}


def logistic(train: tm.Matrix, strength: float = 1.0):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=500).fit(train.X, train.y)


def without_noise(train: tm.Matrix):
    """Looks at all features but the noise, which is the second one."""
    model = logistic(train)
    model.coef_[0, train.names.index("noise")] = 0.0
    return model


def ridge(train: tm.Matrix):
    from sklearn.linear_model import Ridge

    return Ridge().fit(train.X, train.y)


def rows(seed: int, n: int) -> pl.DataFrame:
    """Late by distance and carrier; labels of UA flights from LGA are drawn without them: that is the weak slice."""
    dice = np.random.default_rng(seed + 100)
    lost = pl.Series(dice.random(n) < 0.5)
    found = make_rows(seed, n).with_columns(
        noise=pl.Series(dice.normal(size=n)), origin=pl.Series(dice.choice(["EWR", "JFK", "LGA"], n))
    )
    here = (pl.col("carrier") == "UA") & (pl.col("origin") == "LGA")
    miles = pl.col("distance").fill_null(1000)
    clear = miles + pl.when(pl.col("carrier") == "UA").then(300).otherwise(0) > 1050
    return found.with_columns(
        late=pl.when(here).then(lost).otherwise(clear ^ (pl.Series(dice.random(n)) < 0.05)),
        how=pl.when(miles > 1200).then(pl.lit("late")).when(miles < 800).then(pl.lit("early")).otherwise(pl.lit("due")),
        minutes=miles / 10 + pl.Series(dice.normal(0, 5, n)) + pl.when(pl.col("origin") == "EWR").then(4).otherwise(0),
    )


@pytest.fixture
def test_rows():
    return rows(2, 3000)


def fitted(ws, fit, target="late", task="binary", seed=1, n=800):
    return fit_model(
        ws,
        fit,
        rows(seed, n),
        RECIPE,
        target=target,
        **KEYS,
        params={},
        inputs=(),
        plan_digest=f"{seed} {n}",
        task=task,
    )


@pytest.fixture
def subject(ws):
    return of_fitted(fitted(ws, logistic))


def test_scores_are_those_of_scikit_learn_with_intervals_around_them(ws, subject, test_rows):
    found = evaluate(ws, subject, test_rows, **KEYS)
    y = test_rows["late"].to_numpy().astype(float)
    p = predict(fitted(ws, logistic), test_rows)
    theirs = {
        "auc": metrics.roc_auc_score(y, p),
        "pr_auc": metrics.average_precision_score(y, p),
        "log_loss": metrics.log_loss(y, p),
        "brier": metrics.brier_score_loss(y, p),
        "accuracy": metrics.accuracy_score(y, p >= 0.5),
        "precision": metrics.precision_score(y, p >= 0.5),
        "recall": metrics.recall_score(y, p >= 0.5),
        "f1": metrics.f1_score(y, p >= 0.5),
    }
    assert {name: found.scores[name]["value"] for name in theirs} == pytest.approx(theirs, abs=1e-12)
    assert set(found.scores) == {*theirs, "calibration_error"}
    assert all(each["low"] <= each["value"] <= each["high"] for each in found.scores.values())


def test_an_interval_of_a_share_is_wilsons_and_a_cluster_widens_it(ws, subject, test_rows):
    from scipy.stats import binomtest

    y, p = test_rows["late"].to_numpy(), predict(fitted(ws, logistic), test_rows)
    theirs = binomtest(int(((p >= 0.5) == y).sum()), len(y)).proportion_ci(0.95, method="wilson")
    found = evaluate(ws, subject, test_rows, **KEYS).scores["accuracy"]
    assert (found["low"], found["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    twice = pl.concat([test_rows, test_rows.with_columns(id=pl.col("id") + "b")])
    twice = twice.with_columns(flight=pl.col("id").str.strip_suffix("b"))
    alone = evaluate(ws, subject, twice, **KEYS).scores["accuracy"]
    paired = evaluate(ws, subject, twice, **KEYS, cluster="flight").scores["accuracy"]
    # The same rows twice say no more than once: as wide as theirs, up to Wilson's correction.
    assert alone["high"] - alone["low"] < 0.75 * (theirs.high - theirs.low)
    assert paired["high"] - paired["low"] == pytest.approx(theirs.high - theirs.low, rel=0.01)


def test_the_calibration_curve_is_that_of_scikit_learn(ws, subject, test_rows):
    y, p = test_rows["late"].to_numpy(), predict(fitted(ws, logistic), test_rows)
    observed, said = calibration_curve(y, p, n_bins=10)
    lines = evaluate(ws, subject, test_rows, **KEYS).report["calibration"]
    assert [line["observed"] for line in lines] == pytest.approx(list(observed), abs=1e-12)
    assert [line["predicted"] for line in lines] == pytest.approx(list(said), abs=1e-12)
    assert sum(line["rows"] for line in lines) == 3000
    assert all(line["observed_low"] <= line["observed"] <= line["observed_high"] for line in lines)


def test_a_planted_weak_slice_is_found_first(ws, subject, test_rows):
    found = evaluate(ws, subject, test_rows, **KEYS, slices=["carrier", "origin"])
    worst = found.weak[0]
    assert worst["where"] == [["carrier", "UA"], ["origin", "LGA"]]
    there = test_rows.filter(carrier="UA", origin="LGA")
    p = predict(fitted(ws, logistic), there)
    assert worst["value"] == pytest.approx(metrics.log_loss(there["late"], p), abs=1e-12)
    assert worst["rows"] == there.height
    assert worst["adjusted"] >= worst["p_value"]
    assert found.report["weak"]["looked_at"] == 3 + 3 + 9


def test_slices_are_scored_as_their_rows_alone(ws, subject, test_rows):
    lines = evaluate(ws, subject, test_rows, **KEYS, slices=["carrier"]).report["slices"]
    assert {line["value"] for line in lines} == {"AA", "UA", "DL"}
    for line in lines:
        there = test_rows.filter(carrier=line["value"])
        auc = metrics.roc_auc_score(there["late"], predict(fitted(ws, logistic), there))
        assert line["scores"]["auc"]["value"] == pytest.approx(auc, abs=1e-12)


def test_fairness_is_counted_at_the_cheapest_threshold(ws, subject, test_rows):
    costs = {"false_positive": 1, "false_negative": 6}
    found = evaluate(ws, subject, test_rows, **KEYS, groups=["carrier"], costs=costs)
    p = pl.Series(predict(fitted(ws, logistic), test_rows))
    y = test_rows["late"]

    def cost(cut):
        return ((p >= cut) & ~y).sum() + 6 * ((p < cut) & y).sum()

    tried = {cut: cost(cut) for cut in p.unique()}
    assert tried[found.threshold] == min(tried.values())
    counted = (
        test_rows.with_columns(said=p >= found.threshold)
        .group_by("carrier")
        .agg(pl.col("said").mean(), recall=pl.col("said").filter("late").mean())
    )
    groups = {each["group"]: each for each in found.fairness["carrier"]["groups"]}
    assert {name: each["selected"]["value"] for name, each in groups.items()} == pytest.approx(
        dict(counted.select("carrier", "said").iter_rows())
    )
    assert {name: each["recall"]["value"] for name, each in groups.items()} == pytest.approx(
        dict(counted.select("carrier", "recall").iter_rows())
    )


def test_what_the_model_does_not_look_at_has_no_importance_and_one_column_is_one_line(ws, test_rows):
    found = evaluate(ws, of_fitted(fitted(ws, without_noise)), test_rows, **KEYS)
    assert set(found.importances) == {"distance", "noise", "carrier"}
    assert found.importances["noise"] == 0
    assert found.importances["distance"] > found.importances["carrier"] > 0
    assert next(iter(found.importances)) == "distance"
    assert evaluate(ws, of_fitted(fitted(ws, without_noise)), test_rows, **KEYS, explain=None).importances == {}


def test_shapley_values_add_up_by_column(ws, test_rows):
    pytest.importorskip("shap")
    from sklearn.ensemble import RandomForestClassifier

    def forest(train: tm.Matrix):
        return RandomForestClassifier(10, max_depth=3, random_state=0).fit(train.X, train.y)

    found = evaluate(ws, of_fitted(fitted(ws, forest)), test_rows.head(400), **KEYS, explain="shap")
    assert set(found.importances) == {"distance", "noise", "carrier"}
    assert max(found.importances, key=found.importances.__getitem__) == "distance"
    assert min(found.importances.values()) >= 0


def test_several_classes_are_scored_by_class_and_in_groups(ws, test_rows):
    model = fitted(ws, logistic, "how", "multiclass")
    found = evaluate(ws, of_fitted(model), test_rows, **KEYS, slices=["carrier"], groups=["origin"])
    p = predict(model, test_rows)
    y, said = test_rows["how"].to_list(), [model.classes[place] for place in p.argmax(axis=1)]
    assert found.scores["label_accuracy"]["value"] == pytest.approx(metrics.accuracy_score(y, said))
    assert found.scores["macro_f1"]["value"] == pytest.approx(metrics.f1_score(y, said, average="macro"))
    assert found.scores["class_log_loss"]["value"] == pytest.approx(metrics.log_loss(y, p, labels=model.classes))
    recalls = dict(zip(model.classes, metrics.recall_score(y, said, average=None, labels=model.classes), strict=True))
    assert {each["class"]: each["recall"]["value"] for each in found.report["by_class"]} == pytest.approx(recalls)
    late = next(each for each in found.fairness["origin"]["classes"] if each["class"] == "late")
    both = pl.DataFrame({"origin": test_rows["origin"], "called": [each == "late" for each in said]})
    shares = dict(both.group_by("origin").agg(pl.col("called").mean()).iter_rows())
    assert {each["group"]: each["selected"]["value"] for each in late["groups"]} == pytest.approx(shares)


def test_a_regression_tells_each_groups_error(ws, test_rows):
    model = fitted(ws, ridge, "minutes", "regression")
    found = evaluate(ws, of_fitted(model), test_rows, **KEYS, slices=["origin"], groups=["origin"])
    y, said = test_rows["minutes"], predict(model, test_rows)
    assert found.scores["mae"]["value"] == pytest.approx(metrics.mean_absolute_error(y, said))
    assert found.scores["r2"]["value"] == pytest.approx(metrics.r2_score(y, said))
    off = dict(
        pl.DataFrame({"origin": test_rows["origin"], "off": y - pl.Series(said)})
        .group_by("origin")
        .agg(pl.col("off").mean())
        .iter_rows()
    )
    groups = found.fairness["origin"]["groups"]
    assert {each["group"]: each["off"] for each in groups} == pytest.approx(off)
    assert [each["group"] for each in groups if each["off_low"] > 0] == ["EWR"]
    assert sum(line["rows"] for line in found.report["calibration"]) == 3000


def test_the_same_evaluation_again_is_the_one_recorded(ws, subject, test_rows):
    first = evaluate(ws, subject, test_rows, **KEYS, slices=["carrier"])
    again = evaluate(ws, subject, test_rows, **KEYS, slices=["carrier"])
    other = evaluate(ws, subject, test_rows, **KEYS, slices=["origin"])
    assert (first.artifact, first.report) == (again.artifact, again.report)
    assert other.id != first.id
    assert len(ws.graph.find(Query("run", kind="train.evaluate"))) == 2
    assert [each.id for each in evaluating.evaluations(ws, subject.fit_run)] == [other.id, first.id]


def test_each_model_judged_on_the_same_rows_is_one_more_look(ws, test_rows):
    one, other = of_fitted(fitted(ws, logistic)), of_fitted(fitted(ws, logistic, n=700))
    assert evaluate(ws, one, test_rows, **KEYS).looks == 1
    assert evaluate(ws, one, test_rows, **KEYS, slices=["carrier"]).looks == 1
    later = evaluate(ws, other, test_rows, **KEYS)
    assert (later.looks, later.report["models_judged"]) == (2, 2)
    assert evaluate(ws, one, test_rows.head(2000), **KEYS).looks == 1


def test_a_comparison_is_a_paired_test_of_rows(ws, test_rows):
    from scipy.stats import binomtest, ttest_rel

    strong, weak = fitted(ws, logistic), fitted(ws, without_noise, n=60)
    found = evaluating.compare(ws, of_fitted(weak), of_fitted(strong), test_rows, **KEYS)
    y = test_rows["late"].to_numpy()

    def losses(model):
        p = predict(model, test_rows)
        return -np.log(np.where(y, p, 1 - p))

    theirs = ttest_rel(losses(strong), losses(weak))
    assert found.paired.p_value == pytest.approx(theirs.pvalue, rel=1e-6)
    assert found.better
    right = [(predict(model, test_rows) >= 0.5) == y for model in (weak, strong)]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert found.mcnemar is not None
    assert (found.mcnemar.only_old, found.mcnemar.only_new) == only
    assert found.mcnemar.p_value == pytest.approx(binomtest(only[1], sum(only)).pvalue)
    (run,) = ws.graph.find(Query("run", kind="train.compare"))
    assert run.metrics["p_value"] == found.paired.p_value


def test_what_cannot_be_evaluated_is_refused_in_words(ws, subject, test_rows):
    with pytest.raises(UnknownColumn, match=r"carier.*Did you mean 'carrier'"):
        evaluate(ws, subject, test_rows, **KEYS, slices=["carier"])
    with pytest.raises(BadInput, match="no cost 'false_negatives'; known are false_positive, false_negative"):
        evaluate(ws, subject, test_rows, **KEYS, costs={"false_negatives": 2})
    with pytest.raises(BadInput, match="costs are of two classes, and the task is regression"):
        evaluate(
            ws, of_fitted(fitted(ws, ridge, "minutes", "regression")), test_rows, **KEYS, costs={"false_negative": 2}
        )
    with pytest.raises(NotEnoughRows):
        evaluate(ws, subject, test_rows.filter(late=True), **KEYS)
    with pytest.raises(BadInput, match="the target of 'logistic' is 'late' and of 'ridge' 'minutes'"):
        evaluating.compare(ws, subject, of_fitted(fitted(ws, ridge, "minutes", "regression")), test_rows, **KEYS)
    with pytest.raises(NotFound, match="is no evaluation"):
        evaluating.read(ws, fitted(ws, logistic).recipe_artifact)


@pytest.fixture
def mill(tmp_path):
    with tm.open(tmp_path / "m.mill") as project:
        project.add("flights", pl.concat([rows(1, 800), rows(2, 1200)]), key="id", event_time="at", known_time="at")
        yield project


def parts(mill):
    flights = mill.dataset("flights")
    return flights.where(until="2013-01-20"), flights.where(since="2013-01-20")


def test_a_registered_model_is_evaluated_by_its_package_and_answers_as_the_fit(mill):
    train, test = parts(mill)
    model = mill.fit(logistic, train, RECIPE, target="late")
    asked = {"on": test, "slices": ["carrier", "origin"], "groups": ["carrier"], "costs": {"false_negative": 3}}
    of_fit = mill.evaluate(model, **asked)
    version = mill.register(model, "late", on=test)
    of_version = mill.evaluate(version, **asked)
    assert of_version.id != of_fit.id
    for name, each in of_fit.scores.items():
        assert of_version.scores[name]["value"] == pytest.approx(each["value"], abs=1e-4)
    assert of_version.importances == pytest.approx(of_fit.importances, abs=1e-4)
    assert [each.id for each in mill.evaluate.of(version)] == [of_version.id, of_fit.id]
    assert mill.evaluate.get(of_fit.id).report == of_fit.report
    assert version.id in {each.id for each in of_version.artifact.trace().artifacts}
    assert of_version.looks == 2  # registering looked as well; the same model again is no new look


def test_a_card_tells_the_evaluation_of_its_fit(mill):
    train, test = parts(mill)
    model = mill.fit(logistic, train, RECIPE, target="late")
    assert "## Evaluation" not in mill.models.card(mill.register(model, "before", on=test))
    found = mill.evaluate(model, on=test, slices=["carrier", "origin"], groups=["carrier"])
    card = mill.models.card(mill.register(model, "late", on=test))
    auc = found.scores["auc"]
    assert f"| auc | {auc['value']:.4g} | {auc['low']:.4g} | {auc['high']:.4g} | 0.5 |" in card
    assert "## Weak slices" in card
    assert "| carrier | UA |" in card
    assert "## Fairness by carrier" in card
    assert "| `distance` |" in card
    assert mill.register(model, "late", on=test).version == 1


def test_personal_values_are_masked_in_what_people_are_shown(mill):
    train, test = parts(mill)
    mill.governance.tag("flights", "carrier", "pii:name")
    model = mill.fit(logistic, train, RECIPE, target="late")
    mill.evaluate(model, on=test, slices=["carrier", "origin"], groups=["carrier", "origin"])
    version = mill.register(model, "late", on=test)
    shown = mill.models.evaluation(version)["report"]
    for text in (str(shown), mill.models.card(version)):
        assert not [carrier for carrier in ("'UA'", "| UA ", "'DL'", "| DL ", "= UA") if carrier in text]
    assert "'LGA'" in str(shown)
    mill.governance.grant(mill.ws.settings.who, "pii@flights")
    assert "'UA'" in str(mill.models.evaluation(version)["report"])


def test_rows_are_evaluated_on_for_an_allowed_purpose_only(mill):
    train, test = parts(mill)
    model = mill.fit(logistic, train, RECIPE, target="late")
    mill.policies.allow("flights", "lateness", "contract")
    with pytest.raises(Refused, match="may not be used for 'training'"):
        mill.evaluate(model, on=test)
    with pytest.raises(Refused, match="may not be used for 'training'"):
        mill.compare(model, model, on=test)
    assert mill.evaluate(model, on=test, purpose="lateness").rows > 0
    with pytest.raises(BadInput, match=r"slices is the text 'carrier'"):
        mill.evaluate(model, on=test, slices="carrier", purpose="lateness")
