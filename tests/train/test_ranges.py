"""Ranges beside the parameter."""

from __future__ import annotations

from typing import Annotated

import pytest

from tidemill.core.errors import BadInput, WrongType
from tidemill.train import ranges
from tidemill.train.ranges import choice, floats, ints, log


def fit(
    train: int,
    rate: Annotated[float, log(1e-3, 0.3)] = 0.1,
    leaves: Annotated[int, ints(8, 128)] = 31,
    share: Annotated[float, floats(0.5, 1.0)] = 1.0,
    *,
    how: Annotated[str | None, choice("gini", None)] = None,
    plain: int = 3,
) -> NotImported:  # noqa: F821  a name that only a type checker knows
    return (train, rate, leaves, share, how, plain)


def test_the_signature_says_the_ranges_in_order():
    assert ranges.ranges_of(fit) == {
        "rate": ranges.Log(1e-3, 0.3),
        "leaves": ranges.Ints(8, 128),
        "share": ranges.Floats(0.5, 1.0),
        "how": ranges.Choice(("gini", None)),
    }


def test_a_search_starts_at_the_defaults_or_in_the_middle():
    def open_fit(train, rate: Annotated[float, log(0.01, 1.0)], leaves: Annotated[int, ints(1, 9)] = 2):
        return None

    assert ranges.defaults_of(fit) == {"rate": 0.1, "leaves": 31, "share": 1.0, "how": None}
    assert ranges.defaults_of(open_fit) == {"rate": pytest.approx(0.1), "leaves": 2}


def test_a_default_outside_its_range_is_refused():
    def bad(train, rate: Annotated[float, log(0.01, 0.1)] = 0.5):
        return None

    with pytest.raises(BadInput, match=r"bad: default rate=0.5 lies outside its range Log\(low=0.01, high=0.1\)"):
        ranges.ranges_of(bad)


def test_an_annotation_that_cannot_be_read_is_an_error_and_not_a_missing_range():
    def hidden(train, rate: Annotated[float, nowhere(1)] = 0.5):  # noqa: F821
        return None

    with pytest.raises(BadInput, match="cannot read the range of 'rate'"):
        ranges.ranges_of(hidden)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: log(0, 1), BadInput, "log(0, 1) needs 0 < low < high, for example log(1e-3, 0.3)"),
        (lambda: ints(5, 5), BadInput, "ints(5, 5) needs low < high, for example ints(8, 128)"),
        (lambda: ints(0.5, 2), WrongType, "ints(0.5, 2) needs whole numbers; for others use floats(0.5, 2)"),
        (
            lambda: floats(2, 1),
            BadInput,
            "floats(2, 1) needs low < high, both finite, for example floats(0.5, 1.0)",
        ),
        (
            lambda: choice("a"),
            BadInput,
            "choice('a',) needs at least two values, for example choice('gini', 'entropy')",
        ),
        (
            lambda: choice("a", []),
            WrongType,
            "choice() got [], a list; allowed: text, numbers, bool, None",
        ),
    ],
)
def test_bad_ranges_say_what_is_allowed(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == message


def test_an_unknown_parameter_names_the_nearest():
    with pytest.raises(BadInput, match=r"fit\(\) has no parameter 'leafs'; it has .* Did you mean 'leaves'\?"):
        ranges.check_params(fit, {"leafs": 3})


def test_a_parameter_without_a_value_is_named():
    def needs(train, depth):
        return None

    with pytest.raises(BadInput, match=r"needs\(\) needs a value for 'depth'"):
        ranges.check_params(needs, {})


def test_optuna_gets_the_same_ranges():
    from optuna import distributions

    assert ranges.distribution(log(1e-3, 0.3)) == distributions.FloatDistribution(1e-3, 0.3, log=True)
    assert ranges.distribution(ints(1, 3)) == distributions.IntDistribution(1, 3)
    assert ranges.distribution(choice("a", None)) == distributions.CategoricalDistribution(("a", None))
