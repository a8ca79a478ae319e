"""Rows are erased from every version of a table: files, log, statistics, checkpoints; the other rows stay readable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from polars.testing import assert_frame_equal

from tidemill.core.delta import table_erasing
from tidemill.core.errors import BadInput, Corrupt, NotFound
from tidemill.core.tables import Tables
from tidemill.core.types import Pinned

NAME = "customers/all"
ADA = "Ada Lovelace-Byron"


def some(first: int, rows: int, who: str = "somebody") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [f"c{place}" for place in range(first, first + rows)],
            "who": [f"{who} {place}" for place in range(first, first + rows)],
            "x": [place / 7 for place in range(first, first + rows)],
            "at": [datetime(2020, 1, 1 + place % 20, 3, 4, 5, 678, tzinfo=UTC) for place in range(first, first + rows)],
            "many": [[place, place + 1] for place in range(first, first + rows)],
        }
    )


def doomed(schema: table_erasing.Schema) -> pl.Expr | None:
    return pl.col("who").str.starts_with(ADA) if "who" in schema else None


def filled(root: str) -> tuple[Tables, list[Pinned], list[pl.DataFrame]]:
    """A table of 14 versions: the person is in the first, third and last, and was taken out in between."""
    tables = Tables(root)
    pins = [tables.create(NAME, pl.concat([some(0, 50), some(900, 2, ADA)]))]
    pins.append(tables.append(NAME, some(50, 10)))
    pins.append(tables.append(NAME, some(902, 1, ADA)))
    pins.append(tables.delete(NAME, ["c902", "c3"], key="id"))
    pins += [tables.append(NAME, some(100 + place, 1)) for place in range(8)]
    pins.append(tables.restore(pins[2]))
    pins.append(tables.replace(NAME, pl.concat([some(0, 5), some(7, 1, ADA)]).with_columns(new=pl.lit(1.5))))
    return tables, pins, [tables.frame(pinned) for pinned in pins]


def kept(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(~pl.col("who").str.starts_with(ADA))


def holders(root: Path, text: str) -> list[str]:
    """The files below that hold the text: as bytes, or in a value of a Parquet file."""
    found = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        held = text.encode() in path.read_bytes()
        if path.suffix == ".parquet" and not held:
            held = text in str(pl.read_parquet(path).to_dicts())
        found += [path.name] if held else []
    return found


def test_no_file_holds_the_rows_and_every_version_has_all_others(tmp_path: Path) -> None:
    tables, pins, frames = filled(str(tmp_path))
    assert len(holders(tmp_path, ADA)) > 5
    left = table_erasing.erase(tables, NAME, doomed)
    assert holders(tmp_path, ADA) == []
    touched = [pinned for pinned, frame in zip(pins, frames, strict=True) if kept(frame).height < frame.height]
    assert sorted(left, key=lambda pinned: pinned.version) == touched
    for reader in (tables, Tables(str(tmp_path))):
        for pinned, frame in zip(pins, frames, strict=True):
            now = left.get(pinned, pinned)
            assert now.rows == kept(frame).height
            assert_frame_equal(reader.frame(now), kept(frame), check_row_order=False)
    assert table_erasing.marks(tables, NAME) == {pinned.version: left.get(pinned, pinned) for pinned in pins}
    assert table_erasing.erase(tables, NAME, doomed) == {}


def test_other_readers_and_later_writes_find_a_whole_table(tmp_path: Path) -> None:
    tables, _, frames = filled(str(tmp_path))
    table_erasing.erase(tables, NAME, doomed)
    for version, frame in enumerate(frames):
        other = DeltaTable(f"{tmp_path}/{NAME}", version=version)
        assert pl.scan_delta(other).select(pl.len()).collect().item() == kept(frame).height
    late = pl.scan_delta(DeltaTable(f"{tmp_path}/{NAME}", version=12)).filter(pl.col("x") > 100 / 7).collect()
    assert late.height == frames[12].filter((pl.col("x") > 100 / 7) & ~pl.col("who").str.starts_with(ADA)).height
    last = tables.append(NAME, some(300, 2).with_columns(new=pl.lit(2.5)))
    assert Tables(str(tmp_path)).frame(last).height == kept(frames[-1]).height + 2
    assert list(Path(f"{tmp_path}/{NAME}/_delta_log").glob("*.checkpoint.parquet"))


def test_an_old_reference_is_followed_only_where_an_erasure_says_so(tmp_path: Path) -> None:
    tables, pins, frames = filled(str(tmp_path))
    other = Tables(str(tmp_path))
    other.frame(pins[0])
    left = table_erasing.erase(tables, NAME, doomed)
    stale = Tables(str(tmp_path))
    with pytest.raises(Corrupt, match="has 50 rows, recorded were 52"):
        stale.frame(pins[0])
    for reader in (other, stale):
        reader.forget(NAME)
        reader.amended = left.get
        assert_frame_equal(reader.frame(pins[0]), kept(frames[0]), check_row_order=False)
        assert reader.scan(pins[2]).collect().height == kept(frames[2]).height
        with pytest.raises(Corrupt):
            reader.frame(Pinned(NAME, 1, 60, "0" * 32))


def test_a_process_that_had_it_open_reads_what_is_left(tmp_path: Path) -> None:
    tables, pins, frames = filled(str(tmp_path))
    other = Tables(str(tmp_path))
    assert other.scan(pins[2], verify=False).collect().height == frames[2].height
    other.frame(pins[1])
    other.amended = table_erasing.erase(tables, NAME, doomed).get
    assert other.scan(pins[2], verify=False).collect().height == kept(frames[2]).height
    assert_frame_equal(other.scan(pins[1]).collect(), kept(frames[1]), check_row_order=False)


def test_files_that_no_commit_knows_are_searched_and_removed(tmp_path: Path) -> None:
    tables, _, _ = filled(str(tmp_path))
    folder = Path(f"{tmp_path}/{NAME}")
    some(0, 3, ADA).write_parquet(folder / "part-orphan.parquet")
    some(0, 3).write_parquet(folder / "part-other.parquet")
    (folder / "part-torn.parquet").write_bytes(b"PAR1" + ADA.encode())
    (folder / "_delta_log" / "_commit_x.json.tmp").write_text(ADA)
    found = sorted(frame.height for frame in table_erasing.matching(tables, NAME, doomed))
    assert found == [1, 1, 2, 2, 3]  # the replacement, the append, the first file, what the deletion wrote, the orphan
    table_erasing.erase(tables, NAME, doomed)
    assert holders(tmp_path, ADA) == []
    assert (folder / "part-other.parquet").exists()
    assert not (folder / "part-orphan.parquet").exists()


def test_a_table_without_such_rows_stays_byte_for_byte(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    tables.create(NAME, some(0, 5))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert table_erasing.erase(tables, NAME, doomed) == {}
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_version_may_be_left_without_rows(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    first = tables.create(NAME, some(0, 3, ADA))
    left = table_erasing.erase(tables, NAME, doomed)
    assert left[first].rows == 0
    assert Tables(str(tmp_path)).frame(left[first]).height == 0
    after = tables.append(NAME, some(5, 1))
    assert Tables(str(tmp_path)).frame(after)["id"].to_list() == ["c5"]


def test_tables_of_other_kinds_are_refused_before_anything_changes(tmp_path: Path) -> None:
    write_deltalake(f"{tmp_path}/parts", some(0, 4, ADA).drop("many"), partition_by=["id"])
    with pytest.raises(BadInput, match="table parts has partitions, which erasure cannot rewrite"):
        table_erasing.erase(Tables(str(tmp_path)), "parts", doomed)
    with pytest.raises(NotFound):
        table_erasing.erase(Tables(str(tmp_path)), "none", doomed)


def test_another_programs_commits_lose_the_rows_and_their_predicates(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    tables.create(NAME, pl.concat([some(0, 3), some(9, 2, ADA)]).drop("many"))
    DeltaTable(f"{tmp_path}/{NAME}").delete(f"who = '{ADA} 9'")
    assert holders(tmp_path, ADA)
    table_erasing.erase(tables, NAME, doomed)
    assert holders(tmp_path, ADA) == []
    assert tables.frame(tables.latest(NAME)).height == 3


KILLED = """
import os, signal, sys
from tidemill.core.delta import table_erasing, table_place
from tidemill.core.tables import Tables
import polars as pl
steps = int(sys.argv[2])
def counted(do):
    def step(*given):
        global steps
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps -= 1
        return do(*given)
    return step
