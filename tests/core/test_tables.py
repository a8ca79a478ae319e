"""Tables: a pinned version or Corrupt, appends that race, schemas that do not fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from tidemill.core.errors import (
    BadInput,
    Conflict,
    Corrupt,
    EmptyInput,
    NoRoom,
    NotFound,
    UnknownColumn,
    WrongType,
)
from tidemill.core.rowhash import as_text, rows_digest
from tidemill.core.tables import Tables
from tidemill.core.types import Pinned

AT = datetime(2013, 4, 1, 5, 30, tzinfo=UTC)


def some(*keys: str, temp: float = 1.5) -> pl.DataFrame:
    return pl.DataFrame({"key": list(keys), "temp": [temp] * len(keys), "at": [AT] * len(keys)})


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(str(tmp_path / "tables"))


def anew(tables: Tables) -> Tables:
    """As another process sees them: nothing verified yet."""
    return Tables(tables.root)


def files(tables: Tables, name: str) -> list[Path]:
    return sorted(Path(tables.uri(name)).glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)


def entries(tables: Tables, name: str, version: int) -> tuple[Path, list[dict[str, Any]]]:
    path = Path(tables.uri(name)) / "_delta_log" / f"{version:020}.json"
    return path, [json.loads(line) for line in path.read_text().splitlines()]


# ---------------------------------------------------------------------------------------------- versions and changes


def test_each_write_is_a_version_and_old_ones_stay(tables: Tables) -> None:
    first = tables.create("weather", some("a", "b"))
    second = tables.append("weather", some("c"))
    third = tables.update("weather", some("a", "d", temp=9.0), key="key")
    fourth = tables.delete("weather", ["b", "nowhere"], key="key")
    fifth = tables.replace("weather", pl.DataFrame({"other": [1]}))
    pins = [first, second, third, fourth, fifth]
    assert [pin.version for pin in pins] == [0, 1, 2, 3, 4]
    assert [pin.rows for pin in pins] == [2, 3, 4, 3, 1]
    assert tables.latest("weather") == fifth

    later = anew(tables)
    assert later.frame(first).equals(some("a", "b"))
    assert sorted(later.frame(second)["key"]) == ["a", "b", "c"]
    assert dict(later.frame(third).select("key", "temp").iter_rows()) == {"a": 9.0, "b": 1.5, "c": 1.5, "d": 9.0}
    assert sorted(later.frame(fourth)["key"]) == ["a", "c", "d"]
    assert later.scan(fifth).collect().to_dicts() == [{"other": 1}]


def test_the_digest_is_that_of_the_rows_however_they_came(tables: Tables) -> None:
    tables.create("one", some("a"))
    piecewise = tables.append("one", some("b", "c"))
    at_once = tables.create("two", some("c", "b", "a"))
    assert piecewise.digest == at_once.digest == as_text(rows_digest(some("a", "b", "c")))
    assert tables.delete("two", ["b", "c"], key="key").digest == as_text(rows_digest(some("a")))


def test_a_table_may_lose_all_its_rows(tables: Tables) -> None:
    tables.create("weather", some("a"))
    empty = tables.delete("weather", ["a"], key="key")
    assert (empty.rows, empty.digest) == (0, "0" * 32)
    assert anew(tables).frame(empty).height == 0
    assert anew(tables).append("weather", some("b")).rows == 1


def test_creating_a_table_that_is_there_appends_or_refuses(tables: Tables) -> None:
    tables.create("weather", some("a"))
    assert tables.create("weather", some("b")).version == 1
    with pytest.raises(Conflict, match="table weather is there already; append to it"):
        tables.create("weather", some("c"), exists="refuse")


def test_append_onto_a_parent_that_is_no_longer_the_newest_is_a_conflict(tables: Tables) -> None:
    first = tables.create("weather", some("a"))
    second = tables.append("weather", some("b"), parent=first)
    with pytest.raises(Conflict, match="table weather is at version 1, not at 0; read it again, then retry"):
        tables.append("weather", some("c"), parent=first)
    assert tables.latest("weather") == second


def test_restore_brings_an_old_version_back_without_rewriting_it(tables: Tables) -> None:
    first = tables.create("weather", some("a"))
    second = tables.append("weather", some("b"))
    before = files(tables, "weather")
    back = tables.restore(first)
    assert (back.version, back.rows, back.digest) == (2, first.rows, first.digest)
    assert files(tables, "weather") == before
    assert tables.restore(back) == back
    assert anew(tables).frame(back).equals(some("a"))
    assert anew(tables).frame(second).height == 2
    assert anew(tables).append("weather", some("c"), parent=back).digest == as_text(rows_digest(some("a", "c")))


def test_no_version_is_ever_cleaned_away(tables: Tables) -> None:
    tables.create("weather", some("a"))
    tables.replace("weather", some("b"))
    kept = DeltaTable(tables.uri("weather")).metadata().configuration
    assert kept["delta.enableExpiredLogCleanup"] == "false"
    assert kept["delta.logRetentionDuration"] == kept["delta.deletedFileRetentionDuration"] == "interval 36500 days"
    assert DeltaTable(tables.uri("weather")).vacuum(dry_run=True) == []


def test_rows_of_another_program_are_counted_afresh(tables: Tables) -> None:
    first = tables.create("weather", some("a"))
    write_deltalake(tables.uri("weather"), some("b"), mode="append")
    there = tables.latest("weather")
    assert (there.version, there.rows, there.digest) == (1, 2, as_text(rows_digest(some("a", "b"))))
    assert anew(tables).append("weather", some("c")).digest == as_text(rows_digest(some("a", "b", "c")))
    assert anew(tables).frame(first).height == 1


# -------------------------------------------------------------------------------------------- pinned reads, or Corrupt


def test_a_file_that_was_edited_is_corrupt(tables: Tables) -> None:
    pinned = tables.create("weather", some("a", "b"))
    [path] = files(tables, "weather")
    some("a", "b").with_columns(temp=pl.Series([1.5, 1.6])).write_parquet(path)
    with pytest.raises(Corrupt, match=r"table weather version 0 (has digest .*, recorded was .*|cannot be read: .*)"):
        anew(tables).scan(pinned)
    tables.append("weather", some("c"))  # an append does not read what is there; a reader does
    with pytest.raises(Corrupt, match="table weather version 1"):
        anew(tables).frame(tables.latest("weather"))


def test_rows_added_to_or_taken_from_a_file_are_corrupt(tables: Tables) -> None:
    pinned = tables.create("weather", some("a", "b"))
    [path] = files(tables, "weather")
    for keys in (("a",), ("a", "b", "b")):
        some(*keys).write_parquet(path)
        with pytest.raises(Corrupt, match="table weather version 0"):
            anew(tables).frame(pinned)


@pytest.mark.parametrize("cut", [0, 4, 100])
def test_a_file_cut_short_is_corrupt(tables: Tables, cut: int) -> None:
    pinned = tables.create("weather", some("a", "b"))
    [path] = files(tables, "weather")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Corrupt, match=r"table weather version 0 cannot be read: .*; restore its files from a backup"):
        anew(tables).frame(pinned)


def test_a_file_that_is_gone_is_corrupt_even_when_read_before(tables: Tables) -> None:
    pinned = tables.create("weather", some("a"))
    tables.frame(pinned)
    files(tables, "weather")[0].unlink()
    for each in (tables, anew(tables)):
        with pytest.raises(Corrupt, match="table weather version 0 cannot be read"):
            each.frame(pinned)


def test_a_table_that_is_gone_is_corrupt_where_it_was_recorded(tables: Tables) -> None:
    pinned = tables.create("weather", some("a"))
    shutil.rmtree(tables.uri("weather"))
    with pytest.raises(Corrupt, match="table weather version 0 cannot be read"):
        anew(tables).frame(pinned)


def test_a_version_that_never_was_is_corrupt(tables: Tables) -> None:
    pinned = tables.create("weather", some("a"))
    with pytest.raises(Corrupt, match="table weather version 7 cannot be read"):
        anew(tables).scan(replace(pinned, version=7))


def test_another_version_than_was_pinned_is_corrupt(tables: Tables) -> None:
    first = tables.create("weather", some("a"))
    second = tables.append("weather", some("b"))
    with pytest.raises(Corrupt, match="table weather version 0 has 1 rows, recorded were 2; restore it from a backup"):
        anew(tables).scan(replace(second, version=0))
    with pytest.raises(Corrupt, match=f"has digest {first.digest}, recorded was 0+; restore it from a backup"):
        anew(tables).scan(replace(first, digest="0" * 32))


def test_a_log_that_drops_a_file_is_corrupt(tables: Tables) -> None:
    tables.create("weather", some("a"))
    second = tables.append("weather", some("b"))
    path, lines = entries(tables, "weather", 1)
    path.write_text("\n".join(json.dumps(line) for line in lines if "add" not in line) + "\n")
    with pytest.raises(Corrupt, match="table weather version 1 has 1 rows, recorded were 2"):
        anew(tables).frame(second)


CHANGES = """
import sys
from tidemill.core.errors import Corrupt
from tidemill.core.tables import Tables
import polars as pl
tables = Tables(sys.argv[1])
try:
    pinned = tables.append("weather", pl.DataFrame({"key": ["z"], "temp": [0.0]}))
    tables.frame(pinned)
