"""One step after another."""

import tidemill as tm


@tm.step
def first(n: int) -> int:
    return n + 1


@tm.step
def second(n: int) -> int:
    return n * 10


@tm.pipeline(name="chain")
def flow(n: int = 4) -> int:
    return second(second(first(n)))
