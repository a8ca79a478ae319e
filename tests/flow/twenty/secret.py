"""A secret by name, read where the step runs."""

import tidemill as tm


@tm.step
def length(token: str, times: int) -> int:
    return len(token) * times


@tm.pipeline(name="secret")
def flow() -> int:
    return length(tm.secret("TOKEN"), 2)