except Corrupt as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("mark", "value", "told"),
    [
        ("tidemill.digest", "f" * 32, "has digest"),
        ("tidemill.rows", "17", "has 3 rows, recorded were 18"),
        ("tidemill.digest", "no digest", "has broken marks"),
        ("tidemill.rows", None, "has broken marks"),
    ],
)
def test_altered_marks_of_a_commit_are_found_at_the_next_read(
    tables: Tables, mark: str, value: str | None, told: str
) -> None:
    pinned = tables.create("weather", some("a", "b").drop("at"))
    path, lines = entries(tables, "weather", 0)
    for line in lines:
        if "commitInfo" in line:
            line["commitInfo"].pop(mark)
            line["commitInfo"] |= {} if value is None else {mark: value}
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert anew(tables).frame(pinned).height == 2  # what was pinned before is as it was
    done = subprocess.run(
        [sys.executable, "-c", CHANGES, tables.root], capture_output=True, text=True, check=True, timeout=60
    )
    assert told in done.stdout


def test_a_verified_version_is_read_again_without_a_digest(tables: Tables) -> None:
    pinned = tables.create("weather", some("a"))
    fresh = anew(tables)
    fresh.scan(pinned)
    some("b").write_parquet(files(tables, "weather")[0])
    # once a process is the contract: what changes under a running process shows in the next one
    fresh.scan(pinned)
    with pytest.raises(Corrupt):
        anew(tables).scan(pinned)


