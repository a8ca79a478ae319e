"""The table of cache-key cases: real files, and a real process for each version of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FILES = {
    "prog.py": '''
"""A program."""
import os
import functools
import dataclasses

import helpers
import helpers as h
import fakelib
from helpers import scale as z
from deep.inner import third
from pkg.part import piece

RATE = 2
WORDS = {"a": 1}
TABLE = {"plus": helpers.plus, "minus": helpers.minus}


@dataclasses.dataclass
class Base:
    x: int = 1

    def size(self) -> int:
        return self.x * 2


class Shape(Base):
    side = 4

    def area(self) -> int:
        return self.side + self.size()


SHAPE = Shape(3)


def made(by):
    def inner(x):
        return x * by
    return inner


triple = made(3)
add = functools.partial(helpers.plus, y=5)


def noted(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args) + 1
    return wrapper


@noted
def decorated(x: int) -> int:
    return x


@functools.lru_cache
def memo(x):
    return x + 7


def clean(x: int, floor: int = 1) -> int:
    """Cleans."""
    from late import later
    import late2
    y = z(x) + h.shift(x) + RATE + floor  # a remark
    y += TABLE["plus"](x, 1) + Shape(1).area() + SHAPE.area() + triple(x) + add(x) + decorated(x) + memo(x)
    y += third(x) + later(x) + late2.latest(x) + len(WORDS) + piece(x)
    y += sum(map(lambda each: each + 11, [x]))
    return y + fakelib.one()


def unrelated():
    return 1
''',
    "helpers.py": """
FACTOR = 10


def scale(x):
    return x * FACTOR + second(x)


def second(x):
    return x + 100


def shift(x):
    return x - 1


def plus(x, y):
    return x + y


def minus(x, y):
    return x - y
""",
    "late.py": "def later(x):\n    return x + 21\n",
    "late2.py": "def latest(x):\n    return x + 22\n",
    "deep/__init__.py": "",
    "deep/inner.py": "from . import other\n\n\ndef third(x):\n    return other.fourth(x)\n",
    "deep/other.py": "DEEP = 5\n\n\ndef fourth(x):\n    return x + DEEP\n",
    "pkg/__init__.py": "",
    "pkg/part.py": "def piece(x):\n    from .more import extra\n    return extra(x)\n",
    "pkg/more.py": "def extra(x):\n    return x + 31\n",
    "site-packages/fakelib/__init__.py": "def one():\n    return 1\n",
    "site-packages/fakelib-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: fakelib\nVersion: 1.0\n",
    "site-packages/fakelib-1.0.dist-info/RECORD": "fakelib/__init__.py,,\nfakelib-1.0.dist-info/METADATA,,\n",
    "words.txt": "ein\n",
    "rows.csv": "a,b\n1,2\n",
}
ASK = """
import json, sys, pathlib
sys.path[:0] = ["", "site-packages"]
import prog
from tidemill.core.ids import digest
from tidemill.flow.caching.keys import step_key
found = step_key(prog.clean, inputs={"rows": digest(pathlib.Path("rows.csv").read_bytes())}, params={"floor": FLOOR},
    env=("LANGUAGE",), extras={"words.txt": pathlib.Path("words.txt")})
print(json.dumps([found.key, dict(found.parts), found.reason]))
"""


class Answer(NamedTuple):
    """What a process said."""

    key: str | None
    parts: dict[str, str]
    reason: str | None


def ask(folder: Path, edits: list[tuple[str, str, str]] = (), *, floor: str = "1", env: dict[str, str] | None = None):
    """The key in a fresh process over the files, edited."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name, old, new in edits:
        text = (folder / name).read_text()
        assert old in text, f"{old!r} is not in {name}"
        (folder / name).write_text(text.replace(old, new))
    return again(folder, floor=floor, env=env)


