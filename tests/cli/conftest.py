"""The command line in this process: what `tidemill -w WORKSPACE ...` prints, and its exit code."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tidemill as tm
from tidemill.cli.main import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Shell = Callable[..., Ran]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    tm.open(tmp_path / "w.mill").close()
    return tmp_path / "w.mill"


@pytest.fixture
def shell(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run a verb in the workspace; relative paths count from the workspace's folder's parent."""
    monkeypatch.chdir(workspace.parent)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, answer: str = "") -> Ran:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["tidemill", "-w", str(workspace), *map(str, arguments)])
            patch.setattr(sys, "stdin", io.StringIO(answer))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as ended:
                main()
        texts = [each.buffer.getvalue().decode(errors="replace") for each in (out, err)]  # type: ignore[attr-defined]
        return Ran(int(ended.value.code or 0), *texts)

    return run