# ------------------------------------------------------------------------------------------------------ at once, killed

APPENDS = """
import sys
import polars as pl
from tidemill.core.tables import Tables
tables = Tables(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    tables.create("log", pl.DataFrame({"key": [f"{sys.argv[2]}-{number}"], "value": [number]}))
"""


def test_two_processes_append_at_once_and_no_error_reaches_them(tables: Tables) -> None:
    command = [sys.executable, "-W", "error", "-c", APPENDS, tables.root]
    both = [
        subprocess.Popen(
            [*command, who], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for who in "ab"
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    pinned = tables.latest("log")
    assert (pinned.version, pinned.rows) == (49, 50)
    assert sorted(tables.frame(pinned)["key"]) == sorted(f"{who}-{number}" for who in "ab" for number in range(25))


def test_updates_and_appends_that_race_lose_nothing(tables: Tables) -> None:
    from concurrent.futures import ThreadPoolExecutor

    tables.create("weather", some("a"))
    work = [lambda n=n: anew(tables).append("weather", some(f"new{n}")) for n in range(6)]
    work += [lambda n=n: anew(tables).update("weather", some(f"up{n}", temp=2.0), key="key") for n in range(6)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda each: each(), work))
    assert sorted(pin.version for pin in made) == list(range(1, 13))
    there = anew(tables).frame(tables.latest("weather"))
    assert sorted(there["key"]) == sorted(["a", *(f"{how}{n}" for how in ("new", "up") for n in range(6))])
    for pin in made:
        anew(tables).frame(pin)


KILLED = """
import sys
import polars as pl
from tidemill.core.tables import Tables
tables = Tables(sys.argv[1])
for number in range(10_000):
    pinned = tables.create("log", pl.DataFrame({"key": [number]}))
    print(pinned.version, pinned.rows, pinned.digest, flush=True)
"""


def test_acknowledged_appends_survive_kill_9_and_the_table_goes_on(tables: Tables) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, tables.root], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline().split() for _ in range(8)]
    process.kill()
    process.stdout.close()
    process.wait(10)
    for version, rows, digest in lines:
        assert tables.frame(Pinned("log", int(version), int(rows), digest)).height == int(rows)
    newest = tables.latest("log")
    assert newest.rows >= 8
    assert tables.frame(tables.append("log", pl.DataFrame({"key": [-1]}))).height == newest.rows + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_said_and_leaves_the_table_as_it_was(small_disk: Path) -> None:
    tables = Tables(str(small_disk / "tables"))
    pinned = tables.create("weather", some("a"))
    big = pl.DataFrame({"key": [os.urandom(16).hex() for _ in range(100_000)]})
    big = big.with_columns(temp=pl.lit(0.5), at=pl.lit(AT))
    with pytest.raises(NoRoom, match=r"cannot write to .*; free space, then run it again"):
        tables.append("weather", big)
    assert anew(tables).latest("weather") == pinned
    assert anew(tables).frame(pinned).equals(some("a"))


