"""A key follows what changes while the process runs, and is made anew only then."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tidemill.flow.caching import keys

PROGRAM = """
import os
import numpy as np

RATE = 2
LIST = [1, [2]]
ARRAY = np.zeros(3)
TABLE = {}


class Model:
    bias = 1

    def __init__(self, k): self.k = k
    def score(self, x): return x * self.k + self.bias


MODEL = Model(3)


def helper(x): return x
def other(x): return x + 1


def clean(x, more=[1]):
    return helper(x) + RATE + len(LIST) + ARRAY.sum() + len(TABLE) + MODEL.score(x) + len(os.environ.get("LIVE", ""))


def maker():
    held = [1]
    def step(x): return len(held)
    return step, held
"""


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "live.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module("live")
    sys.modules.pop("live", None)


def key(function: Callable[..., object]) -> str | None:
    return keys.step_key(function, inputs={}, params={}).key


CHANGES: dict[str, Callable[[ModuleType], object]] = {
    "a global bound anew": lambda m: setattr(m, "RATE", 3),
    "a list grown": lambda m: m.LIST.append(3),
    "a list inside a list grown": lambda m: m.LIST[1].append(3),
    "an array written": lambda m: m.ARRAY.__setitem__(0, 5.0),
    "a dict filled": lambda m: m.TABLE.update(a=1),
    "a function put into a dict": lambda m: m.TABLE.update(a=m.other),
    "an instance's attribute": lambda m: setattr(m.MODEL, "k", 4),
    "a class's attribute": lambda m: setattr(m.Model, "bias", 2),
    "a method replaced": lambda m: setattr(m.Model, "score", lambda self, x: x),
    "a method added": lambda m: setattr(m.Model, "__len__", lambda self: 1),
    "a helper replaced": lambda m: setattr(m, "helper", m.other),
    "a helper's code replaced": lambda m: setattr(m.helper, "__code__", m.other.__code__),
    "a default replaced": lambda m: setattr(m.clean, "__defaults__", ([2],)),
    "a default grown": lambda m: m.clean.__defaults__[0].append(2),
    "a variable set": lambda m: os.environ.__setitem__("LIVE", "yes"),
    "the array's type": lambda m: setattr(m, "ARRAY", np.zeros(3, dtype=np.float32)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_at_run_time_changes_the_key(live: ModuleType, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.delenv("LIVE", raising=False)
    before = key(live.clean)
    assert before is not None
    assert key(live.clean) == before
    CHANGES[change](live)
    after = key(live.clean)
    assert after is not None
    assert after != before


def test_a_change_taken_back_gives_the_first_key(live: ModuleType) -> None:
    before = key(live.clean)
    live.LIST.append(3)
    assert key(live.clean) != before
    live.LIST.pop()
    assert key(live.clean) == before


def test_what_a_closure_holds_counts(live: ModuleType) -> None:
    step, held = live.maker()
    before = key(step)
    held.append(2)
    assert key(step) != before


def test_two_closures_of_one_def_have_keys_of_their_own(live: ModuleType) -> None:
    (one, held), (two, _) = live.maker(), live.maker()
    assert key(one) == key(two)
    held.append(2)
    assert key(one) != key(two)


def test_nothing_is_walked_again_while_nothing_changed(live: ModuleType) -> None:
    assert keys.reached(live.clean) is keys.reached(live.clean)
    first = keys.reached(live.clean)
    live.TABLE["a"] = 1
    assert keys.reached(live.clean) is not first


def test_a_partial_and_a_method_have_keys(live: ModuleType) -> None:
    assert key(functools.partial(live.other, x=1)) != key(functools.partial(live.other, x=2))
    assert key(live.MODEL.score) != key(live.Model(5).score)


def test_code_given_as_a_parameter_is_refused(live: ModuleType) -> None:
    found = keys.step_key(live.other, inputs={}, params={"f": live.helper})
    assert found.key is None
    assert "give code to a step by importing it there" in str(found.reason)


def test_a_missing_declared_file_is_a_reason(live: ModuleType, tmp_path: Path) -> None:
    found = keys.step_key(live.other, inputs={}, params={}, extras={"words.txt": tmp_path / "none.txt"})
    assert found.key is None
    assert "extra words.txt: No such file or directory" in str(found.reason)


def test_a_declared_file_changed_at_once_with_the_same_size_is_seen(live: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    found = []
    for text in ("a", "b", "c", "a"):
        path.write_text(text)
        found.append(keys.step_key(live.other, inputs={}, params={}, extras={"words.txt": path}).key)
    assert len(set(found)) == 3
    assert found[0] == found[3]


def test_a_declared_folder_counts_with_all_in_it(live: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = keys.step_key(live.other, inputs={}, params={}, extras={"words": folder}).key
    (folder / "b").write_text("")
    assert keys.step_key(live.other, inputs={}, params={}, extras={"words": folder}).key != before
