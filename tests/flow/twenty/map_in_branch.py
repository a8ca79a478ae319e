"""A mapped step on either side of a branch, and fan-in of it there."""

import tidemill as tm


@tm.step
def is_many(n: int) -> bool:
    return n > 2


@tm.step
def numbers(n: int) -> list[int]:
    return list(range(n))


@tm.step
def square(n: int) -> int:
    return n * n


@tm.step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@tm.pipeline(name="map-in-branch")
def flow(n: int = 2) -> int:
    return tm.when(
        is_many(n),
        lambda: total(square.map(numbers(2))),
        lambda: total(square.map(numbers(n))),
    )