for name in ("write", "remove"):
    setattr(table_place.Place, name, counted(getattr(table_place.Place, name)))
table_erasing.erase(Tables(sys.argv[1]), "customers/all", lambda _: pl.col("who").str.starts_with("Ada Lovelace-Byron"))
"""


@pytest.mark.parametrize("steps", [0, 2, 5, 7, 10, 14, 18, 22, 26])
def test_a_killed_erasure_is_finished_by_the_next(tmp_path: Path, steps: int) -> None:
    _, pins, frames = filled(str(tmp_path))
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(steps)], env=os.environ, check=False)
    assert done.returncode in (-signal.SIGKILL, 0)
    tables = Tables(str(tmp_path))
    left = table_erasing.erase(tables, NAME, doomed)
    assert holders(tmp_path, ADA) == []
    assert not table_erasing.unfinished(tables, NAME)
    now = table_erasing.marks(tables, NAME)
    for pinned, frame in zip(pins, frames, strict=True):
        assert left.get(pinned, now[pinned.version]) == now[pinned.version]
        assert_frame_equal(tables.frame(now[pinned.version]), kept(frame), check_row_order=False)


def test_rows_are_erased_in_s3_as_in_a_folder(bucket: str) -> None:
    tables, pins, frames = filled(f"s3://{bucket}/tables")
    left = table_erasing.erase(tables, NAME, doomed)
    again = Tables(f"s3://{bucket}/tables")
    for pinned, frame in zip(pins, frames, strict=True):
        assert_frame_equal(again.frame(left.get(pinned, pinned)), kept(frame), check_row_order=False)
    import obstore.store

    store = obstore.store.S3Store(bucket, client_options={"allow_http": True})
    names: Sequence[str] = [str(meta["path"]) for part in store.list() for meta in part]
    assert len(names) > 15
    assert [name for name in names if ADA.encode() in bytes(store.get(name).bytes())] == []
