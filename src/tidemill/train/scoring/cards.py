"""Model cards: what a model was made of, how good it is and for whom, in Markdown.

Source: Mitchell et al., Model cards for model reporting, FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.train.fit import Fitted
from tidemill.train.scoring.card_parts import evaluated, number, table
from tidemill.train.scoring.compare import Paired


def card(
    fitted: Fitted,
    *,
    name: str,
    metrics: Mapping[str, float],
    test_rows: int,
    test_data: Sequence[str] = (),
    slices: Sequence[Mapping[str, Any]] = (),
    calibration: Sequence[Mapping[str, Any]] = (),
    baseline: Mapping[str, float] | None = None,
    against: Paired | None = None,
    intended_use: str = "",
    limits: Sequence[str] = (),
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """The card as Markdown, made from records only: the same records give the same text.

    metrics, test_rows: of the held-out test rows; test_data: labels of the dataset versions they came from. slices:
    lines of `by_slice`; calibration: lines of `calibration`; baseline: scores of the constant prior (by default those
    of the tuning, on the validation rows). against: the comparison with the model before. evaluation: the report of an
    evaluation of this fit (see `train.evaluating`).
    """
    constant = fitted.baseline if baseline is None else baseline
    parts = [
        f"# Model card: {name}",
        intended_use or f"Estimates the probability that `{fitted.target}` is true for a row.",
        "## Data",
        _data(fitted, test_rows, test_data),
        "## Model",
        _model(fitted),
        "## Scores on the test rows",
        _scores(metrics, fitted.metrics, constant),
    ]
    if against is not None:
        parts += ["## Against the model before", _against(against)]
    if slices:
        parts += ["## By slice", _slices(slices)]
    if calibration:
        parts += ["## Calibration", _calibration(calibration)]
    if evaluation is not None:
        parts += evaluated(evaluation)
    parts += ["## Limits", _limits(fitted, metrics, constant, slices, limits)]
    return "\n\n".join(parts) + "\n"


def _data(fitted: Fitted, test_rows: int, test_data: Sequence[str]) -> str:
    lines = [f"- trained on {int(fitted.rows.meta['rows']):,} rows known until {fitted.data_time}"]
    lines += [
        f"- from `{version.artifact.label}` ({version.rows:,} rows, digest `{version.digest[:12]}`)"
        for version in fitted.inputs
    ]
    lines += [f"- tested on {test_rows:,} rows" + (f" of {', '.join(test_data)}" if test_data else "")]
    lines += [f"- exact row ids: artifact `{fitted.rows.id}`; profile of the inputs: artifact `{fitted.profile.id}`"]
    return "\n".join(lines)


def _model(fitted: Fitted) -> str:
    params = ", ".join(f"{key} = {number(value)}" for key, value in fitted.params.items()) or "its defaults"
    return "\n".join(
        [
            f"- `{type(fitted.estimator).__name__}` by `{fitted.fit_name}()` with {params}",
            f"- {len(fitted.names)} features: {', '.join(f'`{each}`' for each in fitted.names)}",
            f"- fitted by run `{fitted.run}`" + (f", chosen by run `{fitted.tuning}`" if fitted.tuning else ""),
        ]
    )


def _scores(test: Mapping[str, float], valid: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    names = list(test)
    return table(
        ["score", "test", "validation", "baseline (constant)"],
        [[name, test[name], valid.get(name), baseline.get(name)] for name in names],
    )


def _against(paired: Paired) -> str:
    verdict = "better" if paired.better else "worse" if paired.worse else "not distinguishable"
    return (
        f"{paired.score}: {paired.old:.4f} before, {paired.new:.4f} now; difference {paired.difference:+.4f} "
        f"({paired.low:+.4f} to {paired.high:+.4f}, p = {paired.p_value:.3g}, {paired.rows:,} rows): {verdict}."
    )


def _slices(lines: Sequence[Mapping[str, Any]]) -> str:
    columns = ["column", "value", "rows", "observed", "predicted", "auc", "log_loss", "brier"]
    return table(columns, [[line.get(column) for column in columns] for line in lines])


def _calibration(lines: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ["p from", "to", "rows", "mean p", "observed share"],
        [[line["low"], line["high"], line["rows"], line["predicted"], line["observed"]] for line in lines],
    )


def _limits(
    fitted: Fitted,
    metrics: Mapping[str, float],
    baseline: Mapping[str, float],
    slices: Sequence[Mapping[str, Any]],
    limits: Sequence[str],
) -> str:
    lines = [*limits, f"Rows later than {fitted.data_time} were not seen in training; watch for drift."]
    weakest = min((line for line in slices if line.get("auc") is not None), key=lambda line: line["auc"], default=None)
    if weakest is not None:
        lines.append(
            f"Weakest slice by AUC: {weakest['column']} = {weakest['value']} "
            f"({weakest['auc']:.3f}, {weakest['rows']:,} rows)."
        )
    if "log_loss" in baseline and metrics.get("log_loss", 0.0) >= baseline["log_loss"]:
        lines.append("Its log loss is no better than a constant's: do not use it for probabilities.")
    return "\n".join(f"- {line}" for line in lines)
