"""What users would write for data-parallel training: at the top level of a module, so that workers can import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl


def design(frame: pl.DataFrame) -> np.ndarray[Any, Any]:
    x = frame.select("a", "b").to_numpy()
    return np.column_stack([np.ones(len(x)), x])


def moments(frame: pl.DataFrame, state: Any) -> tuple[Any, Any]:
    """X'X and X'y of a partition."""
    x, y = design(frame), frame["y"].to_numpy()
    return x.T @ x, x.T @ y


def solve(partials: list[Any], state: Any) -> Any:
    return np.linalg.solve(sum(each[0] for each in partials), sum(each[1] for each in partials))


def slopes(frame: pl.DataFrame, state: Any, *, marks: str = "", act: str = "") -> tuple[Any, Any]:
    """Gradient and Hessian of the logistic loss. marks: a folder where each call leaves its process id."""
    if marks:
        mark = Path(marks) / f"{frame['id'][0]}-{state['round']}"
        first = not mark.exists()
        mark.write_text(str(os.getpid()))
        if act == "die once" and first and mark.name == "0-1":
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "die always" and mark.name == "0-1":
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "fail" and mark.name == "0-1":
            raise ValueError("no rows of that kind")
        if act == "linger" and first and state["round"] == 2:
            time.sleep(3)
        if act == "wait" and first and mark.name == "0-3":
            time.sleep(60)
    x, y = design(frame), frame["label"].to_numpy()
    p = 1 / (1 + np.exp(-x @ state["w"]))
    return x.T @ (p - y), (x * (p * (1 - p))[:, None]).T @ x


def newton(partials: list[Any], state: Any, *, marks: str = "", act: str = "") -> Any:
    change = np.linalg.solve(sum(each[1] for each in partials), sum(each[0] for each in partials))
    return {"w": state["w"] - change, "round": state["round"] + 1}


def settled(old: Any, new: Any) -> bool:
    return bool(np.abs(new["w"] - old["w"]).max() < 1e-12)


START = {"w": np.zeros(3), "round": 0}


def rows(count: int = 1003) -> pl.DataFrame:
    draw = np.random.default_rng(5)
    a, b = draw.normal(size=(2, count))
    chance = 1 / (1 + np.exp(-(0.3 + a - 0.5 * b)))
    return pl.DataFrame(
        {
            "id": range(count),
            "a": a,
            "b": b,
            "y": 2 - a + 0.25 * b + draw.normal(size=count) / 10,
            "label": (draw.random(count) < chance).astype(float),
        }
    )


# What a test kills in the middle: `python parallel_steps.py <workspace> <marks>`.
if __name__ == "__main__":
    import sys

    import parallel_steps  # its functions by a name that workers can import

    from tidemill.core.workspace import open_workspace
    from tidemill.data import datasets
    from tidemill.data.partitions import partitions
    from tidemill.flow.engines import pool
    from tidemill.train.distributed import over_partitions

    ws = open_workspace(sys.argv[1])
    version = datasets.resolve(ws, "cells")
    over_partitions(
        ws,
        partitions(ws, version, 4),
        parallel_steps.slopes,
        parallel_steps.newton,
        engine=pool.open_engine("pool://2"),
        inputs=[("rows", version)],
        start=parallel_steps.START,
        rounds=20,
        stop=parallel_steps.settled,
        params={"marks": sys.argv[2], "act": "wait"},
    )