# ------------------------------------------------------------------------------------------------- names and schemas


@pytest.mark.parametrize("name", ["weather", "predictions/late", "a.b-c_1/x", "2013"])
def test_names_may_have_parts(tables: Tables, name: str) -> None:
    assert not tables.exists(name)
    pinned = tables.create(name, some("a"))
    assert tables.exists(name)
    assert anew(tables).frame(pinned).height == 1


@pytest.mark.parametrize(
    "name", ["", "/", "../x", "a/../b", "/etc", "a//b", "a/", ".", ".hidden", "a b", "a\nb", "é", "x?y"]
)
def test_names_that_could_lead_elsewhere_are_refused(tables: Tables, name: str, tmp_path: Path) -> None:
    for what in (tables.exists, tables.latest, lambda name: tables.create(name, some("a"))):
        with pytest.raises(BadInput, match="is no table name; allowed are letters, digits"):
            what(name)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_no_folder_can_have_is_refused(tables: Tables) -> None:
    with pytest.raises(BadInput, match="too long for a table's name: 256 characters of 255"):
        tables.create(f"a/{'b' * 256}", some("a"))


@pytest.mark.parametrize("column", ["*", "^x$", "^$"])
def test_a_column_that_is_named_as_a_pattern_is_refused(tables: Tables, column: str) -> None:
    with pytest.raises(BadInput, match="is named as a pattern of columns is; rename it"):
        tables.create("t", some("a").with_columns(pl.lit(1).alias(column)))


def test_a_table_that_is_not_there_is_not_found(tables: Tables) -> None:
    for what in (
        lambda: tables.latest("weather"),
        lambda: tables.append("weather", some("a")),
        lambda: tables.replace("weather", some("a")),
        lambda: tables.delete("weather", ["a"], key="key"),
    ):
        with pytest.raises(NotFound, match=f"no table 'weather' in {tables.root}; add rows to it first"):
            what()


def test_no_rows_are_no_version(tables: Tables) -> None:
    with pytest.raises(EmptyInput, match="no rows to write to table weather; give at least one"):
        tables.create("weather", some())
    tables.create("weather", some("a"))
    with pytest.raises(EmptyInput):
        tables.append("weather", some())
    assert tables.latest("weather").version == 0


