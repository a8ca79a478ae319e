"""What names and values may be, by MLflow's rules: its clients count on being told, and in which words."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Sequence

from tidemill.api.mlflow.errors import Told, invalid
from tidemill.api.mlflow.wire import DatasetInput, Metric, Pair
from tidemill.track.inputs import Input

METRICS, PAIRS, ENTITIES = 1000, 100, 1000
KEY, PARAM, TAG, EXPERIMENT_TAG, EXPERIMENT_NAME = 250, 6000, 8000, 20_000, 500
DATASET = {"name": 500, "digest": 36, "source_type": 500, "source": 65_535, "schema": 1_048_575, "profile": 16_777_215}
_NAME = re.compile(r"[/\w.\- :]*")
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")


def required(**given: object) -> None:
    """Refuse what is missing, by its name."""
    for name, value in given.items():
        if value is None or value == "":
            raise invalid(f"Missing value for required parameter '{name}'. See the API docs for more information.")


def run_id(given: str | None, other: str | None = None) -> str:
    """The run's id, under either of its names."""
    found = given or other
    required(run_id=found)
    assert found is not None
    if not _RUN_ID.fullmatch(found):
        raise _wrong("run_id", found, "")
    return found


def experiment_id(given: str | None, name: str = "experiment_id") -> int:
    """An experiment's id as a number. Raises what an unknown one would be, for what can be none."""
    required(**{name: given})
    assert given is not None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise Told("RESOURCE_DOES_NOT_EXIST", f"No Experiment with id={given} exists")
    return int(given)


def name(given: str | None, path: str, what: str) -> str:
    """The name of a metric, parameter or tag."""
    if given is None:
        raise _wrong(path, given, f"{what} cannot be None. A key name must be provided.")
    if not _NAME.fullmatch(given):
        raise _wrong(
            path,
            given,
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and "
            "slashes (/).",
        )
    plain = posixpath.normpath(given)
    if plain != given or plain == "." or plain.startswith(("..", "/")):
        raise _wrong(
            path,
            given,
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. "
            f"This name would resolve to {plain!r}",
        )
    return given


def metric(given: Metric, path: str = "") -> tuple[str, float, int, int]:
    """(key, value, timestamp in ms, step)."""
    key = name(given.key, f"{path}name", "Metric name")
    if given.value is None:
        raise invalid(f"Missing value for required parameter '{path}value'.")
    try:
        value = float(given.value)
    except ValueError:
        text = f"(timestamp={given.timestamp}). Please specify value as a valid double (64-bit floating point)"
        raise _wrong(f"{path}value", given.value, text) from None
    if given.timestamp is None or given.timestamp < 0:
        if given.timestamp is None:
            raise invalid(f"Missing value for required parameter '{path}timestamp'.")
        text = f"metric '{key}' (value={value}). Timestamp must be a nonnegative long (64-bit integer) "
        raise _wrong(f"{path}timestamp", given.timestamp, text)
    _length("Metric name", KEY, key)
    return key, value, given.timestamp, given.step or 0


def param(given: Pair, path: str = "") -> tuple[str, str]:
    """(key, value), a long value cut."""
    key = name(given.key, f"{path}key", "Parameter name")
    _length("Param key", KEY, key)
    return key, (given.value or "")[:PARAM]


def tag(given: Pair, path: str = "") -> tuple[str, str]:
    """(key, value), a long value cut."""
    key = name(given.key, f"{path}key", "Tag name")
    _length(f"{path}key", KEY, key)
    return key, (given.value or "")[:TAG]


def dataset(given: DatasetInput, place: int) -> Input:
    """A dataset that a run read."""
    found, path = given.dataset, f"datasets[{place}].dataset"
    if found is None:
        raise invalid(f"Missing value for required parameter '{path}'.")
    for field, most in DATASET.items():
        text = getattr(found, field)
        if field in ("name", "digest", "source_type", "source") and not text:
            raise invalid(f"Missing value for required parameter '{path}.{field}'.")
        if text and len(text) > most:
            raise invalid(f"Dataset {field} exceeds the maximum length of {most}")
    tags = {str(pair.key): pair.value or "" for pair in given.tags if pair.key}
    return Input(
        str(found.name),
        str(found.digest),
        str(found.source_type),
        str(found.source),
        found.schema or "",
        found.profile or "",
        tags,
    )


def experiment_tag(key: str | None, value: str | None) -> tuple[str, str]:
    """(key, value) of an experiment."""
    found = name(key, "key", "Tag name")
    _length("key", KEY, found)
    _length("value", EXPERIMENT_TAG, value or "")
    return found, value or ""


def experiment_name(given: str | None) -> str:
    """An experiment's name."""
    if given is None or given == "":
        raise _wrong("name", given, "")
    if len(given) > EXPERIMENT_NAME:
        raise invalid(f"'name' exceeds the maximum length of {EXPERIMENT_NAME} characters")
    return given


def batch(metrics: Sequence[Metric], params: Sequence[Pair], tags: Sequence[Pair]) -> None:
    """How many may come at once."""
    for what, most, some in (("metrics", METRICS, metrics), ("params", PAIRS, params), ("tags", PAIRS, tags)):
        if len(some) > most:
            raise invalid(
                f"A batch logging request can contain at most {most} {what}. Got {len(some)} {what}. Please split up "
                f"{what} across multiple requests and try again."
            )
    total = len(metrics) + len(params) + len(tags)
    if total > ENTITIES:
        raise invalid(
            f"A batch logging request can contain at most {ENTITIES} metrics, params, and tags. Got {total} metrics, "
            "params, and tags. Please split up metrics, params, and tags across multiple requests and try again."
        )
    keys = [str(pair.key) for pair in params]
    if len(set(keys)) < len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise invalid(
            f"Duplicate parameter keys have been submitted: {twice}. Please ensure the request contains only one param "
            "value per param key."
        )


def _length(what: str, most: int, value: str) -> None:
    if len(value) > most:
        raise invalid(f"'{what}' exceeds the maximum length of {most} characters")


def _wrong(path: str, value: object, text: str) -> Told:
    shown = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return invalid(f"Invalid value {shown} for parameter '{path}' supplied" + (f": {text}" if text else "."))
