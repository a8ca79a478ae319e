"""A step that returns a tuple, of which others take parts."""

import tidemill as tm


@tm.step
def split(n: int) -> tuple[int, list[int]]:
    return n // 2, [n % 2, n]


@tm.step
def joined(half: int, rest: list[int]) -> int:
    return half * 100 + sum(rest)


@tm.step
def less(n: int) -> int:
    return n - 1


@tm.pipeline(name="unpacked")
def flow(n: int = 9) -> list[int]:
    half, rest = split(n)
    return [joined(half, rest), *less.map([half, 20])]
