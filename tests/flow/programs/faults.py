"""Steps that go wrong, or could make another one go wrong, for the tests."""

from __future__ import annotations

import functools
import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from pieces import note

import tidemill as tm

GLOBAL: list[int] = [1, 2]


def loudly(function: Any) -> Any:
    @functools.wraps(function)
    def around(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return around


@tm.step
def numbers() -> list[int]:
    note("numbers")
    return [3, 1, 2]


@tm.step
def spoil(xs: list[int]) -> int:
    note("spoil")
    xs.append(99)
    return len(xs)


@tm.step
def first_sorted(xs: list[int], after: int = 0) -> int:
    note(f"first_sorted {xs} {after}")
    xs.sort()
    return xs[0] + after


@tm.step
def array(n: int) -> Any:
    return np.zeros(n)


@tm.step
def spoil_array(xs: Any) -> float:
    xs += 1
    return float(xs.sum())


@tm.step
def table() -> pl.DataFrame:
    return pl.DataFrame({"a": [1, 2, 3]})


@tm.step
def spoil_table(rows: pl.DataFrame) -> int:
    rows[0, "a"] = 100
    rows.drop_in_place("a")
    return rows.width


@tm.step
def sum_of(rows: pl.DataFrame, after: int = 0) -> int:
    return int(rows["a"].sum()) + after


@tm.step(cache=False)
def kept_global() -> list[int]:
    return GLOBAL


@tm.step(cache=False)
def change_global(after: Any) -> int:
    GLOBAL.append(len(after))
    return len(GLOBAL)


@tm.step
def length_of(xs: list[int], after: int = 0) -> int:
    return len(xs) + after


@tm.pipeline
def spoiled() -> list[int]:
    xs = numbers()
    n = spoil(xs)
    mine = tm.value(xs)
    mine.append(7)
    return [n, first_sorted(xs, n), len(mine), len(tm.value(xs))]


@tm.pipeline
def spoiled_arrays() -> list[float]:
    xs = array(3)
    one = spoil_array(xs)
    two = spoil_array(xs)
    own = np.zeros(2)
    three = spoil_array(own)
    four = spoil_array(own)
    return [tm.value(each) for each in (one, two, three, four)] + [float(own.sum())]


@tm.pipeline
def spoiled_tables() -> list[int]:
    rows = table()
    return [spoil_table(rows), sum_of(rows, spoil_table(rows))]


@tm.pipeline
def spoiled_global() -> int:
    xs = kept_global()
    return length_of(xs, change_global(xs))


@tm.step
def slow(x: int) -> int:
    time.sleep(0.2)
    return x


@tm.step
def count(xs: list[int]) -> int:
    return len(xs)


@tm.pipeline
def appended() -> list[int]:
    """A list that the build function goes on with while the steps wait that got it."""
    gathered: list[int] = []
    made = []
    for x in range(3):
        gathered.append(slow(x))
        made.append(count(gathered))
    return made


@tm.step(retries=1, backoff="1ms")
def popping(xs: list[int]) -> int:
    got = len(xs)
    xs.pop()
    note(f"popping {got}")
    if got == 2 and Path(os.environ["NOTES"]).read_text().count("popping") == 1:
        raise OSError("once more")
    return got


@tm.pipeline
def popped() -> int:
    return popping([1, 2])


@tm.step
def lock(x: int) -> object:
    import threading

    note("lock")
    return threading.Lock() if x == 0 else itertools.count


@tm.step
def kind(thing: object) -> str:
    return type(thing).__name__


@tm.pipeline
def twice_unstored() -> list[str]:
    return [kind(lock(1)), kind(lock(1))]


@tm.step
def shown(x: Any) -> str:
    note(f"shown {x!r}")
    return repr(x)


@tm.pipeline
def alike() -> list[str]:
    like = [
        1,
        True,
        1.0,
        0.0,
        -0.0,
        math.nan,
        (1,),
        [1],
        "1",
        None,
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
        {1: 2},
        {"1": 2},
    ]
    return [shown(each) for each in like]


@tm.step
def same(x: Any) -> Any:
    return x


@tm.pipeline
def through() -> list[str]:
    """The same, as what steps gave."""
    like = [1, True, 1.0, 0.0, -0.0, math.nan, (1,), [1], {"a": 1, "b": 2}, {"b": 2, "a": 1}, {1: 2}, {"1": 2}]
    return [shown(same(each)) for each in like]


@tm.pipeline
def keyed_by_refs() -> list[str]:
    x = same(3)
    return [shown({1: x, x: [x]}), shown({x})]


@tm.step(env=("TIDEMILL_TEST_WORD",))
def speaking(x: int) -> str:
    note("speaking")
    return f"{x} {os.environ.get('TIDEMILL_TEST_WORD')}"


@tm.pipeline
def spoken(word: str | None = None) -> str:
    return speaking(1)


@tm.step
def leaving(x: int) -> int:
    sys.exit(f"leaving {x}")


@tm.pipeline
def left() -> int:
    return leaving(1)


@tm.pipeline
def left_itself() -> int:
    sys.exit("enough")


class Rude(Exception):
    def __str__(self) -> str:
        raise TypeError("no text")


class RudeValue:
    def __repr__(self) -> str:
        raise TypeError("no text")


@tm.step
def rude(kind: str) -> int:
    if kind == "text":
        raise Rude
    raise ValueError("nul \0 and half \ud800 of a pair")


@tm.pipeline
def rudely(kind: str) -> int:
    return rude(kind)


@tm.step
def takes(x: object) -> str:
    return type(x).__name__


@tm.pipeline
def given_rude() -> str:
    return takes(RudeValue())


class Point(NamedTuple):
    x: Any
    y: Any


def top(x: int) -> int:
    return x + 1


@tm.step
def called(f: Callable[[int], int], x: int) -> int:
    return f(x)


@tm.pipeline
def refused(what: str) -> Any:
    if what == "lambda":
        return called(lambda x: x, 1)
    if what == "generator":
        return count(x for x in [1])  # type: ignore[arg-type]
    if what == "itself":
        xs: list[Any] = []
        xs.append(xs)
        return count(xs)
    if what == "named tuple":
        return takes(Point(numbers(), 1))
    if what == "map of a lambda":
        return count.map(lambda x: x)  # type: ignore[arg-type]
    if what == "a generator returned":
        return yields()
    return called(top, 1)


@tm.step
def yields() -> Iterator[int]:
    return iter([1, 2])


def _plain(x: int) -> int:
    return x + 5


renamed = tm.step(name="another", retries=1)(_plain)


@loudly
@tm.step
def wrapped(x: int) -> int:
    return x + 6


@tm.step
def varied(x: int, /, *more: int, scale: int = 1, **rest: int) -> int:
    return (x + sum(more) + sum(rest.values())) * scale


@tm.pipeline
def called_in_many_ways() -> list[int]:
    return [renamed(1), wrapped(1), varied(1), varied(1, 2, 3, scale=2, other=4)]


class Unsendable:
    def __reduce__(self) -> Any:
        raise TypeError("not me")


@tm.step
def quiet(x: object, pause_s: float = 0.0) -> int:
    time.sleep(pause_s)
    return 1


@tm.pipeline
def unsendable(n: int = 80) -> list[int]:
    """More good calls than are in flight at once, then many that cannot be sent."""
    good = quiet.map(list(range(70)), pause_s=0.01)
    bad = [quiet(Unsendable(), 1.0 + place) for place in range(n)]
    return [*good, *bad]


@tm.step
def large(mb: int) -> Any:
    return np.ones(mb * 125_000)


@tm.step
def total_of(xs: Any) -> float:
    return float(xs.sum())


@tm.pipeline
def heavy(mb: int = 100) -> float:
    return total_of(large(mb))


@tm.step
def a_file(x: int) -> Path:
    path = Path(os.environ["NOTES"]).with_name(f"made{x}.txt")
    path.write_text(f"content {x}")
    return path


@tm.step
def text_of(path: Path) -> str:
    return path.read_text()


@tm.pipeline
def filed() -> str:
    return text_of(a_file(1))


@tm.step
def waiting(x: int, pause_s: float = 60.0) -> int:
    note(f"waiting {os.getpid()}")
    time.sleep(pause_s)
    return x


@tm.step
def printing(x: int) -> int:
    print("x" * 10)
    return x


@tm.pipeline
def waited(n: int = 2) -> int:
    """It returns at once; what is waited for is its end."""
    waiting.map(list(range(n)))
    return n


@tm.pipeline
def waits_while_others_write(n: int = 2000) -> int:
    """The build function waits for a long step while the database fails under the others."""
    long = waiting(1)
    printing.map(list(range(n)))
    return long + 1


@tm.pipeline
def forked() -> list[int]:
    """A short branch, and one that waits for the lease of a key that another holds."""
    return [printing(1), printing(2), count([slow(1), printing(3)])]


@tm.pipeline
def printed(n: int = 300) -> int:
    return count(printing.map(list(range(n))))
