"""A mapped step in a branch, and fan-in of it there."""

import tidemill as tm


@tm.step
def yes() -> bool:
    return True


@tm.step
def numbers() -> list[int]:
    return [3, 4]


@tm.step
def square(n: int) -> int:
    return n * n


@tm.step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@tm.pipeline(name="map-in-branch")
def flow() -> int:
    return tm.when(yes(), lambda: total(square.map(numbers())), lambda: total([1]))
