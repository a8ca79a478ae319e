"""A pipeline in a pipeline, twice, and the same step twice."""

import tidemill as tm


@tm.step
def add(n: int, more: int) -> int:
    return n + more


@tm.pipeline
def twice(n: int) -> int:
    return add(add(n, 1), 1)


@tm.pipeline(name="inside")
def flow(n: int = 1) -> int:
    return tm.sub(twice, tm.sub(twice, n))
