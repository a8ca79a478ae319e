"""A branch in a branch."""

import tidemill as tm


@tm.step
def above(n: int, limit: int) -> bool:
    return n > limit


@tm.step
def called(name: str, n: int) -> str:
    return f"{name} {n}"


@tm.pipeline(name="nested-branch")
def flow(n: int = 50) -> str | None:
    def upper() -> str | None:
        return tm.when(above(n, 100), lambda: called("huge", n), lambda: called("large", n))

    return tm.when(above(n, 10), upper, lambda: called("small", n))
