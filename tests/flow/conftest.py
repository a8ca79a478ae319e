"""A workspace, the user's program, and what its steps noted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tidemill.core import extend
from tidemill.core.engine import Engine
from tidemill.core.workspace import Workspace, open_workspace

PROGRAMS = Path(__file__).parent / "programs"


# "remote" as a trial by hand of all tests here on PostgreSQL and S3: TIDEMILL_PLACE=remote pytest tests/flow
PLACE = os.environ.get("TIDEMILL_PLACE", "local")


@pytest.fixture
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """A folder, or, where a test asks for "remote", PostgreSQL and S3."""
    if getattr(request, "param", PLACE) == "remote":
        bucket: str = request.getfixturevalue("bucket")
        made = open_workspace(request.getfixturevalue("new_database")(), store=f"s3://{bucket}/w")
    else:
        made = open_workspace(tmp_path / "a.mill")
    yield made
    made.close()


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What the steps noted so far, in order."""
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("NOTES", str(path))
    return lambda: path.read_text().splitlines()


@pytest.fixture
def pieces(notes: object) -> ModuleType:
    if str(PROGRAMS) not in sys.path:
        sys.path.insert(0, str(PROGRAMS))
    import pieces

    return pieces


@pytest.fixture
def faults(pieces: object) -> ModuleType:
    import faults

    return faults


@pytest.fixture
def here() -> Iterator[Engine]:
    engine: Engine = extend.load("engine", "here")()
    yield engine
    engine.close()


@pytest.fixture(params=["here", "pool://2"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    scheme = str(request.param).partition("://")[0]
    made: Engine = extend.load("engine", scheme)(request.param)
    yield made
    made.close()
