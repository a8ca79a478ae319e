"""Run by the Python of MLflow's environment: its own search of the runs on standard input, JSON, by each query there.

Prints, a line each, the places of the runs that match in their order, or "refused: ..." .
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
from mlflow.utils.search_utils import SearchUtils


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


def main():
    given = json.load(sys.stdin)
    runs = [run_of(sample) for sample in given["runs"]]
    place = {run.info.run_id: at for at, run in enumerate(runs)}
    for text, orders in given["queries"]:
        try:
            found = SearchUtils.sort(SearchUtils.filter(runs, text), orders)
            print(" ".join(str(place[run.info.run_id]) for run in found))
        except Exception as error:  # some filters it fails on, with errors of Python
            print("refused:", str(error).replace("\n", " ").replace("\r", " "))


if __name__ == "__main__":
    main()
