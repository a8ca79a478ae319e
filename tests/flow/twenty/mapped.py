"""A step for each element of a list that another step makes."""

import tidemill as tm


@tm.step
def numbers(n: int) -> list[int]:
    return list(range(n))


@tm.step
def square(n: int, plus: int) -> int:
    return n * n + plus


@tm.pipeline(name="mapped")
def flow(n: int = 3) -> list[int]:
    return square.map(numbers(n), plus=1)
