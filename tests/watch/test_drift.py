"""Drift tests: few false alarms where nothing drifts, real shifts found; figures against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tidemill.core.errors import BadInput
from tidemill.watch.drift import benjamini_hochberg, drift, g_test, psi_test

SHARES = np.array([0.3, 0.25, 0.2, 0.15, 0.1])


def test_g_agrees_with_scipy() -> None:
    one, other = [120, 90, 60, 30], [100, 95, 70, 45]
    expected = stats.chi2_contingency([one, other], correction=False, lambda_="log-likelihood")
    found = g_test(one, other)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-12)


@pytest.mark.parametrize("test", [g_test, psi_test])
def test_p_is_uniform_where_nothing_drifts(test) -> None:
    draw = np.random.default_rng(1)
    p = [test(draw.multinomial(800, SHARES), draw.multinomial(400, SHARES)).p for _ in range(2000)]
    assert 0.035 < np.mean(np.array(p) < 0.05) < 0.065  # 95 % interval of a share of 0.05 in 2,000: 0.041 to 0.060


@pytest.mark.parametrize("test", [g_test, psi_test])
def test_a_shift_is_found(test) -> None:
    draw = np.random.default_rng(2)
    shifted = np.array([0.2, 0.25, 0.25, 0.15, 0.15])
    assert test(draw.multinomial(3000, SHARES), draw.multinomial(1000, shifted)).p < 1e-6


def test_false_discoveries_over_fifty_columns_stay_below_alpha() -> None:
    draw = np.random.default_rng(3)
    flagged = 0
    for _ in range(100):
        old = {str(n): draw.multinomial(5000, SHARES) for n in range(50)}
        new = {str(n): draw.multinomial(500, SHARES) for n in range(50)}
        flagged += any(line.drifted for line in drift(old, new, alpha=0.05, min_effect=0.0))
    assert flagged <= 11  # of 100 at 5 %: 11 or fewer in 99 of 100 such tests


def test_benjamini_hochberg_agrees_with_scipy() -> None:
    p = np.random.default_rng(4).uniform(size=60) ** 3
    np.testing.assert_allclose(benjamini_hochberg(list(p)), stats.false_discovery_control(p), rtol=1e-12)
    assert benjamini_hochberg([]) == []


def test_a_trifle_in_a_big_sample_is_no_alarm() -> None:
    old, new = {"x": [500_000, 500_000]}, {"x": [502_500, 497_500]}
    (line,) = drift(old, new)
    assert line.q < 0.01
    assert not line.drifted


def test_a_new_category_is_drift() -> None:
    (line,) = drift({"c": [900, 100, 0, 0]}, {"c": [500, 50, 450, 0]})
    assert line.drifted


def test_an_empty_sample_says_nothing() -> None:
    assert g_test([5, 5], [0, 0]).p == 1.0


def test_other_bins_and_unknown_tests_are_named() -> None:
    with pytest.raises(BadInput, match="column 'x' is not counted over the reference's bins"):
        drift({"x": [1, 2]}, {"x": [1, 2, 3]})
    with pytest.raises(BadInput, match="no drift test 'ks'"):
        drift({"x": [1, 2]}, {"x": [1, 2]}, test="ks")
    with pytest.raises(BadInput, match="counts over 2 and 3 bins; count both over the same bins"):
        g_test([1, 2], [1, 2, 3])
    with pytest.raises(BadInput, match="a count is -1; counts are 0 or more"):
        psi_test([1, 2], [1, -1])
    with pytest.raises(BadInput, match="alpha is 1; allowed: above 0 and below 1"):
        drift({"x": [1, 2]}, {"x": [1, 2]}, alpha=1)


def test_the_order_of_columns_and_bins_changes_nothing() -> None:
    draw = np.random.default_rng(5)
    old = {str(n): draw.multinomial(900, SHARES) for n in range(6)}
    new = {str(n): draw.multinomial(300, SHARES[::-1] if n % 2 else SHARES) for n in range(6)}
    found = drift(old, new)
    turned = drift({n: old[n][::-1] for n in reversed(old)}, {n: new[n][::-1] for n in new})
    assert [(line.column, line.drifted) for line in found] == [(line.column, line.drifted) for line in turned]
    np.testing.assert_allclose([line[1:] for line in found], [line[1:] for line in turned], rtol=1e-9)
    assert {line.column for line in found if line.drifted} == {"1", "3", "5"}