@pytest.mark.parametrize(
    ("rows", "error", "told"),
    [
        (
            some("b").rename({"temp": "tmp"}),
            UnknownColumn,
            "no column 'tmp' in table weather; it has key, temp, at. Did you mean 'temp'?",
        ),
        (some("b").drop("temp"), UnknownColumn, "no column 'temp' in the rows for table weather; it has key, at."),
        (some("b").with_columns(more=1), UnknownColumn, "no column 'more' in table weather; it has key, temp, at."),
        (
            some("b").with_columns(temp=pl.lit(1)),
            WrongType,
            "column 'temp' of the rows for table weather is Int32, in table weather it is Float64; cast it",
        ),
        (
            some("b").with_columns(pl.col("at").dt.replace_time_zone(None)),
            WrongType,
            "column 'at' of the rows for table weather is Datetime(time_unit='us', time_zone=None), "
            "in table weather it is Datetime(time_unit='us', time_zone='UTC'); cast it",
        ),
    ],
    ids=["misspelt", "too few", "too many", "number", "zone"],
)
def test_rows_that_do_not_fit_are_named(tables: Tables, rows: pl.DataFrame, error: type[Exception], told: str) -> None:
    first = tables.create("weather", some("a"))
    for write in (lambda: tables.append("weather", rows), lambda: tables.update("weather", rows, key="key")):
        with pytest.raises(error) as caught:
            write()
        assert str(caught.value) == told
    assert tables.latest("weather") == first


def test_columns_in_another_order_and_columns_of_nulls_fit(tables: Tables) -> None:
    tables.create("weather", some("a"))
    pinned = tables.append("weather", some("b").with_columns(temp=None).select("at", "key", "temp"))
    assert anew(tables).frame(pinned).filter(key="b").to_dicts() == [{"key": "b", "temp": None, "at": AT}]


SPREAD: dict[str, tuple[pl.Series, Any]] = {
    "bytes": (pl.Series([1, 255], dtype=pl.UInt8), pl.Int16),
    "words": (pl.Series([1, 65_535], dtype=pl.UInt16), pl.Int32),
    "counts": (pl.Series([1, 2**32 - 1], dtype=pl.UInt32), pl.Int64),
    "sizes": (pl.Series([1, 2**60], dtype=pl.UInt64), pl.Int64),
    "category": (pl.Series(["x", None], dtype=pl.Categorical), pl.String),
    "enumeration": (pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])), pl.String),
    "nanoseconds": (pl.Series([AT, None], dtype=pl.Datetime("ns", "UTC")), pl.Datetime("us", "UTC")),
    "milliseconds": (pl.Series([AT.replace(tzinfo=None), None], dtype=pl.Datetime("ms")), pl.Datetime("us")),
    "new york": (pl.Series([AT, None]).dt.convert_time_zone("America/New_York"), pl.Datetime("us", "UTC")),
    "single": (pl.Series([1.5, float("nan")], dtype=pl.Float32), pl.Float32),
    "money": (pl.Series(["1.50", None]).cast(pl.Decimal(10, 2)), pl.Decimal(10, 2)),
    "binary": (pl.Series([b"\xff", b""]), pl.Binary),
    "list": (pl.Series([[1, 2], []]), pl.List(pl.Int64)),
    "struct": (pl.Series([{"x": 1}, {"x": None}]), pl.Struct({"x": pl.Int64})),
}


@pytest.mark.parametrize("kind", SPREAD)
def test_every_type_comes_back_with_its_digest_and_can_be_appended_again(tables: Tables, kind: str) -> None:
    values, stored = SPREAD[kind]
    frame = pl.DataFrame({"value": values})
    tables.create("spread", frame)
    pinned = tables.append("spread", frame)
    there = anew(tables).frame(pinned)
    assert there.schema["value"] == stored
    assert there["value"].equals(pl.concat([values, values]).cast(stored), null_equal=True)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (pl.Series([time(5)]), "is Time, which no table holds; cast it to a number"),
        (pl.Series([timedelta(1)]), "which no table holds; cast it to a number"),
        (pl.Series([None]), "is Null, which no table holds; cast it to the type it will have"),
        (pl.Series([2**63], dtype=pl.UInt64), "hold numbers beyond 64 bits with a sign"),
    ],
    ids=["time of day", "duration", "nothing", "too big"],
)
def test_what_no_table_holds_is_said_before_anything_is_written(tables: Tables, value: pl.Series, told: str) -> None:
    with pytest.raises(WrongType, match=told):
        tables.create("spread", pl.DataFrame({"value": value}))
    assert not tables.exists("spread")


