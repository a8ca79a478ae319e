"""The profile of one million rows of 20 columns, beside ydata-profiling's minimal one.

    python benchmarks/profiles.py

Each side reads the same Parquet file before its clock starts and computes its description: ours as JSON, the peer's
description set with nothing drawn. CPU seconds and seconds, median of 3 (ydata-profiling: of 1). The counts of distinct
and missing values must be the same column by column, or it stops.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from peers import Row, in_own_process, peer

ROWS = 1_000_000
YDATA = ("ydata-profiling", "setuptools<81", "pyarrow")

OURS = """
import json, resource, statistics, sys, time
import polars as pl
from tidemill.core.ids import canonical_json
from tidemill.data.quality.profiles import profile
frame = pl.read_parquet(sys.argv[1])
def describe():
    cpu, wall = time.process_time(), time.perf_counter()
    made = profile(frame)
    canonical_json(made)
    return time.process_time() - cpu, time.perf_counter() - wall, made
describe()
runs = [describe() for _ in range(3)]
facts = {name: [each["distinct"], each["missing"]] for name, each in runs[0][2]["columns"].items()}
print(json.dumps([statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs), facts]))
"""

PEER = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import pandas as pd
from ydata_profiling import ProfileReport
frame = pd.read_parquet(sys.argv[1])
cpu, wall = time.process_time(), time.perf_counter()
found = ProfileReport(frame, minimal=True, progress_bar=False).get_description()
took = time.process_time() - cpu, time.perf_counter() - wall
facts = {name: [int(each["n_distinct"]), int(each["n_missing"])] for name, each in found.variables.items()}
print(json.dumps([*took, facts]))
"""


def table(path: Path) -> None:
    """One million rows: 8 columns of floats (one with missing values), 5 of whole numbers, 4 texts, 2 times, a flag."""
    rng = np.random.default_rng(3)
    n = ROWS
    floats = {f"x{i}": pl.Series(rng.normal(size=n)) for i in range(8)}
    floats["x7"] = floats["x7"].scatter(rng.choice(n, n // 10, replace=False), None)
    times = pl.Series(rng.integers(0, 10**15, n)).cast(pl.Datetime("us"))
    pl.DataFrame(
        {
            "id": [f"k{i:07d}" for i in range(n)],
            **floats,
            **{f"i{i}": rng.integers(0, 10 ** (i + 1), n) for i in range(5)},
            **{f"c{i}": rng.choice([f"v{j}" for j in range(5 * 10**i)], n) for i in range(3)},
            "flag": rng.random(n) < 0.3,
            "at": times,
            "until": times.dt.offset_by("1h"),
        }
    ).write_parquet(path)


def rows() -> list[Row]:
    """The line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        table(path)
        ours_s, ours_wall_s, ours = in_own_process(OURS, str(path))
        peer_s, peer_wall_s, theirs = peer("ydata-profiling", YDATA, PEER, str(path))
    differing = {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}
    assert not differing, f"the counts differ: {differing}"
    print(f"seconds: {ours_wall_s:.3f} against {peer_wall_s:.2f}, {ours_wall_s / peer_wall_s:.4f}")
    return [
        Row(
            "profile of 1M x 20, CPU s: ydata-profiling minimal",
            f"{ours_s:.3f}",
            f"{peer_s:.2f}",
            f"{ours_s / peer_s:.4f}",
            "<= 0.1",
        )
    ]


if __name__ == "__main__":
    for row in rows():
        print(f"| {' | '.join(row)} |")
