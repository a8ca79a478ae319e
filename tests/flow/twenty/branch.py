"""One of two branches, and what it gave used afterwards."""

import tidemill as tm


@tm.step
def is_large(n: int) -> bool:
    return n > 10


@tm.step
def shrink(n: int) -> int:
    return n // 10


@tm.step
def grow(n: int) -> int:
    return n * 10


@tm.step
def label(n: int) -> str:
    return f"now {n}"


@tm.pipeline(name="branch")
def flow(n: int = 7) -> str:
    return label(tm.when(is_large(n), lambda: shrink(n), lambda: grow(n)))
