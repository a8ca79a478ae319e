"""The ONNX format: our own exporter from scikit-learn, in double precision throughout, and ONNX Runtime to score.

Histogram boosting compares float64 inputs with float64 thresholds; forests and classic boosting round the input to
float32 first and compare that with a float64 threshold. The graph does the same, so a row never takes another branch
than in scikit-learn. Inference runs on one thread: a request is a few rows, and threads cost more than they give.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tidemill.core.errors import BadInput, Corrupt
from tidemill.serve.formats import FloatArray, Scorer
from tidemill.serve.formats.trees import ensemble_node, of_histogram_tree, of_tree

OPSET = 18
ML_OPSET = 5
IR_VERSION = 10

# Any in this file: estimators of scikit-learn and protobuf messages of onnx, neither of which has types.


class _Drawing:
    """An ONNX graph being drawn: nodes and constants, each value with a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def trees(self, trees: list[Any], source: str) -> str:
        """Add a sum of trees; returns the name of its output, shape (n, 1)."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(ensemble_node(trees, source=source, target=name))
        return name

    def constant(self, value: Any) -> str:
        """Add a float64 constant; returns its name."""
        import numpy as np
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float64), name))
        return name

    def as_float32(self, source: str) -> str:
        """Round to float32 and back, as scikit-learn's forests do with their input."""
        from onnx import TensorProto

        return self.add("Cast", self.add("Cast", source, to=TensorProto.FLOAT), to=TensorProto.DOUBLE)


class OnnxFormat:
    """Estimators of scikit-learn to ONNX and back to a scoring function; see ModelFormat for the contract."""

    name = "onnx"

    def export(self, estimator: Any, n_features: int) -> bytes:
        """ONNX bytes of a fitted estimator: input "x" (n, n_features) double, output "score" (n, 1) double.

        A binary classifier gives P(second class), a regressor its value. Raises BadInput for what cannot be exported:
        another estimator, more than two classes, categorical splits, several outputs.
        """
        from onnx import TensorProto, checker, helper

        expected = int(getattr(estimator, "n_features_in_", n_features))
        if expected != n_features:
            raise BadInput(
                f"{type(estimator).__name__} was fitted on {expected} features, the recipe gives {n_features}; "
                "fit it on the matrix that the recipe makes"
            )
        drawing = _Drawing()
        drawing.add("Identity", _draw(drawing, estimator, "x"))
        drawing.nodes[-1].output[0] = "score"
        graph = helper.make_graph(
            drawing.nodes,
            type(estimator).__name__,
            [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, n_features])],
            [helper.make_tensor_value_info("score", TensorProto.DOUBLE, [None, 1])],
            drawing.constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
            producer_name="tidemill",
            ir_version=IR_VERSION,
        )
        checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def load(self, data: bytes) -> Scorer:
        """A scoring function on one thread; raises Corrupt where the bytes are no ONNX model of ours."""
        import numpy as np
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions have no public common class
            raise Corrupt(f"{len(data)} bytes are no readable ONNX model: {error}; build the package again") from error
        width = session.get_inputs()[0].shape[1]

        def score(x: FloatArray) -> FloatArray:
            if x.ndim != 2 or x.shape[1] != width:
                raise BadInput(f"the model takes rows of {width} features, got an array of shape {x.shape}")
            if not len(x):
                return np.empty(0)
            found = session.run(["score"], {"x": np.ascontiguousarray(x, dtype=np.float64)})[0]
            return np.asarray(found, dtype=np.float64).reshape(-1)

        return score


def _draw(drawing: _Drawing, estimator: Any, source: str) -> str:
    name = type(estimator).__name__
    module = type(estimator).__module__.partition(".")[0]
    draw = DRAWN.get(name) if module == "sklearn" else None
    if draw is None:
        raise BadInput(
            f"cannot export {module}.{name} to ONNX; what can be exported: {', '.join(sorted(DRAWN))} of scikit-learn, "
            "or add a model_format plugin"
        )
    if not any(hasattr(estimator, sign) for sign in ("n_features_in_", "steps", "classes_")):
        raise BadInput(f"{name} is not fitted; call its fit(X, y) first")
    return draw(drawing, estimator, source)


def _require_binary(estimator: Any) -> None:
    classes = list(estimator.classes_)
    if len(classes) != 2:
        raise BadInput(
            f"{type(estimator).__name__} knows {len(classes)} classes ({classes[:5]}); "
            "only two can be served: make the target 0 or 1"
        )


def _require_one_output(estimator: Any) -> None:
    outputs = int(getattr(estimator, "n_outputs_", 1))
    if outputs != 1:
        raise BadInput(f"{type(estimator).__name__} has {outputs} outputs; only one can be served")


def _logistic(drawing: _Drawing, estimator: Any, source: str) -> str:
    _require_binary(estimator)
    return drawing.add("Sigmoid", _plane(drawing, estimator, source))


