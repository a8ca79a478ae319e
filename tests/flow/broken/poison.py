"""A step that fails while another goes on."""

import tidemill as tm


@tm.step
def fine() -> int:
    return 1


@tm.step(retries=1, backoff="100ms", cache=False)
def poisoned(n: int) -> int:
    raise ValueError(f"{n} is poison")


@tm.step
def both(one: int, other: int) -> int:
    return one + other


@tm.pipeline(name="poison")
def flow(n: int = 3) -> int:
    return both(fine(), poisoned(n))
