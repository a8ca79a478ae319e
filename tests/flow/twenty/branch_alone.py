"""A branch without another side, and two of the same flag."""

import tidemill as tm


@tm.step
def no(n: int) -> bool:
    return n < 0


@tm.step
def warn(n: int) -> str:
    return f"{n} is too small"


@tm.step
def report(one: str | None, other: list[int]) -> list[object]:
    return [one, other]


@tm.pipeline(name="branch-alone")
def flow(n: int = 1) -> list[object]:
    flag = no(n)
    told = tm.when(flag, lambda: warn(n))
    return report(told, tm.when(flag, lambda: [0], lambda: [n, 2]))
