"""Versions of a table of 1M x 20 against bare delta-rs: appends, relabelled rows, a new column, rows in front.

    .venv/bin/python benchmarks/versions.py

Both sides run in one process, one after the other, on this interpreter's delta-rs. Times are medians: wall seconds, CPU
seconds in brackets. An append of ours is `datasets.add`: keys checked against the million, a recorded run with its
environment, the version's record and the hash-chained log, all durable. Bytes are those of all files below the tables.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from peers import Row, folder_bytes, in_own_process

ROWS, APPENDED, APPENDS = 1_000_000, 1_000, 25


def table(rows: int, *, first: int = 0, seed: int = 0) -> pl.DataFrame:
    """An id, 12 measurements, 4 counts, 3 categories."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {"id": np.arange(first, first + rows)}
    columns |= {f"measure{n}": random.normal(size=rows) for n in range(12)}
    columns |= {f"count{n}": random.integers(0, 1000, rows) for n in range(4)}
    kinds = np.array([f"kind {n}" for n in range(50)])
    columns |= {f"kind{n}": kinds[random.integers(0, 50, rows)] for n in range(3)}
    return pl.DataFrame(columns)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU milliseconds."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall_s) * 1e3, (time.process_time() - cpu_s) * 1e3


def appends() -> dict[str, Any]:
    """Milliseconds of appends, ours and bare, in turn."""
    from deltalake import write_deltalake

    from tidemill.core.workspace import open_workspace
    from tidemill.data import datasets

    base = table(ROWS)
    with tempfile.TemporaryDirectory() as folder:
        ws = open_workspace(Path(folder) / "a.mill")
        bare = str(Path(folder) / "bare")
        datasets.add(ws, "t", base, key="id")
        write_deltalake(bare, base)
        ws.close()
        ws = open_workspace(Path(folder) / "a.mill")
        found: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}
        for n in range(APPENDS + 1):
            part = table(APPENDED, first=ROWS + n * APPENDED, seed=n)
            found["bare"].append(timed(lambda part=part: write_deltalake(bare, part, mode="append")))
            found["ours"].append(timed(lambda part=part: datasets.add(ws, "t", part, key="id")))
        assert datasets.get(ws, "t").rows == ROWS + (APPENDS + 1) * APPENDED
        ws.close()
    medians = {
        side: [statistics.median(each[n] for each in times[1:]) for n in (0, 1)] for side, times in found.items()
    }
    return medians | {"cold": [found["ours"][0][0], found["bare"][0][0]]}


def column_under_random_keys() -> dict[str, Any]:
    """Bytes of a filled column added to rows whose keys are 16 random hexadecimal digits: the key lies beside it."""
    from deltalake import write_deltalake

    from tidemill.core.workspace import open_workspace
    from tidemill.data import datasets

    words = np.random.default_rng(7).integers(0, 1 << 63, ROWS)
    base = table(ROWS).with_columns(id=pl.Series([f"{word:016x}" for word in words]))
    filled = base.select("id", filled=pl.col("measure0").abs() + 1)
    with tempfile.TemporaryDirectory() as folder:
        ws = open_workspace(Path(folder) / "a.mill")
        datasets.add(ws, "t", base, key="id")
        before = folder_bytes(ws.root / "tables")
        datasets.add_column(ws, "t", filled)
        stored = folder_bytes(ws.root / "tables") - before
        ws.close()
        write_deltalake(str(Path(folder) / "alone"), filled.select("filled"))
        return {"stored": stored, "column": folder_bytes(Path(folder) / "alone")}


