"""Files of rows: each format gives the same rows; what cannot be read says why and what to do."""

from __future__ import annotations

import gzip
import io
import sqlite3
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.core.errors import BadInput, EmptyInput, MissingExtra, NotFound, UnknownColumn, WrongType
from tidemill.data.transfer.sources import open_source, read

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
        ("rows.csv.gz", gzip.compress(CSV, mtime=0)),
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
    [
        ("h.csv", b"id,carrier\n"),
        ("h.csv.gz", gzip.compress(b"id,carrier\n", mtime=0)),
        ("n.jsonl", b"\n"),
        ("n.csv", b"\n\n"),
    ],
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
        ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:25]),
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


# ------------------------------------------------------------------------------------------------------------- sources

MANY = pl.DataFrame(
    {
        "id": range(40),
        "name": [None if n % 7 == 0 else f'say "{n}",\nthen' for n in range(40)],
        "temp": [n / 8 for n in range(40)],
        "at": [datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(40)],
        "late": [n % 3 == 0 for n in range(40)],
    }
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few lines a block."""
    monkeypatch.setattr("tidemill.data.transfer.sources.blocks.BLOCK_BYTES", 100)


def as_csv(frame: pl.DataFrame) -> bytes:
    """As CSV, times in ISO 8601."""
    return frame.write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ").encode()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("name", ["many.csv", "many.csv.gz", "many.csv.zip", "many.parquet", "many.arrow"])
def test_a_file_in_batches_is_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    csv = as_csv(MANY)
    content = {
        "many.csv": csv,
        "many.csv.gz": gzip.compress(csv, mtime=0),
        "many.csv.zip": zipped(many__csv=csv),
    }
    if name in content:
        path.write_bytes(content[name])
    else:
        MANY.write_parquet(path) if name.endswith("parquet") else MANY.write_ipc(path)
    with open_source(str(path)) as source:
        parts = list(source.batches(rows=3))
        assert (source.rows, source.schema) == (40, dict(MANY.schema))
        assert pl.concat(parts).equals(MANY)
        assert max(part.height for part in parts) <= 3
        assert source.size_bytes == path.stat().st_size
        assert source.frame().equals(MANY)  # read again


@pytest.mark.usefixtures("small_blocks")
def test_json_lines_in_batches_have_the_types_of_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    lines = [f'{{"id":{n},"temp":{n}{".5" if n == 39 else ""},"in":{{"x":{n}}}}}' for n in range(40)]
    path.write_text("\n".join([*lines, '{"id":40,"in":{"y":"late"},"tag":["a"]}']) + "\n")
    with open_source(str(path)) as source:
        frame = source.frame()
    assert source.rows == 41
    assert frame.schema == {
        "id": pl.Int64,
        "temp": pl.Float64,
        "in": pl.Struct({"x": pl.Int64, "y": pl.String}),
        "tag": pl.List(pl.String),
    }
    assert frame["temp"].to_list() == [*map(float, range(39)), 39.5, None]
    assert frame["in"][40] == {"x": None, "y": "late"}
    path.write_text('{"id":1}\n' * 20 + '{"id":"one"}\n')
    with pytest.raises(BadInput, match="has a field whose values are of types that do not go together"):
        open_source(str(path))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1"] * 100 + ["2.5"], pl.Float64),
        (["1"] * 100 + ["x"], pl.String),
        (["NA"] * 100 + ["7"], pl.Int64),
        (["NA"] * 100 + ["2013-01-01", "NA"], pl.Date),
        (["2013-01-01"] * 100 + ["soon"], pl.String),
        (["true"] * 100 + ["maybe"], pl.String),
        (["NA"] * 100, pl.String),
        (["007"] * 3 + ["abc"], pl.String),
    ],
    ids=["a fraction", "text", "missing first", "a day at last", "no day", "no truth", "nothing", "zeros"],
)
def test_a_column_has_the_narrowest_type_that_holds_all_its_values(
    tmp_path: Path, values: list[str], kind: pl.DataType
) -> None:
    path = tmp_path / "late.csv"
    path.write_text("id,x\n" + "".join(f"{n},{value}\n" for n, value in enumerate(values)))
    with open_source(str(path)) as source:
        frame = source.frame()
    assert frame.schema["x"] == kind
    if kind == pl.String:
        assert frame["x"].to_list() == [None if value == "NA" else value for value in values]
    else:
        assert frame["x"].null_count() == values.count("NA")


@given(
    st.lists(st.tuples(st.text(alphabet='a",\n;é ', min_size=1), st.integers(-(2**40), 2**40) | st.none()), min_size=1),
    st.integers(8, 64),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_of_any_size_give_the_rows_that_polars_reads_at_once(
    tmp_path: Path, rows: list[tuple[str, int | None]], size: int
) -> None:
    frame = pl.DataFrame(
        {"text": [f"{text}." for text, _ in rows], "n": [n for _, n in rows]}, schema_overrides={"n": pl.Int64}
    )
    path = tmp_path / "any.csv"
    frame.write_csv(path, quote_style="non_numeric")
    whole = pl.read_csv(path, null_values=["", "NA"], infer_schema_length=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tidemill.data.transfer.sources.blocks.BLOCK_BYTES", size)
        with open_source(str(path)) as source:
            assert source.frame().equals(whole, null_equal=True)


def test_columns_and_rows_from_a_value_on_are_all_that_is_read(tmp_path: Path) -> None:
    MANY.write_parquet(tmp_path / "many.parquet")
    MANY.write_ipc(tmp_path / "many.arrow")
    (tmp_path / "many.csv").write_bytes(as_csv(MANY))
    MANY.write_delta(tmp_path / "table")
    late = MANY["at"][30]
    for name in ("many.parquet", "many.arrow", "many.csv", "table"):
        for least in (late, late.isoformat()):
            with open_source(str(tmp_path / name), since=("at", least), columns=["temp", "id"]) as source:
                assert source.frame().sort("id").equals(MANY[30:].select("temp", "id")), name
                assert source.rows is None
        with pytest.raises(UnknownColumn, match="Did you mean 'temp'"):
            open_source(str(tmp_path / name), columns=["tmp"])
        with pytest.raises(WrongType, match=r"column 'id' of .* is Int64; 'x' is none, give one of that type"):
            open_source(str(tmp_path / name), since=("id", "x"))


def test_a_folder_is_its_files_in_order_with_types_for_all(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.csv").write_text("id,x\n1,5\n")
    (tmp_path / "b" / "c.csv").write_text("x,id\n2.5,2\n")
    pl.DataFrame({"id": [3], "x": [7]}).write_parquet(tmp_path / "c.parquet")
    (tmp_path / ".hidden.csv").write_text("other\n1\n")
    (tmp_path / "notes.txt").write_text("no rows")
    with open_source(str(tmp_path)) as source:
        assert source.rows == 3
        assert source.frame().to_dicts() == [{"id": 1, "x": 5.0}, {"id": 2, "x": 2.5}, {"id": 3, "x": 7.0}]
    (tmp_path / "b" / "d.csv").write_text("id,x\n4,warm\n")
    (tmp_path / "c.parquet").unlink()
    with open_source(str(tmp_path)) as source:
        assert source.frame()["x"].to_list() == ["5", "2.5", "warm"]
    (tmp_path / "e.csv").write_text("id,y\n4,1\n")
    with pytest.raises(UnknownColumn, match=r"no column 'x' in .*e.csv; it has id, y"):
        open_source(str(tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NotFound, match=r"no file of rows in folder .*empty; looked for .csv"):
        open_source(str(empty))


def test_a_delta_table_is_read_at_the_version_it_had(tmp_path: Path) -> None:
    MANY.write_delta(tmp_path / "table")
    with open_source(str(tmp_path / "table")) as source:
        MANY.write_delta(tmp_path / "table", mode="append")
        assert source.describe() == f"{tmp_path}/table@0"
        assert source.rows == 40
        assert source.frame().sort("id").equals(MANY)


def test_a_query_is_streamed_and_its_types_hold_all_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.data.transfer.sources.sql.BATCH_ROWS", 3)
    with sqlite3.connect(tmp_path / "a.db") as link:
        link.execute("CREATE TABLE trips (id INTEGER, fare, note TEXT, raw BLOB)")
        link.executemany(
            "INSERT INTO trips VALUES (?, ?, ?, ?)",
            [(n, n if n < 8 else n + 0.5, None if n < 5 else "x", b"\xff") for n in range(10)],
        )
    link.close()
    url = f"sqlite:///{tmp_path}/a.db"
    with open_source(url, query="SELECT * FROM trips ORDER BY id") as source:
        assert source.rows == 10
        batches = [batch.height for batch in source.batches()]
        assert source.schema == {"id": pl.Int64, "fare": pl.Float64, "note": pl.String, "raw": pl.Binary}
        frame = source.frame()
    assert frame["fare"].to_list() == [*map(float, range(8)), 8.5, 9.5]
    assert frame["note"].to_list() == [None] * 5 + ["x"] * 5
    assert batches == [3, 3, 3, 1]
    with open_source(url, query="trips", since=("id", 7), columns=["id"]) as source:
        assert source.frame()["id"].to_list() == [7, 8, 9]
    with open_source(url, query="SELECT id FROM trips WHERE fare > 1 AND id >= :since", since=("id", 8)) as source:
        assert source.frame()["id"].to_list() == [8, 9]


def test_a_database_that_cannot_answer_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    url = f"sqlite:///{tmp_path}/a.db"
    cases: list[tuple[str, str | None, type[Exception], str]] = [
        (url, None, BadInput, "is a database; say which rows: query='SELECT ...', or the name of a table"),
        (url, "nowhere", BadInput, "refused the query: no such table: nowhere; the query was: nowhere"),
        (url, "SELECT 1 AS a, 2 AS a", BadInput, "the query gives column 'a' twice; name one of them AS something"),
        (url, "SELECT 1 AS a UNION ALL SELECT 'x'", WrongType, "column 'a' of the query holds int and str; CAST it"),
        ("nosuch://host/name", "x", BadInput, "nosuch:// is no database that SQLAlchemy knows here; write dialect"),
        (
            "sqlite://host:port/name",
            "x",
            BadInput,
            "sqlite:// is no database that SQLAlchemy knows here; write dialect",
        ),
        ("mysql+pymysql://host/name", "x", MissingExtra, "mysql\\+pymysql:// needs the driver pymysql: pip install"),
        ("http://host/rows.csv", None, BadInput, "no source reads http://; allowed are paths, s3:// and SQLAlchemy's"),
    ]
    for address, query, error, told in cases:
        with pytest.raises(error, match=told):
            open_source(address, query=query)


def test_a_sqlite_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file .*gone\.db"):
        open_source(f"sqlite:///{tmp_path}/gone.db", query="SELECT 1")
    assert not (tmp_path / "gone.db").exists()


def test_no_secret_of_an_address_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        open_source("postgresql://mill:hunter2@127.0.0.1:1/none?password=hunter3", query="SELECT 1")
    assert "hunter" not in str(caught.value)
    (tmp_path / "a.db").touch()
    with open_source(f"sqlite:///{tmp_path}/a.db?timeout=3", query="SELECT 1 AS one") as source:
        assert source.describe() == f"sqlite:///{tmp_path}/a.db: SELECT 1 AS one"


def test_postgresql_types_come_as_they_are(new_database: Callable[[], str]) -> None:
    query = (
        "SELECT 1::smallint AS n, 1.50::numeric AS money, 'x'::text AS t, '2013-01-01 02:00+02'::timestamptz AS at, "
        "'2013-01-01'::date AS day, true AS ok, '6f0fcb39-3a44-4b8a-8a8e-0f0e5a2f0a11'::uuid AS u, "
        "ARRAY[1, 2] AS list, '\\xff'::bytea AS raw, NULL::text AS nothing"
    )
    with open_source(new_database(), query=query) as source:
        assert source.frame().to_dicts() == [
            {
                "n": 1,
                "money": Decimal("1.50"),
                "t": "x",
                "at": datetime(2013, 1, 1, tzinfo=UTC),
                "day": date(2013, 1, 1),
                "ok": True,
                "u": "6f0fcb39-3a44-4b8a-8a8e-0f0e5a2f0a11",
                "list": [1, 2],
                "raw": b"\xff",
                "nothing": None,
            }
        ]


def test_a_prefix_in_s3_is_read_as_a_folder_is(bucket: str, tmp_path: Path) -> None:
    import obstore.store

    store = obstore.store.S3Store(bucket, client_options={"allow_http": True})
    store.put("rows/a.csv", b"id,x\n1,5\n")
    store.put("rows/deep/b.csv", b"id,x\n2,2.5\n")
    store.put("rows/readme.txt", b"no rows")
    store.put("rowsextra/c.csv", b"id,x\n3,1\n")
    with open_source(f"s3://{bucket}/rows") as source:
        assert source.describe() == f"s3://{bucket}/rows"
        assert source.frame().to_dicts() == [{"id": 1, "x": 5.0}, {"id": 2, "x": 2.5}]
    with open_source(f"s3://{bucket}/rowsextra/c.csv", columns=["x"]) as source:
        assert source.frame().to_dicts() == [{"x": 1}]
    with pytest.raises(NotFound, match=r"nothing at s3://.*/nothing; `s3://bucket/prefix` names one object"):
        open_source(f"s3://{bucket}/nothing")
    with pytest.raises(NotFound, match=r"no file of rows in folder s3://.*/rows/readme.txt; looked for .csv"):
        open_source(f"s3://{bucket}/rows/readme.txt")
    with pytest.raises(BadInput, match="'s3:///x' names no bucket; write s3://bucket/prefix"):
        open_source("s3:///x")


@pytest.mark.parametrize("name", ["cut.csv.gz", "cut.csv.zip", "cut.parquet"])
def test_a_file_that_was_cut_short_says_so(tmp_path: Path, name: str) -> None:
    whole = {"cut.csv.gz": gzip.compress(as_csv(MANY)), "cut.csv.zip": zipped(many__csv=as_csv(MANY))}
    path = tmp_path / name
    path.write_bytes(whole.get(name, written(pl.DataFrame.write_parquet))[:-40])
    with pytest.raises(BadInput, match=f"{name} cannot be read"):
        open_source(str(path), types=dict(MANY.schema)).frame()
