"""A branch for each element, and in it a map."""

import tidemill as tm


@tm.step
def numbers() -> list[int]:
    return [1, 2, 3]


@tm.step
def is_odd(n: int) -> bool:
    return n % 2 == 1


@tm.step
def up_to(n: int) -> list[int]:
    return list(range(1, n + 1))


@tm.step
def negative(n: int) -> int:
    return -n


@tm.step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@tm.pipeline
def one(n: int) -> int:
    return tm.when(is_odd(n), lambda: total(negative.map(up_to(n))), lambda: n)


@tm.pipeline(name="branch-in-map")
def flow() -> list[int]:
    return one.map(numbers())
