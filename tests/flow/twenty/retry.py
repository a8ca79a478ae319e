"""A step that fails once. It counts its tries in a file."""

import os
from pathlib import Path

import tidemill as tm


@tm.step(retries=2, backoff="100ms", cache=False)
def flaky(n: int) -> int:
    with Path(os.environ["TRIES"]).open("a") as tries:
        tries.write("x")
    if len(Path(os.environ["TRIES"]).read_text()) < 2:
        raise ValueError("not yet")
    return n + 1


@tm.pipeline(name="retry")
def flow(n: int = 1) -> int:
    return flaky(n)
