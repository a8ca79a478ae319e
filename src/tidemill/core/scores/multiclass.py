"""Scores of a classifier of several classes: by predicted labels, or by one probability a class.

By labels: y and predicted hold numbers or text, shape (n,). By probabilities: y holds codes 0..k-1, shape (n,), and p
has shape (n, k). weights as in the binary scores. All raise BadInput, WrongType and NotEnoughRows as those do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tidemill.core.scores.binary import auc, calibration_of, calibration_parts
from tidemill.core.scores.checking import Codes, Floats, class_probabilities, labels, weights_of
from tidemill.core.scores.parts import Finish, Parts, mean_parts, ratio, whole

_TINY = float(np.finfo(np.float64).eps)


def label_accuracy(y: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Share of rows whose label is predicted.

    >>> label_accuracy(["cat", "dog", "cow"], ["cat", "cow", "cow"])
    0.6666666666666666
    """
    return whole(label_accuracy_parts(y, predicted).totals(weights_of(weights, len(np.asarray(y)))), ratio)


def balanced_accuracy(y: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean recall of the classes that y holds: every class counts alike, however rare.

    >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    return _from_confusion(y, predicted, weights, balanced_accuracy_of)


def macro_precision(y: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean precision of the classes in y or predicted; a class that is never predicted counts 0."""
    return _from_confusion(y, predicted, weights, macro_precision_of)


def macro_recall(y: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean recall of the classes in y or predicted; a class that y does not hold counts 0."""
    return _from_confusion(y, predicted, weights, macro_recall_of)


def macro_f1(y: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean F1 of the classes in y or predicted.

    >>> macro_f1([0, 0, 1, 1], [0, 0, 0, 1])
    0.7333333333333334
    """
    return _from_confusion(y, predicted, weights, macro_f1_of)


def matthews(y: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Matthews correlation of truths and predictions, -1..1; 0 where either holds one class only.

    Source: Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004.

    >>> matthews([0, 1, 1, 0], [0, 1, 1, 0])
    1.0
    """
    return _from_confusion(y, predicted, weights, matthews_of)


def class_log_loss(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean negative log of the probability given to the true class, in nats; p is clipped to [2.2e-16, 1 - 2.2e-16].

    >>> round(class_log_loss([0, 2], [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]), 6)
    0.693147
    """
    return whole(class_log_loss_parts(y, p).totals(weights_of(weights, len(np.asarray(y)))), ratio)


def class_brier(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean over rows of the squared differences of p and the truth's 0/1 columns, summed over classes: 0..2.

    Source: Brier, Monthly Weather Review 78, 1950. With two classes it is twice the binary score.

    >>> class_brier([0, 1], [[1.0, 0.0], [0.5, 0.5]])
    0.25
    """
    return whole(class_brier_parts(y, p).totals(weights_of(weights, len(np.asarray(y)))), ratio)


def class_auc(y: ArrayLike, p: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean AUC of each class against the rest; NaN where y misses a class of p.

    Source: Provost & Domingos, Tree induction for probability-based ranking, 2003, with classes counting alike.
    """
    codes, chance = class_probabilities(y, p)
    each = [auc(codes == code, chance[:, code], weights=weights) for code in range(chance.shape[1])]
    return float(np.mean(each))


def class_calibration_error(y: ArrayLike, p: ArrayLike, bins: int = 10, *, weights: ArrayLike | None = None) -> float:
    """Mean |share right - mean confidence| over bins of the highest p of each row, weighted by rows; 0 is calibrated.

    Source: Guo, Pleiss, Sun & Weinberger, On calibration of modern neural networks, ICML 2017.
    """
    return whole(class_calibration_parts(y, p, bins).totals(weights_of(weights, len(np.asarray(y)))), calibration_of)


def label_accuracy_parts(y: ArrayLike, predicted: ArrayLike) -> Parts:
    """For `ratio`: all rows, and those predicted right."""
    truth, given, _ = labels(y, predicted)
    return mean_parts((truth == given).astype(np.float64))


def confusion_parts(y: ArrayLike, predicted: ArrayLike) -> Parts:
    """k * k cells: place truth * k + prediction."""
    truth, given, count = labels(y, predicted)
    return Parts(np.ones((1, len(truth))), truth * count + given, count * count)


def class_log_loss_parts(y: ArrayLike, p: ArrayLike) -> Parts:
    """For `ratio`: all rows, and their negative log likelihoods."""
    codes, chance = class_probabilities(y, p)
    return mean_parts(-np.log(np.clip(_of_truth(codes, chance), _TINY, 1 - _TINY)))


def class_brier_parts(y: ArrayLike, p: ArrayLike) -> Parts:
    """For `ratio`: all rows, and their squared errors."""
    codes, chance = class_probabilities(y, p)
    error = chance.copy()
    error[np.arange(len(codes)), codes] -= 1
    return mean_parts((error**2).sum(axis=1))


def class_calibration_parts(y: ArrayLike, p: ArrayLike, bins: int = 10) -> Parts:
    """As the binary `calibration_parts`, of the highest p and whether its class is right."""
    codes, chance = class_probabilities(y, p)
    return calibration_parts((chance.argmax(axis=1) == codes).astype(np.float64), chance.max(axis=1), bins)


def macro_precision_of(totals: Floats) -> Floats:
    """From the cells of `confusion_parts`, as are the following."""
    right, said, true = _margins(totals)
    return _mean_of_present(right, said, (said + true) > 0)


def macro_recall_of(totals: Floats) -> Floats:
    """Mean recall over classes that are there or predicted."""
    right, said, true = _margins(totals)
    return _mean_of_present(right, true, (said + true) > 0)


def macro_f1_of(totals: Floats) -> Floats:
    """Mean F1 over classes that are there or predicted."""
    right, said, true = _margins(totals)
    return _mean_of_present(2 * right, said + true, (said + true) > 0)


def balanced_accuracy_of(totals: Floats) -> Floats:
    """Mean recall over classes that are there."""
    right, _, true = _margins(totals)
    return _mean_of_present(right, true, true > 0)


def matthews_of(totals: Floats) -> Floats:
    """The K-category correlation."""
    right, said, true = _margins(totals)
    rows = true.sum(axis=-1)
    both = right.sum(axis=-1) * rows - (said * true).sum(axis=-1)
    spread = (rows**2 - (said**2).sum(axis=-1)) * (rows**2 - (true**2).sum(axis=-1))
    out: Floats = np.divide(both, np.sqrt(spread), out=np.zeros(np.shape(both)), where=spread > 0)
    return out


def _margins(totals: Floats) -> tuple[Floats, Floats, Floats]:
    count = round(totals.shape[-2] ** 0.5)
    table = totals[..., 0].reshape(*totals.shape[:-2], count, count)
    return np.diagonal(table, axis1=-2, axis2=-1), table.sum(axis=-2), table.sum(axis=-1)


def _mean_of_present(above: Floats, below: Floats, present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats:
    shares = np.divide(above, below, out=np.zeros(np.shape(below)), where=below > 0)
    mean: Floats = (shares * present).sum(axis=-1) / present.sum(axis=-1)
    return mean


def _of_truth(codes: Codes, chance: Floats) -> Floats:
    given: Floats = chance[np.arange(len(codes)), codes]
    return given


def _from_confusion(y: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None, finish: Finish) -> float:
    parts = confusion_parts(y, predicted)
    return whole(parts.totals(weights_of(weights, parts.columns.shape[1])), finish)
