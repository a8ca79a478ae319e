"""Pipelines through which a person goes: as argument, value in each form, printed line, error, question."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import tidemill as tm


def note(step: str) -> None:
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(f"{step}\n")


@tm.step
def small(name: str) -> dict[str, str]:
    note("small")
    print(f"looking for {name}")
    return {"name": name}


@tm.step
def long_text(name: str) -> str:
    note("long_text")
    return f"{name} said something. " * 1000


@tm.step
def long_list(name: str) -> list[str]:
    note("long_list")
    return [f"line {place} of {name}" for place in range(2000)]


@tm.step
def table(name: str) -> pl.DataFrame:
    note("table")
    return pl.DataFrame({"who": [name, "nobody"], "n": [1, 2], "deep": [[name], []]})


@tm.step
def array(name: str) -> object:
    note("array")
    return np.array([name, "nobody"])


@tm.step
def parts(name: str) -> dict[str, object]:
    note("parts")
    return {"name": name, "numbers": np.arange(5), "rows": pl.DataFrame({"who": [name]})}


@tm.step
def file(name: str) -> Path:
    note("file")
    place = Path(tempfile.mkdtemp(dir=os.environ["SCRATCH"])) / "who.txt"
    place.write_text(f"all of {name}")
    return place


@tm.step
def nobody(n: int) -> list[int]:
    note("nobody")
    return list(range(n))


@tm.step
def fails(name: str) -> str:
    raise ValueError(f"{name} is not known here")


@tm.pipeline
def personal(name: str) -> int:
    small(name)
    long_text(name)
    long_list(name)
    table(name)
    array(name)
    parts(name)
    file(name)
    return len(nobody(2000))


@tm.pipeline
def failing(name: str) -> str:
    return fails(name)


@tm.pipeline
def asking(name: str) -> str:
    tm.approve(f"write to {name}?")
    return name
