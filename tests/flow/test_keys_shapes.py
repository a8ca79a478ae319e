"""Shapes of programs through which a step reaches code: a change of `one` to `two` in it changes the key."""

from __future__ import annotations

# ruff: noqa: E501  each program is one line or two
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SHAPES = {
    "a property": "class C:\n    @property\n    def p(self): return 'one'\ndef clean(x): return C().p",
    "a class method": "class C:\n    @classmethod\n    def p(cls): return 'one'\ndef clean(x): return C.p()",
    "a static method": "class C:\n    @staticmethod\n    def p(): return 'one'\ndef clean(x): return C.p()",
    "a cached property": "import functools\nclass C:\n    @functools.cached_property\n    def p(self): return 'one'\n"
    "def clean(x): return C().p",
    "a method named by super": "class A:\n    def p(self): return 'one'\nclass C(A):\n    def p(self): return super().p()\n"
    "def clean(x): return C().p()",
    "a hash": "class C:\n    def __hash__(self): return len('one' * 3)\ndef clean(x): return hash(C())",
    "a metaclass": "class M(type):\n    def p(cls): return 'one'\nclass C(metaclass=M): pass\ndef clean(x): return C.p()",
    "a registry filled by subclasses": "ALL = {}\nclass A:\n    def __init_subclass__(cls): ALL[cls.__name__] = cls\n"
    "class C(A):\n    def p(self): return 'one'\ndef clean(x): return [each().p() for each in ALL.values()]",
    "an enum's value": "import enum\nclass E(enum.Enum):\n    A = 'one'\ndef clean(x): return E.A.value",
    "an enum's method": "import enum\nclass E(enum.Enum):\n    A = 1\n    def p(self): return 'one'\n"
    "def clean(x): return E.A.p()",
    "a named tuple's default": "import typing\nclass N(typing.NamedTuple):\n    a: str = 'one'\n"
    "def clean(x): return N()",
    "a field's factory": "import dataclasses\ndef f(): return 'one'\n@dataclasses.dataclass\nclass D:\n"
    "    a: str = dataclasses.field(default_factory=f)\ndef clean(x): return D()",
    "a field's metadata": "import dataclasses\n@dataclasses.dataclass\nclass D:\n"
    "    a: str = dataclasses.field(default='', metadata={'m': 'one'})\ndef clean(x): return dataclasses.fields(D)",
    "a field's order": "import dataclasses\n@dataclasses.dataclass\nclass D:\n    one_: int = 1\n    x: int = 2\n"
    "def clean(x): return dataclasses.astuple(D(3))",
    "a bound method": "class C:\n    def p(self): return 'one'\nf = C().p\ndef clean(x): return f()",
    "a function's attribute": "def f(): return f.k\nf.k = 'one'\ndef clean(x): return f()",
    "a class used as a key": "class C:\n    def p(self): return 'one'\nD = {C: 1}\ndef clean(x): return [e().p() for e in D]",
    "single dispatch": "import functools\n@functools.singledispatch\ndef f(x): return 0\n@f.register\n"
    "def _(x: int): return 'one'\ndef clean(x): return f(x)",
    "a context manager": "import contextlib\n@contextlib.contextmanager\ndef c(): yield 'one'\n"
    "def clean(x):\n    with c() as v: return v",
    "a generator": "def g(): yield 'one'\ndef clean(x): return list(g())",
    "a default that is a lambda": "def clean(x, key=lambda v: 'one'): return key(x)",
    "a key in a comprehension": "K = 'one'\ndef clean(x): return [K for _ in range(x)]",
    "a nested function": "def f():\n    def g(): return 'one'\n    return g\ndef clean(x): return f()()",
    "a private name in a class": "__K = 'one'\n_C__K = __K\nclass C:\n    def p(self): return __K\n"
    "def clean(x): return C().p()",
    "an array": "import numpy as np\nA = np.array(['one'])\ndef clean(x): return A.tolist()",
    "a table": "import polars as pl\nT = pl.DataFrame({'a': ['one']})\ndef clean(x): return T.height",
    "a library's object": "from sklearn.linear_model import LogisticRegression\nM = LogisticRegression(penalty='one')\n"
    "def clean(x): return M.get_params()",
    "a library's attribute that was set": "import tempfile\ntempfile.tempdir = 'one'\ndef clean(x): return tempfile.tempdir",
    "a library's function that was replaced": "import json\ndef mine(v): return 'one'\njson.dumps = mine\n"
    "def clean(x): return json.dumps(x)",
    "an effect at import": "import warnings\nwarnings.filterwarnings('one' and 'ignore')\ndef clean(x): return x",
    "another step": "import tidemill as tm\n@tm.step\ndef f(x): return 'one'\n@tm.step\ndef g(x): return f(x)\n"
    "clean = g.function",
    "a module handed on": "import other\ndef use(m): return m.f()\ndef clean(x): return use(other)",
    "all names of a module": "from other import *\ndef clean(x): return f()",
    "a module by another name": "import other as o\nthing = o\ndef clean(x): return thing.f()",
    "a module under a try": "try:\n    import other\nexcept ImportError:\n    other = None\ndef clean(x): return other.f()",
    "a module inside a package, imported in the function": "def clean(x):\n    import pkg.inside\n"
    "    return pkg.inside.f()",
    "a module of a package by another name": "def clean(x):\n    import pkg.inside as p\n    return p.f()",
    "a module's dict": "import other\ndef clean(x): return other.__dict__['f']()",
    "vars of a module": "import other\ndef clean(x): return vars(other)['f']()",
    "a compiled function": "import numba\n@numba.njit\ndef f(x): return len('one' * 2) + x\ndef clean(x): return f(x)",
    "a callable instance": "class C:\n    def __call__(self): return 'one'\nc = C()\ndef clean(x): return c()",
    "slots": "class C:\n    __slots__ = ('a',)\n    def __init__(self): self.a = 'one'\nc = C()\ndef clean(x): return c.a",
    "a subclass of dict": "class C(dict): pass\nc = C(a='one')\ndef clean(x): return c['a']",
    "a pattern": "import re\nP = re.compile('one')\ndef clean(x): return P.match('x')",
    "a method put on later": "class C: pass\ndef p(self): return 'one'\nC.p = p\ndef clean(x): return C().p()",
    "a path": "import pathlib\nP = pathlib.Path('one')\ndef clean(x): return str(P)",
    "types that a library reads": "import pydantic\nfrom typing import Literal\nclass C(pydantic.BaseModel):\n"
    "    a: Literal['one'] = 0\ndef clean(x): return C()",
    "arguments of a decorator": "def deco(v):\n    def inner(f):\n        def g(x): return f(x), v\n        return g\n"
    "    return inner\n@deco('one')\ndef clean(x): return x",
    "an operator": "import operator\nF = operator.methodcaller('one')\ndef clean(x): return F(x)",
    "a deque of functions": "import collections\ndef f(): return 'one'\nD = collections.deque([f])\n"
    "def clean(x): return D[0]()",
    "a descriptor": "class D:\n    def __get__(self, a, b): return 'one'\nclass C:\n    d = D()\ndef clean(x): return C().d",
    "an exception": "class E(Exception):\n    def __str__(self): return 'one'\ndef clean(x):\n    try: raise E\n"
    "    except E as e: return str(e)",
    "an abstract class": "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def p(self): ...\n    def q(self): return 'one'\n"
    "class C(A):\n    def p(self): return 1\ndef clean(x): return C().q()",
    "a generic class": "import typing\nT = typing.TypeVar('T')\nclass C(typing.Generic[T]):\n    def p(self): return 'one'\n"
    "def clean(x): return C[int]().p()",
}
OTHER = "def f(): return 'one'\n"
ASK = "import prog; from tidemill.flow.caching.keys import step_key; k = step_key(prog.clean, inputs={}, params={}); print(k[0], k[2])"


def key(folder: Path, program: str, other: str) -> str:
    """Of `clean` in a fresh process."""
    folder.mkdir()
    (folder / "prog.py").write_text(program + "\n")
    (folder / "other.py").write_text(other)
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").touch()
    (folder / "pkg" / "inside.py").write_text(other)
    ran = subprocess.run([sys.executable, "-c", ASK], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize("shape", SHAPES)
def test_code_is_found_in_every_shape(tmp_path: Path, shape: str) -> None:
    program = SHAPES[shape]
    if "numba" in program and importlib.util.find_spec("numba") is None:
        pytest.skip("numba, which comes with the extra `explain`, is not installed")
    first = key(tmp_path / "a", program, OTHER)
    again = key(tmp_path / "b", f"# at another line\n\n{program}", OTHER)
    changed = key(tmp_path / "c", program.replace("one", "two"), OTHER.replace("one", "two"))
    assert first.endswith(" None"), first
    assert again == first
    assert changed != first
