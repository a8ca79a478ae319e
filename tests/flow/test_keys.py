"""The digest of code follows what the code does, not how it looks."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.core.errors import BadInput
from tidemill.flow.caching.keys import code_of

BASE = '''
LIMIT = 3

def helper(x, scale=2):
    return x * scale + LIMIT

class Shape:
    side = 4

def step(x):
    """Says what it does."""
    return helper(x) + Shape.side
'''


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    count = iter(range(1000))

    def digest_of(source: str) -> str:
        folder = tmp_path / str(next(count))
        folder.mkdir()
        (folder / "userstep.py").write_text(source)
        monkeypatch.syspath_prepend(str(folder))
        sys.modules.pop("userstep", None)
        importlib.invalidate_caches()
        try:
            return code_of(importlib.import_module("userstep").step).digest
        finally:
            sys.modules.pop("userstep", None)

    return digest_of


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("x * scale", "x + scale"),
        ("scale=2", "scale=3"),
        ("side = 4", "side = 5"),
        ("+ Shape.side", "- Shape.side"),
    ],
    ids=["global", "helper", "default", "class", "step"],
)
def test_a_change_of_meaning_changes_the_digest(digest_of, old: str, new: str) -> None:
    assert digest_of(BASE.replace(old, new)) != digest_of(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Says what it does.", "Says it otherwise."),
        ("x * scale + LIMIT", "(x  *  scale)  + LIMIT  # a remark"),
        ("LIMIT = 3", "OTHER = 9\nLIMIT = 3"),
    ],
    ids=["docstring", "formatting", "unreached"],
)
def test_a_change_of_looks_does_not(digest_of, old: str, new: str) -> None:
    assert digest_of(BASE.replace(old, new)) == digest_of(BASE)


def test_a_builtin_is_refused_with_what_to_do() -> None:
    with pytest.raises(BadInput, match="Wrap it in a def"):
        code_of(len)


def test_the_digest_is_the_same_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "userstep.py").write_text(
        BASE.replace("LIMIT = 3", "LIMIT = 3\nTOKEN = object()").replace("+ LIMIT", "+ LIMIT + bool(TOKEN)")
    )
    code = "import userstep; from tidemill.flow.caching.keys import code_of; print(code_of(userstep.step).digest)"
    ran = [
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert ran[0] == ran[1]


def test_the_demo_s_build_has_one_digest_in_each_process() -> None:
    folder = Path(__file__).parents[2] / "examples" / "departures"
    code = "import departures; from tidemill.flow.caching.keys import code_of; print(code_of(departures.build).digest)"
    ran = [
        subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert ran[0] == ran[1]