def test_update_and_delete_name_what_is_wrong_with_the_keys(tables: Tables) -> None:
    tables.create("weather", some("a"))
    with pytest.raises(
        UnknownColumn, match=r"no column 'kee' in table weather; it has key, temp, at\. Did you mean 'key'"
    ):
        tables.delete("weather", ["a"], key="kee")
    with pytest.raises(WrongType, match="the keys are not String, as column 'key' of table weather is"):
        tables.delete("weather", [1], key="key")
    with pytest.raises(BadInput, match="nulls or repeated values in key column 'key'"):
        tables.update("weather", some("b", "b"), key="key")
    assert tables.latest("weather").version == 0


# ------------------------------------------------------------------------------------------------------------- streams


def parts(*names: str) -> Iterator[pl.DataFrame]:
    yield from (some(name) for name in names)


def breaking(*names: str) -> Iterator[pl.DataFrame]:
    yield from parts(*names)
    raise RuntimeError("the line was cut")


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for each batch."""
    monkeypatch.setattr("tidemill.core.delta.table_files.FILE_BYTES", 1)


@pytest.mark.usefixtures("small_files")
def test_a_stream_is_one_version_with_the_marks_of_its_rows(tables: Tables) -> None:
    first = tables.write_stream("weather", parts("a", "b", "c"))
    assert (first.version, first.rows, first.digest) == (0, 3, as_text(rows_digest(some("a", "b", "c"))))
    assert len(files(tables, "weather")) == 3
    second = tables.write_stream("weather", parts("d", "e"), parent=first)
    assert (second.version, second.rows) == (1, 5)
    third = tables.write_stream("weather", (pl.DataFrame({"other": [n]}) for n in (1, 2)), mode="replace")
    assert (third.version, third.rows) == (2, 2)
    later = anew(tables)
    assert later.latest("weather") == third
    assert sorted(later.frame(first)["key"]) == ["a", "b", "c"]
    assert sorted(row for batch in later.batches(second) for row in batch["key"]) == ["a", "b", "c", "d", "e"]
    assert sorted(later.frame(third)["other"]) == [1, 2]
    assert anew(tables).append("weather", pl.DataFrame({"other": [3]})).rows == 3
    assert DeltaTable(tables.uri("weather")).metadata().configuration["delta.enableExpiredLogCleanup"] == "false"


@pytest.mark.usefixtures("small_files")
def test_a_stream_that_breaks_leaves_nothing(tables: Tables) -> None:
    with pytest.raises(RuntimeError, match="the line was cut"):
        tables.write_stream("weather", breaking("a", "b"))
    assert not tables.exists("weather")
    assert files(tables, "weather") == []
    first = tables.create("weather", some("a"))
    with pytest.raises(RuntimeError, match="the line was cut"):
        tables.write_stream("weather", breaking("b", "c"))
    with pytest.raises(WrongType, match="column 'temp' of the rows for table weather is String"):
        tables.write_stream("weather", iter([some("b"), some("c").with_columns(temp=pl.lit("warm"))]))
    with pytest.raises(EmptyInput, match="no rows to write to table weather"):
        tables.write_stream("weather", iter([some()]))
    assert tables.latest("weather") == first
    assert len(files(tables, "weather")) == 1


def test_a_stream_onto_another_parent_is_a_conflict_and_leaves_nothing(tables: Tables) -> None:
    first = tables.create("weather", some("a"))
    second = tables.append("weather", some("b"))
    with pytest.raises(Conflict, match="table weather is at version 1, not at 0; read it again, then retry"):
        tables.write_stream("weather", parts("c"), parent=first)
    assert tables.latest("weather") == second
    assert len(files(tables, "weather")) == 2

    def meanwhile() -> Iterator[pl.DataFrame]:
        yield some("c")
        anew(tables).replace("weather", pl.DataFrame({"other": [1]}))

    with pytest.raises(Conflict, match="table weather has other columns since version 2; read it again, then retry"):
        tables.write_stream("weather", meanwhile())


def test_a_stream_whose_table_grew_meanwhile_comes_after_it(tables: Tables) -> None:
    tables.create("weather", some("a"))

    def meanwhile() -> Iterator[pl.DataFrame]:
        yield some("c")
        anew(tables).append("weather", some("b"))

    done = tables.write_stream("weather", meanwhile())
    assert (done.version, done.digest) == (2, as_text(rows_digest(some("a", "b", "c"))))
    assert anew(tables).frame(done).height == 3


def test_two_streams_that_both_find_no_table_are_two_versions(tables: Tables) -> None:
    def meanwhile() -> Iterator[pl.DataFrame]:
        yield some("b")
        anew(tables).write_stream("weather", parts("a"))

    done = tables.write_stream("weather", meanwhile())
    assert (done.version, done.rows) == (1, 2)
    assert sorted(anew(tables).frame(done)["key"]) == ["a", "b"]


@pytest.mark.parametrize("kind", SPREAD)
def test_every_type_goes_through_a_stream(tables: Tables, kind: str) -> None:
    values, stored = SPREAD[kind]
    frame = pl.DataFrame({"value": values})
    tables.create("spread", pl.DataFrame({"other": [1]}))
    tables.write_stream("spread", iter([frame]), mode="replace")
    pinned = tables.append("spread", frame)
    there = anew(tables).frame(pinned)
    assert there.schema["value"] == stored
    assert there["value"].equals(pl.concat([values, values]).cast(stored), null_equal=True)
    fresh = anew(tables).write_stream("fresh", iter([frame, frame]))
    assert fresh.digest == pinned.digest


def test_the_statistics_of_a_stream_hold_for_other_readers(tables: Tables) -> None:
    at = datetime(2013, 4, 1, 5, 30, 0, 123_456, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "key": ["a", None, "c" * 100],
            "n": [3, 1, 2],
            "x": [1.5, float("nan"), None],
            "y": [0.5, float("inf"), 1.0],
            "at": [at, at + timedelta(microseconds=1), at],
            "day": [at.date()] * 3,
        }
    )
    pinned = tables.write_stream("weather", iter([frame]))
    _, lines = entries(tables, "weather", 0)
    [stats] = [json.loads(line["add"]["stats"]) for line in lines if "add" in line]
    assert stats == {
        "numRecords": 3,
        "minValues": {"n": 1, "at": "2013-04-01T05:30:00.123456Z", "day": "2013-04-01"},
        "maxValues": {"n": 3, "at": "2013-04-01T05:30:00.123457Z", "day": "2013-04-01"},
        "nullCount": {"key": 1, "n": 0, "x": 1, "y": 0, "at": 0, "day": 0},
    }
    rows = anew(tables).scan(pinned)
    assert rows.filter(pl.col("at") > at).collect()["n"].to_list() == [1]
    assert rows.filter(pl.col("x").is_null() | pl.col("y").is_infinite()).collect().height == 2


KILLED_STREAM = """
import os, signal, sys
import polars as pl
import tidemill.core.delta.table_files as table_files
from tidemill.core.tables import Tables

table_files.FILE_BYTES = 1

def batches():
    yield pl.DataFrame({"key": ["y"]})
    yield pl.DataFrame({"key": ["z"]})
    os.kill(os.getpid(), signal.SIGKILL)

Tables(sys.argv[1]).write_stream("weather", batches())
"""


def test_a_stream_that_is_killed_leaves_nothing_visible(tables: Tables) -> None:
    first = tables.create("weather", some("a").select("key"))
    subprocess.run([sys.executable, "-c", KILLED_STREAM, tables.root], check=False)
    assert len(files(tables, "weather")) == 3
    assert tables.latest("weather") == first
    assert anew(tables).frame(first)["key"].to_list() == ["a"]
    done = anew(tables).write_stream("weather", iter([pl.DataFrame({"key": ["b"]})]), parent=first)
    assert sorted(anew(tables).frame(done)["key"]) == ["a", "b"]
