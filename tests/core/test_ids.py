"""Digests, canonical JSON, ids in the order of time, and times as text."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core.errors import BadInput
from tidemill.core.ids import canonical_json, digest, file_digest, iso, json_digest, new_id, parse_time

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones() | st.just(UTC))


def test_a_digest_is_sha256() -> None:
    # NIST's example for FIPS 180-4: the message "abc"
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    assert file_digest(tmp_path / "file") == hashlib.sha256(data).hexdigest() == digest(data)


@given(JSON)
def test_canonical_json_reads_back_and_is_the_same_for_equal_values(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    if isinstance(value, dict):
        assert canonical_json(dict(reversed(value.items()))) == text


def test_canonical_json_has_no_spaces_and_sorted_keys() -> None:
    assert canonical_json({"é": 1, "b": [True, None], "a": {"y": 0.1, "x": "ü"}}) == (
        '{"a":{"x":"ü","y":0.1},"b":[true,null],"é":1}'.encode()
    )
    assert canonical_json({"s": {3, 1, 2}, "t": datetime(2013, 4, 1, tzinfo=UTC)}) == (
        b'{"s":[1,2,3],"t":"2013-04-01T00:00:00.000000Z"}'
    )
    assert json_digest([1, "a"]) == digest(b'[1,"a"]')


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_numbers_that_json_has_not_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


def test_values_that_json_has_not_are_named() -> None:
    with pytest.raises(TypeError, match=r"bytes b'x' is no JSON value; allowed: numbers, text, lists, mappings, times"):
        canonical_json({"a": b"x"})


def test_ids_are_32_digits_in_the_order_of_their_making() -> None:
    made = [new_id() for _ in range(20_000)]  # more than 4,096 in a millisecond
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(len(each) == 32 and set(each) <= set("0123456789abcdef") for each in made)


def test_ids_of_threads_differ() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(500)], range(8)))
    assert len({each for some in made for each in some}) == 4_000
    assert all(some == sorted(some) for some in made)


def test_ids_of_a_forked_process_differ() -> None:
    new_id()
    code = (
        "import os; from tidemill.core.ids import new_id; new_id(); child = os.fork()\n"
        "for _ in range(50): os.write(1, f'{new_id()}\\n'.encode())\n"
        "os.waitpid(child, 0) if child else None"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(set(out)) == len(out) == 100


@given(TIMES)
def test_a_time_reads_back_from_its_text(at: datetime) -> None:
    assert parse_time(iso(at)) == at.astimezone(UTC)
    assert len(iso(at)) == 27


@given(TIMES, TIMES)
def test_the_order_of_texts_is_the_order_of_times(one: datetime, other: datetime) -> None:
    assert (iso(one) < iso(other)) == (one.astimezone(UTC) < other.astimezone(UTC))


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2013-04-01", 0),
        ("2013-04-01T05:00", 5),
        ("2013-04-01 05:00:00", 5),
        ("2013-04-01T05:00:00Z", 5),
        ("2013-04-01T05:00:00-04:00", 9),
    ],
)
def test_times_are_read_as_people_write_them(text: str, hour: int) -> None:
    assert parse_time(text) == datetime(2013, 4, 1, hour, tzinfo=UTC)
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "April", "2013-13-01", "2013-04-31", "01.04.2013"])
def test_a_text_that_is_no_time_is_named(text: str) -> None:
    with pytest.raises(BadInput, match=r"is no time .*; write one such as 2013-04-01 or 2013-04-01T05:30Z") as caught:
        parse_time(text)
    assert str(caught.value).startswith(repr(text))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(BadInput, match=r"time 2013-04-01 00:00:00 has no zone; use datetime\(\.\.\., tzinfo=UTC\)"):
        iso(datetime(2013, 4, 1))
    assert iso(datetime(2013, 4, 1, tzinfo=timezone(timedelta(hours=2)))) == "2013-03-31T22:00:00.000000Z"
