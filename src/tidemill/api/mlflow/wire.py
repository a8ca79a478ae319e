"""Requests as MLflow's clients send them, read straight into structs, and the JSON of answers.

Like protobuf's JSON: unknown fields are passed over, numbers may be texts, 64-bit integers go out as numbers (as MLflow
itself does), and doubles that are not finite as the texts "NaN", "Infinity", "-Infinity".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from tidemill.track.experiments import Experiment
from tidemill.track.inputs import Input
from tidemill.track.searching.found import Found
from tidemill.track.tracking import Latest, Tracked

STATUS = {"running": "RUNNING", "done": "FINISHED", "failed": "FAILED", "cancelled": "KILLED", "scheduled": "SCHEDULED"}
GRAPH_STATUS = {shown: ours for ours, shown in STATUS.items()}


class Pair(msgspec.Struct):
    """A parameter or a tag."""

    key: str | None = None
    value: str | None = None


class Metric(msgspec.Struct):
    """A value of a metric."""

    key: str | None = None
    value: float | str | None = None
    timestamp: int | None = None
    step: int | None = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None
    run_id: str | None = None


class Dataset(msgspec.Struct):
    """A dataset as a client describes it."""

    name: str | None = None
    digest: str | None = None
    source_type: str | None = None
    source: str | None = None
    schema: str | None = None
    profile: str | None = None


class DatasetInput(msgspec.Struct):
    """A dataset, and tags of its use."""

    dataset: Dataset | None = None
    tags: list[Pair] = []


class ModelUse(msgspec.Struct):
    """A logged model that a run read, or made at a step."""

    model_id: str | None = None
    step: int | None = 0


class Nothing(msgspec.Struct):
    """A request without fields."""


def number(value: float | str) -> float:
    """A double, as JSON or as protobuf's text. Raises ValueError."""
    return float(value)


def double(value: float) -> float | str:
    """A double for JSON."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def pairs(given: Mapping[str, str]) -> list[dict[str, str]]:
    """Parameters or tags for JSON."""
    return [{"key": key, "value": value} for key, value in given.items()]


def artifact_uri(experiment: int, run_id: str) -> str:
    """Where a client finds a run's files: through us."""
    return f"mlflow-artifacts:/{experiment}/{run_id}/artifacts"


def experiment(found: Experiment) -> dict[str, Any]:
    """An experiment for JSON."""
    return {
        "experiment_id": str(found.id),
        "name": found.name,
        "artifact_location": found.location or f"mlflow-artifacts:/{found.id}",
        "lifecycle_stage": found.stage,
        "last_update_time": found.updated_ms,
        "creation_time": found.created_ms,
        **({"tags": pairs(found.tags)} if found.tags else {}),
    }


def info(
    run_id: str, name: str, experiment_id: int, owner: str, status: str, start_ms: int, end_ms: int | None, stage: str
) -> dict[str, Any]:
    """What a run is, for JSON."""
    made: dict[str, Any] = {
        "run_uuid": run_id,
        "experiment_id": str(experiment_id),
        "run_name": name,
        "user_id": owner,
        "status": STATUS[status],
        "start_time": start_ms,
        "artifact_uri": artifact_uri(experiment_id, run_id),
        "lifecycle_stage": stage,
        "run_id": run_id,
    }
    if end_ms is not None:
        made["end_time"] = end_ms
    return made


def info_of(found: Tracked) -> dict[str, Any]:
    """The same of a run that was read."""
    status = "scheduled" if found.scheduled else found.run.status
    return info(
        found.run.id, found.run.name, found.experiment, found.owner, status, found.start_ms, found.end_ms, found.stage
    )


def data(params: Mapping[str, str], tags: Mapping[str, str], metrics: Mapping[str, Latest]) -> dict[str, Any]:
    """What a run logged, for JSON; absent is nothing."""
    shown = [
        {"key": key, "value": double(last.value), "timestamp": last.at_ms, "step": last.step}
        for key, last in metrics.items()
    ]
    made = {"metrics": shown, "params": pairs(params), "tags": pairs(tags)}
    return {name: each for name, each in made.items() if each}


def run(found: Tracked | Found, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """A whole run for JSON. inputs, outputs: as `inputs.of_runs` gives them."""
    if isinstance(found, Tracked):
        head = info_of(found)
    else:
        head = info(
            found.run_id,
            found.name,
            found.experiment,
            found.owner,
            found.status,
            found.start_ms,
            found.end_ms,
            found.stage,
        )
    made: dict[str, Any] = {"info": head, "data": data(found.params, found.tags, found.metrics), "inputs": dict(inputs)}
    return {**made, "outputs": dict(outputs)} if outputs else made


def inputs(found: Sequence[Input]) -> dict[str, Any]:
    """What a run read, for JSON."""
    shown = []
    for each in found:
        dataset = {
            name: getattr(each, name) for name in ("name", "digest", "source_type", "source", "schema", "profile")
        }
        shown.append({"tags": pairs(each.tags), "dataset": {name: text for name, text in dataset.items() if text}})
    return {"dataset_inputs": shown} if shown else {}


def told(value: Any) -> Response:  # Any: a JSON value
    """A JSON answer."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def texts(given: Iterable[Pair]) -> dict[str, str]:
    """Pairs as a mapping; a value that is absent is empty, as protobuf has it."""
    return {str(pair.key): pair.value or "" for pair in given}