def bytes_stored(ordered: str) -> dict[str, Any]:
    """Bytes that each change adds to the tables, and seconds that it takes; bare delta-rs for the same."""
    from deltalake import DeltaTable, write_deltalake

    from tidemill.core.workspace import open_workspace
    from tidemill.data import datasets

    base = table(ROWS)
    relabelled = base.sample(fraction=0.01, seed=1).select("id", kind0="kind1")
    filled = base.select("id", filled=pl.col("measure0").abs() + 1)
    front = table(ROWS // 100, first=2 * ROWS, seed=5)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        ws = open_workspace(Path(folder) / "a.mill")
        tables = ws.root / "tables"

        def grown(name: str, work: Callable[[], object]) -> None:
            before = folder_bytes(tables)
            wall_ms, _ = timed(work)
            found[name] = [folder_bytes(tables) - before, wall_ms / 1e3]

        grown("table", lambda: datasets.add(ws, "t", base, key="id", ordered=ordered == "ordered"))
        grown("relabelled", lambda: datasets.update(ws, "t", relabelled))
        grown("filled", lambda: datasets.add_column(ws, "t", filled))
        whole = pl.concat([front.with_columns(filled=pl.lit(0.5)), datasets.scan(ws, datasets.get(ws, "t")).collect()])
        grown("front", lambda: datasets.add(ws, "t", whole, key="id", mode="replace"))
        version = datasets.get(ws, "t")
        datasets.scan(ws, version).collect()
        found["read"] = timed(lambda: datasets.scan(ws, version).collect())
        ws.close()
        bare, alone = Path(folder) / "bare", Path(folder) / "alone"
        write_deltalake(str(bare), base)
        before = folder_bytes(bare)
        merge = DeltaTable(str(bare)).merge(relabelled, "t.id = s.id", source_alias="s", target_alias="t")
        wall_ms, _ = timed(merge.when_matched_update({"kind0": "s.kind0"}).execute)
        found["bare relabelled"] = [folder_bytes(bare) - before, wall_ms / 1e3]
        write_deltalake(str(alone), filled.select("filled"))
        found["column"] = folder_bytes(alone)
        pl.read_delta(str(bare))
        found["bare read"] = timed(lambda: pl.read_delta(str(bare)))
    return found


def _measured(name: str, *arguments: str) -> Any:
    """One of the measurements above, in a process of its own."""
    return in_own_process(f"import runpy, sys; runpy.run_path({__file__!r}, run_name='__main__')", name, *arguments)


def rows() -> list[Row]:
    """The lines of RESULTS.md."""
    took = _measured("appends")
    (ours, ours_cpu), (bare, bare_cpu) = took["ours"], took["bare"]
    made = [
        Row(
            "append of 1,000 rows to 1M x 20, manifest and audit included",
            f"{ours:.1f} ms ({ours_cpu:.1f} ms)",
            f"delta-rs {bare:.1f} ms ({bare_cpu:.1f} ms)",
            f"{ours / bare:.2f} ({ours_cpu / bare_cpu:.2f})",
            "<= 1.3",
        ),
        Row(
            "the first append of a process, which reads the million keys",
            f"{took['cold'][0]:.0f} ms",
            f"delta-rs {took['cold'][1]:.0f} ms",
            f"{took['cold'][0] / took['cold'][1]:.1f}",
            "",
        ),
    ]
    took = _measured("column_under_random_keys")
    made.append(
        Row(
            "a filled column added under random keys: bytes stored, of that column's alone",
            f"{took['stored'] / 1e6:.2f} MB",
            f"{took['column'] / 1e6:.2f} MB",
            f"{took['stored'] / took['column']:.2f}",
            "<= 1.2",
        )
    )
    for ordered in ("unordered", "ordered"):
        took = _measured("bytes_stored", ordered)
        whole, column = took["table"][0], took["column"]
        stored, rewritten = took["relabelled"][0], took["bare relabelled"][0]
        added, (front, front_s) = took["filled"][0], took["front"]
        if ordered == "unordered":
            made += [
                Row(
                    "1 % of rows relabelled in 1M x 20: bytes stored, of the table's",
                    f"{stored / 1e6:.2f} MB in {took['relabelled'][1]:.2f} s",
                    f"delta-rs {rewritten / 1e6:.0f} MB in {took['bare relabelled'][1]:.2f} s",
                    f"{stored / whole:.2%}",
                    "<= 5 %",
                ),
                Row(
                    "a filled column added: bytes stored, of that column's alone",
                    f"{added / 1e6:.2f} MB in {took['filled'][1]:.2f} s",
                    f"{column / 1e6:.2f} MB",
                    f"{added / column:.2f}",
                    "<= 1.2",
                ),
            ]
        made += [
            Row(
                f"1 % of rows put in front, {ordered}: bytes stored, of the table's {whole / 1e6:.0f} MB",
                f"{front / 1e6:.1f} MB in {front_s:.1f} s",
                f"delta-rs {whole / 1e6:.0f} MB",
                f"{front / whole:.1%}",
                "<= 35 %",
            ),
            Row(
                f"a second read of all rows after those changes, {ordered}",
                "{:.0f} ms ({:.0f} ms)".format(*took["read"]),
                "delta-rs, before them: {:.0f} ms ({:.0f} ms)".format(*took["bare read"]),
                f"{took['read'][0] / took['bare read'][0]:.1f} ({took['read'][1] / took['bare read'][1]:.1f})",
                "",
            ),
        ]
    return made


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measurements: dict[str, Callable[..., object]] = {
            each.__name__: each for each in (appends, bytes_stored, column_under_random_keys)
        }
        print(json.dumps(measurements[sys.argv[1]](*sys.argv[2:])))
    else:
        for line in rows():
            print(" | ".join(line))