def again(folder: Path, *, floor: str = "1", env: dict[str, str] | None = None) -> Answer:
    """The key in a fresh process over the files as they are."""
    ran = subprocess.run(
        [sys.executable, "-c", ASK.replace("FLOOR", floor)],
        cwd=folder,
        env={**os.environ, "LANGUAGE": "de", "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return Answer(*json.loads(ran.stdout))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    found = ask(tmp_path_factory.mktemp("base"))
    assert found.reason is None
    return found


CHANGED: dict[str, tuple[list[tuple[str, str, str]], str]] = {
    "the step": ([("prog.py", "y + fakelib", "y - fakelib")], "code clean"),
    "a global": ([("prog.py", "RATE = 2", "RATE = 3")], "global prog.RATE"),
    "a global's type": ([("prog.py", "RATE = 2", "RATE = 2.0")], "global prog.RATE"),
    "a container": ([("prog.py", '{"a": 1}', '{"a": 2}')], "global prog.WORDS"),
    "a helper": ([("helpers.py", "return x - 1", "return x - 2")], "helper helpers.shift"),
    "a helper under another name": ([("helpers.py", "* FACTOR + second", "* FACTOR - second")], "helper helpers.scale"),
    "a helper's helper": ([("helpers.py", "x + 100", "x + 101")], "helper helpers.second"),
    "a helper's global": ([("helpers.py", "FACTOR = 10", "FACTOR = 11")], "global helpers.FACTOR"),
    "another helper for the name": ([("prog.py", "import scale as z", "import shift as z")], "code clean"),
    "a function in a dict": ([("helpers.py", "return x + y", "return y + x + 0")], "helper helpers.plus"),
    "a dict of swapped functions": (
        [("prog.py", '"plus": helpers.plus, "minus": helpers.minus', '"plus": helpers.minus, "minus": helpers.plus')],
        "global prog.TABLE",
    ),
    "a class's attribute": ([("prog.py", "side = 4", "side = 5")], "class prog.Shape"),
    "a method": ([("prog.py", "self.side + self", "self.side - self")], "helper prog.Shape.area"),
    "a method of a base class": ([("prog.py", "self.x * 2", "self.x * 3")], "helper prog.Base.size"),
    "a field's default": ([("prog.py", "x: int = 1\n\n    def size", "x: int = 2\n\n    def size")], "class prog.Base"),
    "an instance": ([("prog.py", "SHAPE = Shape(3)", "SHAPE = Shape(4)")], "global prog.SHAPE"),
    "a base class": (
        [("prog.py", "class Shape(Base):", "class Other(Base):\n    z = 1\n\n\nclass Shape(Other):")],
        "class",
    ),
    "a default argument": ([("prog.py", "floor: int = 1", "floor: int = 2")], "code clean"),
    "a closure's value": ([("prog.py", "triple = made(3)", "triple = made(4)")], "global prog.made.<locals>.inner.by"),
    "a closure's code": ([("prog.py", "return x * by", "return x + by")], "helper prog.made.<locals>.inner"),
    "a partial's argument": ([("prog.py", "y=5", "y=6")], "global prog.add"),
    "a decorator": ([("prog.py", "function(*args) + 1", "function(*args) + 2")], "helper prog.decorated"),
    "a decorated function": (
        [("prog.py", "-> int:\n    return x\n", "-> int:\n    return x + 4\n")],
        "helper prog.decorated",
    ),
    "what a memo wraps": ([("prog.py", "return x + 7", "return x + 8")], "helper prog.memo"),
    "a lambda": ([("prog.py", "each + 11", "each + 12")], "code clean"),
    "an import inside the function": ([("late.py", "21", "23")], "helper late.later"),
    "a module imported inside the function": ([("late2.py", "22", "24")], "helper late2.latest"),
    "a relative import's module": ([("deep/other.py", "DEEP = 5", "DEEP = 6")], "global deep.other.DEEP"),
    "a relative import inside a function": ([("pkg/more.py", "31", "32")], "helper pkg.more.extra"),
    "the input's content": ([("rows.csv", "1,2", "1,3")], "input rows"),
    "the input's column order": ([("rows.csv", "a,b\n1,2", "b,a\n2,1")], "input rows"),
    "a declared file": ([("words.txt", "ein", "zwei")], "extra words.txt"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_may_change_the_result_changes_the_key_and_says_which(base: Answer, tmp_path: Path, case: str) -> None:
    edits, part = CHANGED[case]
    found = ask(tmp_path, edits)
    assert found.reason is None
    assert found.key != base.key
    names = {*found.parts, *base.parts}
    differ = {name for name in names if found.parts.get(name) != base.parts.get(name)}
    assert any(name.startswith(part) for name in differ), differ


SAME: dict[str, list[tuple[str, str, str]]] = {
    "nothing": [],
    "a comment": [("prog.py", "# a remark", "# another\n    # and more")],
    "formatting": [("prog.py", "z(x) + h.shift(x) + RATE", "(z( x ) + h.shift(x)\n        + RATE)")],
    "a docstring": [("prog.py", '"""Cleans."""', '"""Cleans rows."""')],
    "no docstring": [("prog.py", '    """Cleans."""\n', "")],
    "a module's docstring": [("prog.py", '"""A program."""', '"""Another."""')],
    "line numbers": [("prog.py", "RATE = 2", "\n\n\n\nRATE = 2"), ("helpers.py", "FACTOR = 10", "\n\nFACTOR = 10")],
    "an annotation": [("prog.py", "def clean(x: int, floor: int = 1) -> int:", "def clean(x, floor: float = 1):")],
    "an annotated local": [("prog.py", "    y = z(x)", "    y: int = z(x)")],
    "a field's annotation": [("prog.py", "x: int = 1\n\n    def size", "x: float = 1\n\n    def size")],
    "what is not reached": [("prog.py", "    return 1\n", "    return 2\n")],
    "a helper that is not reached": [("helpers.py", "def minus", "def other():\n    return 4\n\n\ndef minus")],
    "another global": [("prog.py", "RATE = 2", "RATE = 2\nUNUSED = 9")],
    "quotes": [("prog.py", 'TABLE["plus"]', "TABLE['plus']")],
}


@pytest.mark.parametrize("case", SAME)
def test_what_cannot_change_the_result_does_not_change_the_key(base: Answer, tmp_path: Path, case: str) -> None:
    found = ask(tmp_path, SAME[case])
    differ = {name for name in found.parts if found.parts.get(name) != base.parts.get(name)}
    assert (found.key, differ) == (base.key, set())


def test_a_parameter_changes_the_key(base: Answer, tmp_path: Path) -> None:
    keys = {ask(tmp_path, floor=each).key for each in ("2", "1.0", "True", "'1'", "None", "[1]", "(1,)")}
    assert len(keys | {base.key}) == 8


def test_a_declared_environment_variable_changes_the_key(base: Answer, tmp_path: Path) -> None:
    assert ask(tmp_path, env={"LANGUAGE": "en"}).key != base.key
    assert ask(tmp_path, env={"OTHER": "en"}).key == base.key


def test_a_package_version_changes_the_key(base: Answer, tmp_path: Path) -> None:
    ask(tmp_path)
    (tmp_path / "site-packages/fakelib-1.0.dist-info").rename(tmp_path / "site-packages/fakelib-1.1.dist-info")
    found = again(tmp_path)
    assert found.key != base.key
    assert (base.parts["package fakelib"], found.parts["package fakelib"]) == ("1.0", "1.1")


def test_the_version_of_another_package_does_not(base: Answer, tmp_path: Path) -> None:
    ask(tmp_path)
    other = tmp_path / "site-packages/otherlib-1.0.dist-info"
    other.mkdir()
    (other / "RECORD").write_text("otherlib/__init__.py,,\n")
    assert again(tmp_path).key == base.key


UNKEYABLE: dict[str, tuple[str, str]] = {
    "a name known at run time": ("getattr(helpers, WORDS)(x)", "calls getattr with a name"),
    "globals": ("globals()['unrelated']()", "looks names up in globals()"),
    "eval": ("eval('RATE')", "calls eval"),
    "exec under another name": ("run('RATE = 3')", "calls exec"),
    "a module known at run time": ("__import__('importlib').import_module(WORDS)", "imports a module"),
    "importlib": ("importlib.import_module(WORDS).f()", "imports a module whose name is known only at run time"),
    "sys.modules": ("sys.modules['helpers'].shift(x)", "looks modules up in sys.modules"),
    "an open file": ("FILE.read()", "is a _io.TextIOWrapper"),
    "a lock": ("LOCK.acquire()", "which has no content to go by"),
    "a generator": ("next(GENERATOR)", "is a generator"),
    "an instance that holds a lock": ("HOLDER.lock", "which has no content to go by"),
    "a global that it changes": ("WORDS.update(b=x)", "changes prog.WORDS"),
    "an item of a global that it sets": ("WORDS.__setitem__('b', x)", "changes prog.WORDS"),
    "a global that it binds anew": ("count()", "changes the global COUNT"),
    "an attribute of a module that it sets": ("set_it()", "changes prog.helpers.FACTOR"),
    "subclasses": ("Base.__subclasses__()[0]().area()", "looks for subclasses"),
    "unpickling": ("pickle.loads(b'')", "unpickles"),
    "a frame": ("sys._getframe().f_back", "looks at"),
    "environment by a name known at run time": ("undeclared(x)", "declare"),
}
EXTRA = """
import importlib, pickle, sys, threading
run = exec
FILE = open(__file__)
LOCK = threading.Lock()
GENERATOR = (each for each in range(3))
COUNT = 0


class Holder:
    def __init__(self):
        self.lock = threading.Lock()


HOLDER = Holder()


def count():
    global COUNT
    COUNT += 1


def set_it():
    helpers.FACTOR = 3


def undeclared(x):
    return os.environ[str(x)]


RATE = 2
"""


@pytest.mark.parametrize("case", UNKEYABLE)
def test_what_cannot_be_followed_has_no_key_but_a_reason(tmp_path: Path, case: str) -> None:
    code, reason = UNKEYABLE[case]
    edits = [("prog.py", "RATE = 2\n", EXTRA), ("prog.py", "y + fakelib", f"({code}) + fakelib")]
    if case.startswith("environment"):
        (tmp_path / "ask").mkdir()
        found = without_env(tmp_path / "ask", edits)
    else:
        found = ask(tmp_path, edits)
    assert found.key is None
    assert found.reason is not None
    assert reason in found.reason
    assert "prog.py:" in found.reason


def without_env(folder: Path, edits: Any) -> Answer:
    """As `ask`, with no variable declared."""
    global ASK
    whole = ASK
    ASK = ASK.replace('env=("LANGUAGE",), ', "")
    try:
        return ask(folder, edits)
    finally:
        ASK = whole


def test_the_same_names_with_extra_globals_still_have_a_key(tmp_path: Path) -> None:
    assert ask(tmp_path, [("prog.py", "RATE = 2\n", EXTRA)]).reason is None


def test_an_environment_variable_read_by_its_name_counts_undeclared(tmp_path: Path) -> None:
    edits = [("prog.py", "y + fakelib", "len(os.environ['SIZE']) + len(os.getenv('MORE', '')) + fakelib")]
    found = [ask(tmp_path, edits, env={"SIZE": size, "MORE": more}) for size, more in ("ab", "ac", "bb", "ab")]
    assert len({each.key for each in found}) == 3
    assert found[0].key == found[3].key
    assert "environment SIZE" in found[0].parts


def test_a_file_changed_after_its_import_does_not_speak_for_the_code_that_runs(tmp_path: Path) -> None:
    ask(tmp_path)
    code = ASK.replace("FLOOR", "1").replace(
        "found =",
        "path = pathlib.Path('helpers.py'); path.write_text(path.read_text().replace('x - 1', 'x - 2'))\nfound =",
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    stale = Answer(*json.loads(ran.stdout))
    assert again(tmp_path).parts["helper helpers.shift"] != stale.parts["helper helpers.shift"]
