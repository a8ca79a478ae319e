"""Peers in environments of their own, and what a side-by-side measurement needs.

A peer is installed once below `.bench/` (git ignores it); its code runs in its own interpreter, so that neither side
loads the other's libraries.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ENVIRONMENTS = Path(__file__).resolve().parent.parent / ".bench"


class Row(NamedTuple):
    """A line of RESULTS.md: what was measured, the figures of both sides with their unit, the ratio, the target."""

    what: str
    ours: str
    peer: str
    ratio: str
    target: str


def python_of(name: str, *requirements: str) -> Path:
    """The interpreter of the peer's environment, made by venv and pip at first use."""
    home = ENVIRONMENTS / name
    marker = home / "requirements.json"
    python = home / "bin" / "python"
    if not marker.exists() or json.loads(marker.read_text()) != list(requirements):
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        marker.write_text(json.dumps(list(requirements)))
    return python


def peer(name: str, requirements: tuple[str, ...], program: str, *arguments: str) -> Any:
    """Run the program text in the peer's interpreter; it prints one line of JSON last, which comes back."""
    python = python_of(name, *requirements)
    done = subprocess.run([python, "-c", program, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def in_own_process(program: str, *arguments: str) -> Any:
    """The same for our side, in this interpreter's environment."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def median_of(measure: Callable[[], float], repeats: int = 7) -> float:
    """The median of so many measurements, after one that does not count."""
    measure()
    return statistics.median(measure() for _ in range(repeats))


def child_cpu_s() -> float:
    """CPU seconds of all ended children of this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def folder_bytes(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
