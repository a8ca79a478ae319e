"""Run by the Python of MLflow's environment: its own search of the samples on standard input, JSON, by each query.

Prints, a line each, the places of those that match in their order, or "refused: ..." .
"""

from __future__ import annotations

import json
import sys

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunTag,
)
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag, RegisteredModel, RegisteredModelTag
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils, SearchUtils


def run_of(sample):
    info = RunInfo(
        run_id=sample["run_id"],
        experiment_id="1",
        user_id=sample["owner"],
        status=sample["status"],
        start_time=sample["start_ms"],
        end_time=sample["end_ms"],
        lifecycle_stage="active",
        artifact_uri="",
        run_name=sample["name"],
    )
    data = RunData(
        metrics=[Metric(key, float(value), 0, 0) for key, value in sample["metrics"].items()],
        params=[Param(key, value) for key, value in sample["params"].items()],
        tags=[RunTag(key, value) for key, value in sample["tags"].items()],
    )
    inputs = [
        DatasetInput(Dataset(name, digest, "local", "{}"), [InputTag("mlflow.data.context", context)])
        for name, digest, context in sample["datasets"]
    ]
    return Run(info, data, RunInputs(inputs))


def version_of(sample):
    tags = [ModelVersionTag(key, value) for key, value in sample["tags"].items()]
    return ModelVersion(
        sample["name"],
        sample["version_number"],
        sample["creation_timestamp"],
        last_updated_timestamp=sample["last_updated_timestamp"],
        source=sample["source_path"],
        run_id=sample["run_id"],
        tags=tags,
    )


def model_of(sample):
    tags = [RegisteredModelTag(key, value) for key, value in sample["tags"].items()]
    return RegisteredModel(sample["name"], sample["creation_timestamp"], sample["last_updated_timestamp"], tags=tags)


KINDS = {
    "runs": (SearchUtils, run_of),
    "versions": (SearchModelVersionUtils, version_of),
    "models": (SearchModelUtils, model_of),
}


def main():
    given = json.load(sys.stdin)
    search, made_of = KINDS[given["kind"]]
    rows = [made_of(sample) for sample in given["samples"]]
    place = {id(row): at for at, row in enumerate(rows)}
    for text, orders in given["queries"]:
        try:
            found = search.sort(search.filter(rows, text), orders)
            print(" ".join(str(place[id(row)]) for row in found))
        except Exception as error:  # some filters it fails on, with errors of Python
            print("refused:", str(error).replace("\n", " ").replace("\r", " "))


if __name__ == "__main__":
    main()
