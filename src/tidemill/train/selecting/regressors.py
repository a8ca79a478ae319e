"""Candidates for regression, by scikit-learn: each returns a fitted regressor with `predict`."""

from __future__ import annotations

from typing import Annotated, Any

from tidemill.core.types import Matrix
from tidemill.train.ranges import choice, floats, ints, log
from tidemill.train.selecting.classifiers import EXACT_ROWS, NYSTROEM
from tidemill.train.selecting.columns import scaled, whole


def linear(train: Matrix) -> object:
    """Least squares."""
    from sklearn.linear_model import LinearRegression

    return scaled(LinearRegression()).fit(train.X, train.y)


def ridge(train: Matrix, penalty: Annotated[float, log(1e-3, 1e4)] = 1.0) -> object:
    """Least squares with an L2 penalty."""
    from sklearn.linear_model import Ridge

    return scaled(Ridge(alpha=penalty)).fit(train.X, train.y)


def lasso(train: Matrix, penalty: Annotated[float, log(1e-5, 1.0)] = 0.01) -> object:
    """Least squares with an L1 penalty, which leaves columns out. penalty: as a share of the target's spread."""
    from sklearn.linear_model import Lasso

    spread = float(train.y.std()) or 1.0
    return scaled(Lasso(alpha=penalty * spread, max_iter=20_000)).fit(train.X, train.y)


def nearest_mean(
    train: Matrix,
    neighbours: Annotated[int, ints(1, 200)] = 15,
    weights: Annotated[str, choice("uniform", "distance")] = "distance",
) -> object:
    """The mean of the nearest rows."""
    from sklearn.neighbors import KNeighborsRegressor

    return scaled(KNeighborsRegressor(min(neighbours, len(train)), weights=weights)).fit(train.X, train.y)


def support_vector_regression(
    train: Matrix, strength: Annotated[float, log(1e-2, 1e2)] = 1.0, width: Annotated[float, log(1e-2, 1e2)] = 1.0
) -> object:
    """Support vector regression with a radial kernel, of the scaled target.

    width: of the kernel, as a multiple of scikit-learn's "scale". Beyond 4,000 rows the kernel is approximated by
    Nystroem's method with 300 of them.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.kernel_approximation import Nystroem
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR, LinearSVR

    gamma = 1 / (width * max(1, train.X.shape[1]))
    machine: Any  # one of two kinds of scikit-learn's, which has no types
    if len(train) <= EXACT_ROWS:
        machine = SVR(C=strength, gamma=gamma)
    else:
        kernel = Nystroem(gamma=gamma, n_components=NYSTROEM, random_state=0)
        loss = "squared_epsilon_insensitive"
        machine = make_pipeline(kernel, LinearSVR(C=strength, loss=loss, dual=False, max_iter=5_000))
    whole = TransformedTargetRegressor(machine, transformer=StandardScaler())
    return scaled(whole).fit(train.X, train.y)


def regression_tree(
    train: Matrix, depth: Annotated[int, ints(1, 20)] = 8, leaf: Annotated[int, ints(1, 200)] = 20, seed: int = 0
) -> object:
    """One decision tree. leaf: the fewest rows of a leaf."""
    from sklearn.tree import DecisionTreeRegressor

    return DecisionTreeRegressor(max_depth=depth, min_samples_leaf=leaf, random_state=seed).fit(train.X, train.y)


def regression_forest(
    train: Matrix,
    trees: Annotated[int, ints(50, 500)] = 200,
    leaf: Annotated[int, ints(1, 50)] = 3,
    columns: Annotated[float, floats(0.1, 1.0)] = 0.6,
    seed: int = 0,
) -> object:
    """A random forest. columns: the share of them that a split chooses from."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(trees, min_samples_leaf=leaf, max_features=columns, random_state=seed).fit(
        train.X, train.y
    )


def extra_regression_trees(
    train: Matrix,
    trees: Annotated[int, ints(50, 500)] = 200,
    leaf: Annotated[int, ints(1, 50)] = 3,
    columns: Annotated[float, floats(0.1, 1.0)] = 0.6,
    seed: int = 0,
) -> object:
    """Trees with splits drawn by chance: quicker than a forest and smoother."""
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(trees, min_samples_leaf=leaf, max_features=columns, random_state=seed).fit(
        train.X, train.y
    )


def regression_boosting(
    train: Matrix,
    rate: Annotated[float, log(0.01, 0.5)] = 0.1,
    leaves: Annotated[int, ints(4, 128)] = 31,
    rounds: Annotated[int, ints(20, 500)] = 100,
    loss: Annotated[str, choice("squared_error", "absolute_error")] = "squared_error",
    seed: int = 0,
) -> object:
    """Histogram gradient boosting."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss=loss,
        learning_rate=rate,
        max_leaf_nodes=leaves,
        max_iter=rounds,
        early_stopping=False,
        random_state=seed,
    )
    return whole(model, train.X).fit(train.X, train.y)