def _plane(drawing: _Drawing, estimator: Any, source: str) -> str:
    import numpy as np

    coefficients = np.asarray(estimator.coef_, dtype=np.float64)
    if coefficients.ndim == 2 and len(coefficients) != 1:
        raise BadInput(f"{type(estimator).__name__} has {len(coefficients)} outputs; only one can be served")
    product = drawing.add("MatMul", source, drawing.constant(coefficients.reshape(-1, 1)))
    return drawing.add("Add", product, drawing.constant(np.asarray(estimator.intercept_).reshape(1)))


def _histogram_boosting(drawing: _Drawing, estimator: Any, source: str) -> str:
    name = type(estimator).__name__
    if getattr(estimator, "is_categorical_", None) is not None:
        raise BadInput(f"{name} with categorical_features cannot be exported to ONNX; use one_hot or ordinal steps")
    trees = [of_histogram_tree(stage[0]) for stage in estimator._predictors]
    baseline = float(estimator._baseline_prediction.reshape(-1)[0])
    total = drawing.add("Add", drawing.trees(trees, source), drawing.constant([baseline]))
    if hasattr(estimator, "classes_"):
        _require_binary(estimator)
        return drawing.add("Sigmoid", total)
    return drawing.add("Exp", total) if estimator.loss in ("poisson", "gamma") else total


def _forest(drawing: _Drawing, estimator: Any, source: str) -> str:
    _require_one_output(estimator)
    members = getattr(estimator, "estimators_", None) or [estimator]
    classifies = hasattr(estimator, "classes_")
    if classifies:
        _require_binary(estimator)
    trees = [of_tree(tree.tree_, scale=1 / len(members), positive_class=classifies) for tree in members]
    return drawing.trees(trees, drawing.as_float32(source))


def _classic_boosting(drawing: _Drawing, estimator: Any, source: str) -> str:
    import numpy as np

    rate = float(estimator.learning_rate)
    trees = [of_tree(stage[0].tree_, scale=rate, positive_class=False) for stage in estimator.estimators_]
    if estimator.init is not None and estimator.init != "zero":
        raise BadInput(f"{type(estimator).__name__} with init={estimator.init!r} cannot be exported; leave init=None")
    base = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32))
    total = drawing.add(
        "Add", drawing.trees(trees, drawing.as_float32(source)), drawing.constant([float(base.reshape(-1)[0])])
    )
    if not hasattr(estimator, "classes_"):
        return total
    _require_binary(estimator)
    if estimator.loss == "exponential":
        total = drawing.add("Mul", total, drawing.constant([2.0]))
    return drawing.add("Sigmoid", total)


def _prior(drawing: _Drawing, estimator: Any, source: str) -> str:
    _require_binary(estimator)
    share = float(estimator.class_prior_[1])
    if estimator.strategy != "prior" or not math.isfinite(share):
        raise BadInput(f"DummyClassifier(strategy={estimator.strategy!r}) cannot be exported; use strategy='prior'")
    from onnx import TensorProto

    # a column of zeros, one a row: from IsNaN, because 0 * x would be NaN for a missing value
    column = drawing.add(
        "MatMul",
        drawing.add("Cast", drawing.add("IsNaN", source), to=TensorProto.DOUBLE),
        drawing.constant([[0.0]] * int(estimator.n_features_in_)),
    )
    return drawing.add("Add", column, drawing.constant([share]))


def _standard_scaler(drawing: _Drawing, estimator: Any, source: str) -> str:
    if estimator.mean_ is not None and estimator.with_mean:
        source = drawing.add("Sub", source, drawing.constant(estimator.mean_))
    if estimator.scale_ is not None:
        source = drawing.add("Div", source, drawing.constant(estimator.scale_))
    return source


def _simple_imputer(drawing: _Drawing, estimator: Any, source: str) -> str:
    import numpy as np

    filled = np.asarray(estimator.statistics_, dtype=np.float64)
    if estimator.indicator_ is not None or not isinstance(estimator.missing_values, float) or np.isnan(filled).any():
        raise BadInput("cannot export a SimpleImputer that adds or drops columns, or fills other values than NaN")
    return drawing.add("Where", drawing.add("IsNaN", source), drawing.constant(filled), source)


def _pipeline(drawing: _Drawing, estimator: Any, source: str) -> str:
    for _, step in estimator.steps:
        if step not in (None, "passthrough"):
            source = _draw(drawing, step, source)
    return source


DRAWN: dict[str, Callable[[_Drawing, Any, str], str]] = {
    "LogisticRegression": _logistic,
    "LinearRegression": _plane,
    "Ridge": _plane,
    "Lasso": _plane,
    "HistGradientBoostingClassifier": _histogram_boosting,
    "HistGradientBoostingRegressor": _histogram_boosting,
    "RandomForestClassifier": _forest,
    "ExtraTreesClassifier": _forest,
    "DecisionTreeClassifier": _forest,
    "RandomForestRegressor": _forest,
    "ExtraTreesRegressor": _forest,
    "DecisionTreeRegressor": _forest,
    "GradientBoostingClassifier": _classic_boosting,
    "GradientBoostingRegressor": _classic_boosting,
    "DummyClassifier": _prior,
    "StandardScaler": _standard_scaler,
    "SimpleImputer": _simple_imputer,
    "Pipeline": _pipeline,
}
