"""A map over a list that stands in the program, and a loop of Python's own."""

import tidemill as tm


@tm.step
def square(n: int) -> int:
    return n * n


@tm.step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@tm.pipeline(name="written-list")
def flow() -> int:
    return total([*square.map([1, 2]), *[square(n) for n in (3, 4)]])
