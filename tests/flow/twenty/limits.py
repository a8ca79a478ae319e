"""What a step needs, and how long it may take."""

import tidemill as tm


@tm.step(timeout="2m", cpu=0.5, memory="200MB")
def work(n: int) -> float:
    return n / 4


@tm.pipeline(name="limits", schedule="30 2 * * *")
def flow(n: int = 3) -> float:
    return work(n)
