"""A branch for each element."""

import tidemill as tm


@tm.step
def numbers() -> list[int]:
    return [1, 2, 3]


@tm.step
def is_odd(n: int) -> bool:
    return n % 2 == 1


@tm.step
def negative(n: int) -> int:
    return -n


@tm.pipeline
def one(n: int) -> int:
    return tm.when(is_odd(n), lambda: negative(n), lambda: n)


@tm.pipeline(name="branch-in-map")
def flow() -> list[int]:
    return one.map(numbers())
