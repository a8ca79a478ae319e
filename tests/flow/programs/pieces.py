"""Steps and pipelines as a user writes them, for the tests: each step notes that it ran in the file NOTES names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import tidemill as tm


def note(text: str) -> None:
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(f"{text}\n")


@tm.step
def start(n: int) -> int:
    note(f"start {n}")
    return n


@tm.step
def plus(x: int, y: int = 1) -> int:
    note(f"plus {x} {y}")
    return x + y


@tm.step
def tens(x: int) -> int:
    note(f"tens {x}")
    return x // 10


@tm.step
def split(n: int) -> list[int]:
    note(f"split {n}")
    return list(range(n))


@tm.step
def total(xs: list[int]) -> int:
    note(f"total {len(xs)}")
    return sum(xs)


@tm.step
def pair(x: int) -> tuple[int, str]:
    note(f"pair {x}")
    return x, "a" * x


@tm.step
def size(text: str) -> int:
    note(f"size {text}")
    return len(text)


@tm.step
def poison(x: int) -> int:
    print("about to fail", x)
    raise ValueError(f"no good: {x}")


@tm.step(retries=3, backoff="1ms")
def moody(x: int) -> int:
    note("moody")
    if Path(os.environ["NOTES"]).read_text().count("moody") < 3:
        raise OSError("not yet")
    return x


@tm.step(timeout="3s")
def stuck(x: int) -> int:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    note(f"child {child.pid}")
    time.sleep(60)
    return x


@tm.step(cache=False)
def always(x: int) -> int:
    note(f"always {x}")
    return x


@tm.step
def lock() -> object:
    import threading

    return threading.Lock()


@tm.step
def kind(thing: object) -> str:
    note("kind")
    return type(thing).__name__


@tm.step
def length(word: str) -> int:
    note("length")
    return len(word)


@tm.step(cache=False)
def slowly(x: int, pause_s: float = 30.0) -> int:
    note(f"slowly {x} {os.getpid()}")
    time.sleep(pause_s)
    return x


@tm.step
def long(x: int) -> int:
    note(f"long {x}")
    time.sleep(0.5)
    return x


@tm.pipeline
def chain(n: int = 3) -> int:
    x = start(0)
    for _ in range(n):
        x = plus(x)
    return x


@tm.pipeline
def fan(n: int = 4) -> int:
    return total(plus.map(split(n), y=10))


@tm.pipeline
def wide(n: int = 500) -> int:
    return total(plus.map(split(n)))


@tm.pipeline
def branch(n: int = 1) -> int:
    x = start(n)
    if x > 5:
        return plus(x, 100)
    a, text = pair(x)
    return total([a, size(text), tm.when(plus(a), lambda: plus(a, 7), lambda: plus(a, 9))])


@tm.pipeline
def inner(x: int) -> int:
    return total(plus.map(split(x)))


@tm.pipeline
def outer(n: int = 3) -> int:
    return total([inner(n), tm.sub(inner, 2), *inner.map(split(n))])


@tm.pipeline
def cascade(x: int) -> int:
    return plus(tens(x))


@tm.pipeline
def poisoned(x: int = 1) -> list[int]:
    first = start(x)
    bad = poison(first)
    return [plus(bad), plus(first, 5)]


@tm.pipeline
def caught(x: int = 1) -> int:
    bad = poison(start(x))
    try:
        return int(bad)
    except ValueError:
        return plus(x)


@tm.pipeline
def retried(x: int = 1) -> int:
    return moody(x)


@tm.pipeline
def late(x: int = 1) -> int:
    return stuck(x)


@tm.pipeline
def repeated(x: int = 1) -> int:
    return plus(always(x), plus(x))


@tm.pipeline
def unstored() -> str:
    return kind(lock())


@tm.pipeline
def secretive() -> int:
    return length(tm.secret("word"))


@tm.pipeline
def asking(x: int = 1) -> int:
    before = plus(x)
    if tm.approve("promote?", timeout="3d"):
        return plus(before, 10)
    return before


@tm.pipeline
def hurried(x: int = 1) -> bool:
    return tm.approve("now?", timeout="1ms")


@tm.pipeline
def sleepy(n: int = 2, pause_s: float = 30.0) -> int:
    return total(slowly.map(list(range(n)), pause_s=pause_s))


@tm.pipeline
def shared(x: int = 1) -> int:
    return long(x)


@tm.pipeline
def work(n: int = 6) -> int:
    """Some of all, for being killed in the middle of it."""
    x = always(0)
    parts = plus.map(split(n), y=3)
    for _ in range(n):
        x = plus(x, 2)
    return total([x, *long.map(parts), total(parts)])


@tm.pipeline
def outer_planned(n: int = 3) -> int:
    return total([total(inner.map(split(n))), tm.sub(inner, 2)])


@tm.pipeline
def branch_planned(n: int = 3) -> int | None:
    return tm.when(plus(n), lambda: plus(n, 7), lambda: plus(n, 9))
