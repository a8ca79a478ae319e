"""Tuning: a durable random trial in our storage, in Optuna's SQLite storage and in its journal file.

python benchmarks/tuning.py
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

try:
    from benchmarks.peers import Row, in_own_process
except ModuleNotFoundError:  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks.peers import Row, in_own_process

PROGRAM = f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parent.parent)!r})\n" + (
    "from benchmarks.tuning import trials; trials(sys.argv[1], int(sys.argv[2]))"
)
TRIALS = 100


def trials(storage: str, count: int) -> None:
    """Print wall and CPU milliseconds a trial of a study that draws three parameters at random."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(storage=_storage(storage, folder), sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(_objective, n_trials=10)
        wall, cpu = time.perf_counter(), time.process_time()
        study.optimize(_objective, n_trials=count)
        spent = (time.perf_counter() - wall, time.process_time() - cpu)
    print(json.dumps([1e3 * each / count for each in spent]))


def _storage(name: str, folder: str) -> object:
    import optuna

    if name == "ours":
        from tidemill.core.workspace import open_workspace
        from tidemill.train.tuning.storage import GraphStorage

        return GraphStorage(open_workspace(f"{folder}/bench.mill"))
    if name == "journal":
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(f"{folder}/journal.log"))
    return optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db")


def _objective(trial: object) -> float:
    x = trial.suggest_float("x", -1, 1)  # type: ignore[attr-defined]  # Optuna's Trial, imported nowhere here
    y = trial.suggest_int("y", 0, 9)  # type: ignore[attr-defined]  # as above
    return float(x * x + y + (trial.suggest_categorical("z", ["a", "b"]) == "a"))  # type: ignore[attr-defined]  # as above


def rows() -> list[Row]:
    """Ours against both of Optuna's."""
    ours, journal, database = (in_own_process(PROGRAM, name, str(TRIALS)) for name in ("ours", "journal", "database"))

    def row(peer: str, theirs: list[float], target: str) -> Row:
        return Row(
            f"a durable random trial of 3 parameters, {peer}",
            f"{ours[0]:.2f} ms (CPU {ours[1]:.2f})",
            f"{theirs[0]:.2f} ms (CPU {theirs[1]:.2f})",
            f"{ours[0] / theirs[0]:.3f}",
            target,
        )

    return [
        row("Optuna's SQLite storage", database, "<= 0.1"),
        row("Optuna's journal file", journal, "<= 1"),
    ]


if __name__ == "__main__":
    for each in rows():
        print(*each, sep=" | ")
