"""Many into one, through a list, a dict and by name."""

import tidemill as tm


@tm.step
def one(n: int) -> int:
    return n


@tm.step
def gathered(listed: list[int], named: dict[str, object], last: int) -> list[object]:
    return [sum(listed), named, last]


@tm.pipeline(name="fan-in")
def flow() -> list[object]:
    a, b = one(1), one(2)
    return gathered([a, b, 3], {"a": a, "more": [b, (a, 4)]}, last=b)
