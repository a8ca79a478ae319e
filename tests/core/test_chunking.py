"""Chunks: the content decides where they end, however it is read."""

from __future__ import annotations

import hashlib
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.core import chunking
from tidemill.core.chunking import MAX_BYTES, MIN_BYTES, NORMAL_BYTES, chunks


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def cut(data: bytes) -> list[bytes]:
    return list(chunks(io.BytesIO(data)))


def cut_by_the_paper(data: bytes) -> list[bytes]:
    """The same, byte by byte: h = (h << 1) + gear[byte], as FastCDC has it, in 32 bits."""
    gear = [int.from_bytes(hashlib.sha256(bytes([byte])).digest()[:4], "little") for byte in range(256)]
    made, start, h = [], 0, 0
    for place, byte in enumerate(data):
        h = ((h << 1) + gear[byte]) & 0xFFFFFFFF
        size = place + 1 - start
        zero_bits = 18 if size < NORMAL_BYTES else 14
        if size >= MAX_BYTES or (size >= MIN_BYTES and h >> (32 - zero_bits) == 0):
            made.append(data[start : place + 1])
            start = place + 1
    return [*made, data[start:]] if start < len(data) else made


class Trickle(io.BytesIO):
    """Gives fewer bytes than asked for."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.most)


def test_the_cuts_are_those_of_the_byte_by_byte_definition() -> None:
    text = b"".join(b"%d,flight %d,EWR,%d\n" % (n, n * 7919 % 9973, n % 31) for n in range(60_000))
    for data in (noise(1_500_000), text, noise(100_000, 3) + bytes(700_000) + noise(100_000, 4)):
        assert cut(data) == cut_by_the_paper(data)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 900_000), st.integers(1, 400_000), st.integers(0, 5))
def test_how_it_is_read_does_not_move_a_cut(size: int, most: int, seed: int) -> None:
    data = noise(size, seed)
    assert list(chunks(Trickle(data, most))) == cut(data)


def test_sizes_are_within_their_bounds_and_crowd_around_the_normal_one() -> None:
    sizes = [len(chunk) for chunk in cut(noise(16 << 20))]
    assert min(sizes[:-1]) >= MIN_BYTES
    assert max(sizes) <= MAX_BYTES
    assert 0.8 * NORMAL_BYTES < sum(sizes) / len(sizes) < 1.4 * NORMAL_BYTES


def test_an_insertion_changes_only_the_chunks_around_it() -> None:
    data = noise(8 << 20)
    old, new = cut(data), cut(data[:3_000_000] + b"inserted" + data[3_000_000:])
    assert len(set(new) - set(old)) <= 3


def test_bytes_that_are_all_alike_end_at_the_largest_size() -> None:
    assert [len(chunk) for chunk in cut(bytes(600_000))] == [MAX_BYTES, MAX_BYTES, 600_000 - 2 * MAX_BYTES]


def test_nothing_has_no_chunks() -> None:
    assert cut(b"") == []


@pytest.mark.parametrize(("byte", "word"), [(0, "6e340b9c"), (1, "4bf5122f"), (255, "a8100ae6")])
def test_the_table_of_random_words_never_changes(byte: int, word: str) -> None:
    # stored chunks are found again only by the same cuts; words from coreutils: printf '\\x01' | sha256sum
    assert int(chunking.GEAR[byte]) == int.from_bytes(bytes.fromhex(word), "little")
