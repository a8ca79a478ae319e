"""Datasets of files against DVC: 10,000 files of 20 KB added, 1 % changed, status; a large CSV shifted and edited.

    .venv/bin/python benchmarks/files.py

Both sides run as programs of their own; CPU seconds include their start, wall seconds stand in brackets. DVC's remote
is a folder; ours is the workspace's store. The files hold random bytes, as pictures nearly do.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from peers import Row, child_cpu_s, folder_bytes, python_of

import tidemill

COUNT, SIZE, CHANGED = 10_000, 20_000, 100
CSV_ROWS = 1_000_000

OURS = """
import sys
from pathlib import Path
from tidemill.core.workspace import open_workspace
from tidemill.data.filesets import files
verb, root, folder = sys.argv[1:]
ws = open_workspace(root)
if verb == "init":
    pass
elif verb == "add":
    print(files.add_folder(ws, "pictures", Path(folder)).version)
else:
    found = files.status(ws, "pictures", Path(folder))
    assert found["unchanged"] and not (found["added"] or found["changed"] or found["removed"]), found
"""


class Cost(NamedTuple):
    """CPU and wall seconds."""

    cpu_s: float
    wall_s: float

    def __str__(self) -> str:
        return f"{self.cpu_s:.2f} s ({self.wall_s:.2f} s)"


def compiled() -> None:
    """Ours as pip installs it, with compiled modules: an editable install has none under PYTHONDONTWRITEBYTECODE."""
    folder = Path(tidemill.__file__).parent
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder)], check=True)


def cost(*commands: list[str], where: Path) -> Cost:
    """What the commands take together."""
    cpu_s, wall_s = child_cpu_s(), time.perf_counter()
    # both sides as installed: with compiled modules
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for command in commands:
        subprocess.run(command, cwd=where, check=True, capture_output=True, env={**env, "DVC_NO_ANALYTICS": "1"})
    return Cost(child_cpu_s() - cpu_s, time.perf_counter() - wall_s)


def ours(verb: str, root: Path, folder: Path) -> Cost:
    """One verb of ours."""
    return cost([sys.executable, "-c", OURS, verb, str(root), str(folder)], where=root.parent)


class Dvc:
    """A DVC repository with a remote folder."""

    def __init__(self, where: Path) -> None:
        self.command = [str(python_of("dvc", "dvc")), "-m", "dvc"]
        self.where = where
        self.remote = where.parent / "remote"
        where.mkdir()
        self.run(["init", "--no-scm"], ["remote", "add", "-d", "there", str(self.remote)])

    def run(self, *verbs: list[str]) -> Cost:
        """What these verbs take together."""
        return cost(*([*self.command, *verb] for verb in verbs), where=self.where)


def many_files(home: Path) -> list[Row]:
    """10,000 files added, 1 % changed, unchanged status."""
    rng = random.Random(1)
    dvc = Dvc(home / "repository")
    folder = dvc.where / "data"
    for n in range(COUNT):
        place = folder / f"{n % 100:02d}" / f"{n}.bin"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(rng.randbytes(SIZE))
    root = home / "files.mill"
    ours("init", root, folder)
    added, stored = ours("add", root, folder), folder_bytes(root)
    dvc_added, dvc_stored = dvc.run(["add", "data"], ["push"]), folder_bytes(dvc.remote)
    unchanged = ours("status", root, folder)
    dvc_unchanged = dvc.run(["status"])
    for n in rng.sample(range(COUNT), CHANGED):
        (folder / f"{n % 100:02d}" / f"{n}.bin").write_bytes(rng.randbytes(SIZE))
    changed, more = ours("add", root, folder), folder_bytes(root) - stored
    dvc_changed, dvc_more = dvc.run(["add", "data"], ["push"]), folder_bytes(dvc.remote) - dvc_stored
    packs = sum(1 for each in (root / "objects").rglob("*") if each.is_file())
    total = COUNT * SIZE
    return [
        row("10,000 files x 20 KB added (DVC: add + push), CPU (wall)", added, dvc_added, "<= 0.2"),
        Row("... blobs stored", str(packs), str(COUNT + 1), f"{packs / (COUNT + 1):.4f}", ""),
        row("... 1 % changed, added again", changed, dvc_changed, "<= 0.2"),
        Row("... stored anew", share(more, total), share(dvc_more, total), f"{more / dvc_more:.2f}", "<= 1.5 %"),
        row("... unchanged, status", unchanged, dvc_unchanged, "<= 1 s"),
    ]


def large_table(home: Path) -> list[Row]:
    """A CSV of 1M rows: 1 % of rows inserted at the front, in one place; 1 % of rows edited all over."""
    rng = random.Random(2)
    lines = [f"{n},{rng.random():.12f},{rng.random():.12f},{rng.randrange(10**6)}\n" for n in range(CSV_ROWS)]
    new = [f"new-{n},{rng.random():.12f},{rng.random():.12f},0\n" for n in range(CSV_ROWS // 100)]
    edited = list(lines)
    for n in rng.sample(range(CSV_ROWS), CSV_ROWS // 100):
        edited[n] = f"{n},{rng.random():.12f},{rng.random():.12f},{rng.randrange(10**6)}\n"
    rows = []
    for what, after, target in (("shifted", new + lines, "<= 0.33"), ("edited all over", edited, "")):
        place = home / what.replace(" ", "-")
        place.mkdir()
        dvc = Dvc(place / "repository")
        folder, root = dvc.where / "data", place / "files.mill"
        folder.mkdir()
        (folder / "rows.csv").write_text("".join(lines))
        total = (folder / "rows.csv").stat().st_size
        ours("add", root, folder)
        dvc.run(["add", "data"], ["push"])
        stored, dvc_stored = folder_bytes(root), folder_bytes(dvc.remote)
        (folder / "rows.csv").write_text("".join(after))
        ours("add", root, folder)
        dvc.run(["add", "data"], ["push"])
        more, dvc_more = folder_bytes(root) - stored, folder_bytes(dvc.remote) - dvc_stored
        name = f"CSV of {total / 1e6:.0f} MB, 1 % of rows {'inserted in front' if what == 'shifted' else what}"
        rows.append(
            Row(f"{name}: stored anew", share(more, total), share(dvc_more, total), f"{more / dvc_more:.2f}", target)
        )
    return rows


def row(what: str, mine: Cost, theirs: Cost, target: str) -> Row:
    """A line on two costs; the ratio is that of CPU seconds."""
    return Row(what, str(mine), str(theirs), f"{mine.cpu_s / theirs.cpu_s:.3f}", target)


def share(part: int, whole: int) -> str:
    """Percent."""
    return f"{100 * part / whole:.2f} %"


def rows() -> list[Row]:
    """All lines."""
    compiled()
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "many").mkdir()
        return [*many_files(Path(home) / "many"), *large_table(Path(home))]


if __name__ == "__main__":
    for each in rows():
        print(" | ".join(each))
