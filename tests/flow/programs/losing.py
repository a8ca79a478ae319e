"""A pipeline whose steps note in MARKS who runs them; the first try of some ends in the middle."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import tidemill as tm


@tm.step
def numbers(n: int) -> list[int]:
    return list(range(n))


@tm.step(retries=3)
def slow(x: int, marks: str, act: str) -> int:
    mark = Path(marks) / f"{x}"
    first = not mark.exists()
    Path(f"{mark}.new").write_text(str(os.getpid()))
    Path(f"{mark}.new").rename(mark)
    if first and x == 2 and act == "die":
        os.kill(os.getppid(), signal.SIGKILL)  # the Ray worker that it runs for
    if first and act == "linger":
        time.sleep(3)
    return x * x


@tm.step
def total(xs: list[int]) -> int:
    return sum(xs)


@tm.pipeline
def squares(n: int, marks: str, act: str = "") -> int:
    return total(slow.map(numbers(n), marks=marks, act=act))
