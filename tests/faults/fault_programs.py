"""Programs that the fault tests run in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# Appends parts of three rows to one dataset; prints the keys of each part when it is acknowledged.
APPEND = """
import sys
import polars as pl
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets

url, store, first, count, step = sys.argv[1], sys.argv[2] or None, *map(int, sys.argv[3:6])
ws = open_workspace(url, store=store)
for part in range(count):
    ids = [first + step * part + n for n in range(3)]
    made = datasets.add(ws, "flights", pl.DataFrame({"id": ids, "x": [n / 2 for n in ids]}), key="id")
    print(made.version, *ids, flush=True)
ws.close()
"""

# The same as streams: each part comes in three batches, each batch in a file of its own.
STREAM = """
import sys
from pathlib import Path
import polars as pl
import tidemill.core.delta.table_files as table_files
import tidemill.data.transfer.sources.source as source
from tidemill.core.workspace import open_workspace
from tidemill.data.transfer import importing

table_files.FILE_BYTES = source.BATCH_ROWS = 1
importing.SMALL_ROWS = 0
url, store, first, count, step = sys.argv[1], sys.argv[2] or None, *map(int, sys.argv[3:6])
ws = open_workspace(url, store=store)
place = Path(sys.argv[6]) / f"{first}.parquet"
for part in range(count):
    ids = [first + step * part + n for n in range(3)]
    pl.DataFrame({"id": ids, "x": [n / 2 for n in ids]}).write_parquet(place)
    made = importing.import_from(ws, "flights", str(place), key="id")
    print(made.version, *ids, flush=True)
ws.close()
"""


def started(code: str, *arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )


def acknowledged(said: str) -> list[tuple[int, list[int]]]:
    """(version, keys) of each whole line."""
    lines = [line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return [(int(version), [int(key) for key in keys]) for version, *keys in lines]


def data_files(tables: Path) -> set[Path]:
    """All files of rows below the folder of the tables."""
    return set(tables.rglob("*.parquet")) - set(tables.rglob("_delta_log/*.parquet"))
