"""Files of rows: each format gives the same rows; what cannot be read says why and what to do."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tidemill.core.errors import BadInput, EmptyInput, NotFound
from tidemill.data.sources import read

ROWS = pl.DataFrame({"id": [1, 2], "carrier": ["AA", None], "temp": [1.5, None]})
CSV = b"id,carrier,temp\n1,AA,1.5\n2,NA,\n"


def zipped(**files: bytes) -> bytes:
    """A zip archive of these files."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return target.getvalue()


def written(write: Callable[[pl.DataFrame, io.BytesIO], object]) -> bytes:
    """ROWS as some writer writes them."""
    target = io.BytesIO()
    write(ROWS, target)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", CSV),
        ("ROWS.CSV", CSV),
        ("rows.csv", b"\xef\xbb\xbf" + CSV),
        ("rows.csv", CSV.replace(b"\n", b"\r\n")),
        ("rows.csv.gz", gzip.compress(CSV)),
        ("rows.csv.zip", zipped(flights__csv=CSV)),
        ("rows.jsonl", b'{"id":1,"carrier":"AA","temp":1.5}\n{"id":2,"carrier":null,"temp":null}\n'),
        ("rows.parquet", written(pl.DataFrame.write_parquet)),
        ("rows.arrow", written(pl.DataFrame.write_ipc)),
    ],
    ids=["csv", "capitals", "byte order mark", "CRLF", "gzip", "zip", "jsonl", "parquet", "arrow"],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name).equals(ROWS)


def test_a_column_of_dates_is_read_as_dates(tmp_path: Path) -> None:
    (tmp_path / "days.csv").write_text("day\n2013-01-01\n2013-01-02\n")
    assert read(tmp_path / "days.csv").schema["day"] == pl.Date


def test_a_type_that_shows_only_in_the_last_row_is_seen(tmp_path: Path) -> None:
    (tmp_path / "late.csv").write_text("n\n" + "1\n" * 5000 + "x\n")
    assert read(tmp_path / "late.csv").schema["n"] == pl.String


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.csv.zip", "rows.jsonl", "rows.parquet"])
def test_an_empty_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(EmptyInput) as caught:
        read(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name} is empty; a file of rows is needed"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [("h.csv", b"id,carrier\n"), ("h.csv.gz", gzip.compress(b"id,carrier\n")), ("n.jsonl", b"\n"), ("n.csv", b"\n\n")],
)
def test_a_file_without_rows_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((EmptyInput, BadInput), match=name):
        read(tmp_path / name)


def test_an_unknown_ending_says_which_are_known(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"rows\.xlsx has an ending that is not known; allowed are \.csv, \.csv\.gz"):
        read(tmp_path / "rows.xlsx")


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "flights.csv").write_bytes(CSV)
    with pytest.raises(NotFound, match=r"no file .*flight\.csv\. Did you mean 'flights\.csv'\?"):
        read(tmp_path / "flight.csv")


def test_a_missing_folder_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file .*nowhere"):
        read(tmp_path / "nowhere" / "flights.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ragged.csv", b"a,b\n1,2,3\n"),
        ("latin.csv", "name\nÉtude\n".encode("latin1")),
        ("bad.csv.gz", b"not gzip"),
        ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n" * 999)[:25]),
        ("bad.csv.zip", b"PK not zip"),
        ("bad.jsonl", b'{"a": 1}\n{"a"'),
        ("bad.parquet", b"PAR1 not parquet"),
        ("bad.arrow", b"not arrow"),
    ],
)
def test_broken_content_names_the_file_and_what_it_was_taken_for(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    ending = name.partition(".")[2]
    with pytest.raises(BadInput, match=f"{name} cannot be read as .{ending}: "):
        read(tmp_path / name)


def test_an_archive_must_hold_one_file(tmp_path: Path) -> None:
    (tmp_path / "two.csv.zip").write_bytes(zipped(a__csv=CSV, b__csv=CSV))
    with pytest.raises(BadInput, match=r"holds 2 files \(a\.csv, b\.csv\); it must hold one CSV file"):
        read(tmp_path / "two.csv.zip")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,,temp", "column 2 of 3 has no name in the header; give it one"),
        ("id,temp,id", "names column 'id' twice in its header; rename one"),
        ("1,2,3", "has no header: its first line is 1, 2, 3; put column names there"),
    ],
)
def test_a_bad_header_is_named(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text(f"{header}\n4,5,6\n")
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "rows.csv")
    assert str(caught.value).endswith(message)
