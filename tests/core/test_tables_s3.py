"""Tables in S3 (a real server process), as a user who names an endpoint has them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import polars as pl
import pytest

from tidemill.core.errors import Corrupt, NotFound
from tidemill.core.tables import Tables

APPEND_SIX = """
import sys
from collections.abc import Iterator
import polars as pl
from tidemill.core.tables import Tables

for number in range(6):
    Tables(sys.argv[1]).append("flights", pl.DataFrame({"id": [f"{sys.argv[2]}{number}"]}))
"""


@pytest.fixture
def tables(bucket: str) -> Tables:
    return Tables(f"s3://{bucket}/some/tables")


def test_a_pinned_version_comes_back_from_s3(tables: Tables) -> None:
    first = tables.create("flights", pl.DataFrame({"id": ["a", "b"]}))
    later = tables.delete("flights", ["a"], key="id")
    assert Tables(tables.root).frame(first)["id"].to_list() == ["a", "b"]
    assert Tables(tables.root).frame(later)["id"].to_list() == ["b"]
    assert tables.exists("flights")
    assert not tables.exists("nothing")


def test_a_table_that_is_not_there_is_not_found_in_s3(tables: Tables) -> None:
    with pytest.raises(NotFound, match="no table 'flights' in s3://"):
        tables.latest("flights")


def test_an_object_that_is_gone_is_corrupt(tables: Tables) -> None:
    import obstore
    import obstore.store

    pinned = tables.create("flights", pl.DataFrame({"id": ["a"]}))
    bucket, _, prefix = tables.root.removeprefix("s3://").partition("/")
    store = obstore.store.S3Store(bucket, prefix=f"{prefix}/flights", client_options={"allow_http": True})
    for part in store.list():
        for each in part:
            if str(each["path"]).endswith(".parquet"):
                store.delete(str(each["path"]))
    with pytest.raises(Corrupt, match="table flights version 0 cannot be read"):
        Tables(tables.root).frame(pinned)


@pytest.mark.slow
def test_two_processes_append_in_s3_at_once_and_no_error_reaches_them(tables: Tables) -> None:
    tables.create("flights", pl.DataFrame({"id": ["first"]}))
    both = [subprocess.Popen([sys.executable, "-c", APPEND_SIX, tables.root, name]) for name in "pq"]
    assert [each.wait() for each in both] == [0, 0]
    newest = tables.latest("flights")
    expected = ["first", *(f"{name}{number}" for name in "pq" for number in range(6))]
    assert sorted(tables.frame(newest)["id"].to_list()) == sorted(expected)


def test_a_stream_goes_to_s3_and_leaves_nothing_there_when_it_breaks(tables: Tables) -> None:
    import obstore
    import obstore.store

    def breaking() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"id": ["c"]})
        raise RuntimeError("the line was cut")

    first = tables.write_stream("flights", iter([pl.DataFrame({"id": ["a"]}), pl.DataFrame({"id": ["b"]})]))
    with pytest.raises(RuntimeError, match="the line was cut"):
        tables.write_stream("flights", breaking())
    assert Tables(tables.root).frame(first)["id"].to_list() == ["a", "b"]
    bucket, _, prefix = tables.root.removeprefix("s3://").partition("/")
    store = obstore.store.S3Store(bucket, prefix=f"{prefix}/flights", client_options={"allow_http": True})
    names = [str(each["path"]) for part in store.list() for each in part]
    assert len([name for name in names if name.endswith(".parquet")]) == 1
