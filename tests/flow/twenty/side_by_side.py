"""Two lists gone through side by side, and a map over a map."""

import tidemill as tm


@tm.step
def numbers(n: int) -> list[int]:
    return list(range(n))


@tm.step
def joined(a: int, b: str) -> str:
    return f"{a}{b}"


@tm.step
def twice(text: str) -> str:
    return text * 2


@tm.pipeline(name="side-by-side")
def flow() -> list[str]:
    return twice.map(joined.map(numbers(2), ["x", "y"]))
