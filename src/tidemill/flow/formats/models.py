"""Fitted models: scikit-learn by skops with trusted types, LightGBM and XGBoost in their own formats, ONNX."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from typing import Any

from tidemill.core.errors import MissingExtra, Refused
from tidemill.flow.formats import plain

NAMES = ("sklearn", "lightgbm", "xgboost", "onnx")
_FIXED = (1980, 1, 1, 0, 0, 0)  # the first time that a zip file can say
_TRUSTED = ("sklearn.", "numpy.", "scipy.sparse.")


def encode(value: Any) -> tuple[str, bytes] | None:
    """The bytes of a model; None for what is no model of these libraries, or holds types that are not trusted."""
    tops = {each.__module__.partition(".")[0] for each in type(value).__mro__}
    if "lightgbm" in tops:
        return _lightgbm(value)
    if "xgboost" in tops:
        return _xgboost(value)
    if "onnx" in tops and hasattr(value, "SerializeToString"):
        return "onnx", value.SerializeToString(deterministic=True)
    if "sklearn" in tops and type(value).__module__.startswith("sklearn."):
        return _sklearn(value)
    return None


def decode(name: str, data: bytes) -> Any:
    """The model. Raises MissingExtra where its library is not installed, Refused for types that are not trusted."""
    try:
        if name == "sklearn":
            return _of_sklearn(data)
        if name == "onnx":
            import onnx

            return onnx.load_model_from_string(data)
        return _of_lightgbm(data) if name == "lightgbm" else _of_xgboost(data)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"this model needs {error.name}: pip install 'tidemill[boosting]'") from error


# ------------------------------------------------------------------------------------------------ scikit-learn


def _sklearn(value: Any) -> tuple[str, bytes] | None:
    from skops.io import dumps, get_untrusted_types  # type: ignore[import-untyped]
    from skops.io.exceptions import UnsupportedTypeException  # type: ignore[import-untyped]

    try:
        data = _fixed(dumps(value))
    except (UnsupportedTypeException, TypeError, ValueError, AttributeError):
        return None
    return ("sklearn", data) if _trusts(get_untrusted_types(data=data)) else None


def _of_sklearn(data: bytes) -> Any:
    from skops.io import get_untrusted_types, loads

    untrusted = get_untrusted_types(data=data)
    if not _trusts(untrusted):
        raise Refused(f"a stored model holds {', '.join(untrusted)}, which are not trusted; run its step again")
    return loads(data, trusted=untrusted)


def _trusts(names: list[str]) -> bool:
    return all(each.startswith(_TRUSTED) for each in names)


def _fixed(data: bytes) -> bytes:
    """The archive with the addresses and times of this process taken out: equal models give equal bytes."""
    given = zipfile.ZipFile(io.BytesIO(data))
    schema = json.loads(given.read("schema.json"))
    places: dict[int, int] = {}
    files: dict[str, str] = {}

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for each in node:
                walk(each)
        elif isinstance(node, dict):
            if isinstance(node.get("__id__"), int):
                node["__id__"] = places.setdefault(node["__id__"], len(places) + 1)
            if isinstance(node.get("file"), str):
                old = node["file"]
                files.setdefault(old, f"{len(files) + 1}.{old.rpartition('.')[2]}")
                node["file"] = files[old]
            for each in node.values():
                walk(each)

    walk(schema)
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as made:
        for old, new in files.items():
            made.writestr(zipfile.ZipInfo(new, _FIXED), given.read(old))
        made.writestr(zipfile.ZipInfo("schema.json", _FIXED), json.dumps(schema))
    return into.getvalue()


# ------------------------------------------------------------------------------------------------ boosting


def _lightgbm(value: Any) -> tuple[str, bytes] | None:
    lightgbm = sys.modules["lightgbm"]
    if type(value) is lightgbm.Booster:
        return "lightgbm", plain.joined(b'"Booster"', [("text", _booster_text(value).encode())])
    kinds = {each.__name__: each for each in (lightgbm.LGBMClassifier, lightgbm.LGBMRegressor, lightgbm.LGBMRanker)}
    if kinds.get(type(value).__name__) is not type(value):
        return None
    booster = getattr(value, "_Booster", None)
    parts = [] if booster is None else [("text", _booster_text(booster).encode())]
    state = {name: _dicts(each) for name, each in vars(value).items() if name != "_Booster"}

    def put(leaf: Any) -> int:
        from tidemill.flow.formats import arrays

        found = arrays.encode(leaf) or _labels(leaf)
        if found is None:
            raise plain.NotPlain(leaf)
        parts.append(found)
        return len(parts) - 1

    try:
        head = plain.dumps([type(value).__name__, booster is not None, plain.tagged(state, put)])
    except plain.NotPlain:
        return None
    return "lightgbm", plain.joined(head, parts)


def _dicts(value: Any) -> Any:
    """Scores by data set are in dicts that make up what is missing; plain ones say the same."""
    return {name: _dicts(each) for name, each in value.items()} if isinstance(value, dict) else value


def _booster_text(booster: Any) -> str:
    return str(booster.model_to_string(num_iteration=-1))


def _labels(leaf: Any) -> tuple[str, bytes] | None:
    return _sklearn(leaf) if type(leaf).__mro__[0].__module__.startswith(("sklearn.", "lightgbm.")) else None


def _of_lightgbm(data: bytes) -> Any:
    import lightgbm

    from tidemill.flow.formats import arrays

    skeleton, parts = plain.unjoined(data)

    def part(place: int) -> Any:
        kind, held = parts[place]
        return arrays.decode(kind, held) if kind == "npy" else _of_sklearn(held)

    head = plain.loads(skeleton, part)
    if head == "Booster":
        return lightgbm.Booster(model_str=parts[0][1].decode())
    name, fitted, state = head
    made = getattr(lightgbm, name)()
    made.__dict__.update(state)
    if fitted:
        made._Booster = lightgbm.Booster(model_str=parts[0][1].decode())
    return made


def _xgboost(value: Any) -> tuple[str, bytes] | None:
    xgboost = sys.modules["xgboost"]
    if type(value) is xgboost.Booster:
        return "xgboost", plain.joined(b'["Booster",null]', [("ubj", bytes(value.save_raw("ubj")))])
    kinds = {name: each for name, each in vars(xgboost).items() if isinstance(each, type) and name.startswith("XGB")}
    kind: type = type(value)
    if kinds.get(kind.__name__) is not kind:
        return None
    try:
        head = plain.dumps([kind.__name__, plain.tagged(value.get_params(), _no_part)])
        parts = [("ubj", bytes(value.get_booster().save_raw("ubj")))] if hasattr(value, "_Booster") else []
    except plain.NotPlain:
        return None
    return "xgboost", plain.joined(head, parts)


def _no_part(leaf: Any) -> Any:
    raise plain.NotPlain(leaf)


def _of_xgboost(data: bytes) -> Any:
    import xgboost

    skeleton, parts = plain.unjoined(data)
    name, params = plain.loads(skeleton, _no_part)
    if name == "Booster":
        return xgboost.Booster(model_file=bytearray(parts[0][1]))
    made: Any = getattr(xgboost, name)(**params)
    if parts:
        made.load_model(bytearray(parts[0][1]))
    return made
