"""The suite for model formats: subclass ModelFormatSuite, give it a format and fitted estimators.

@pytest.fixture
def form(): return MyFormat()

@pytest.fixture(params=[...])
def fitted(request): return estimator, X, expected scores (n,)

class TestMine(ModelFormatSuite): pass
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from tidemill.core.errors import BadInput, Corrupt

TOLERANCE = 1e-6


class ModelFormatSuite:
    """What tidemill.serve.formats.ModelFormat promises. Fixtures to give: `form` and `fitted`."""

    def test_a_loaded_model_scores_as_the_estimator_did(self, form: Any, fitted: Any) -> None:
        """To 1e-6, all rows at once."""
        estimator, matrix, expected = fitted
        found = form.load(form.export(estimator, matrix.shape[1]))(matrix)
        assert found.shape == (len(matrix),)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)

    def test_one_row_scores_as_in_a_batch(self, form: Any, fitted: Any) -> None:
        """To 1e-12: the order of a sum may differ, no more."""
        estimator, matrix, _ = fitted
        score = form.load(form.export(estimator, matrix.shape[1]))
        alone = np.concatenate([score(matrix[place : place + 1]) for place in range(50)])
        np.testing.assert_allclose(alone, score(matrix[:50]), rtol=0, atol=1e-12)

    def test_the_same_estimator_gives_the_same_bytes(self, form: Any, fitted: Any) -> None:
        """So that a package's digest says what is in it."""
        estimator, matrix, _ = fitted
        assert form.export(estimator, matrix.shape[1]) == form.export(estimator, matrix.shape[1])

    def test_no_rows_give_no_scores(self, form: Any, fitted: Any) -> None:
        """Shape (0,)."""
        estimator, matrix, _ = fitted
        assert form.load(form.export(estimator, matrix.shape[1]))(matrix[:0]).shape == (0,)

    def test_a_scorer_may_be_called_from_many_threads(self, form: Any, fitted: Any) -> None:
        """Each gets what one alone gets."""
        estimator, matrix, _ = fitted
        score = form.load(form.export(estimator, matrix.shape[1]))
        alone = score(matrix)
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(score(matrix))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert all(np.array_equal(one, alone) for one in found)

    def test_a_matrix_of_another_width_is_refused(self, form: Any, fitted: Any) -> None:
        """Both at export and when scoring."""
        estimator, matrix, _ = fitted
        with pytest.raises(BadInput, match="features"):
            form.export(estimator, matrix.shape[1] + 1)
        with pytest.raises(BadInput, match="features"):
            form.load(form.export(estimator, matrix.shape[1]))(matrix[:, 1:])

    def test_what_cannot_be_exported_is_named(self, form: Any) -> None:
        """An object that is no estimator at all."""
        with pytest.raises(BadInput, match="object"):
            form.export(object(), 3)

    def test_bytes_of_something_else_are_corrupt(self, form: Any) -> None:
        """And run nothing."""
        with pytest.raises(Corrupt):
            form.load(b"this is no model")
