"""Cut a stream of bytes where its content says so: an insertion moves the cuts near it and leaves all others alone.

A gear hash rolls over the last 32 bytes; a chunk ends where its highest bits are zero, at least MIN_BYTES and at most
MAX_BYTES after its start. Below NORMAL_BYTES two more bits than the mean asks for must be zero, above it two fewer, so
that sizes crowd around NORMAL_BYTES. The hash of a place depends on the bytes before it only, not on where the chunk
began, so numpy computes it for a whole block at once, by doubling the window five times.
Source: Xia et al., FastCDC, USENIX ATC 2016 (gear hash, normalised chunking at level 2).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

MIN_BYTES = 16 << 10
NORMAL_BYTES = 64 << 10
MAX_BYTES = 256 << 10
WINDOW = 32
# A hash is below 2**(32 - bits) with probability 2**-bits: 18 bits before the normal size (2**16), 14 bits after it.
STRICT = 1 << (32 - 18)
LOOSE = 1 << (32 - 14)
READ_BYTES = 4 << 20
CACHED_BYTES = 128 << 10  # hashed at once: with its two arrays of 4 bytes a place it stays in a core's cache

Hashes = np.ndarray[Any, np.dtype[np.uint32]]

# Any fixed table of random words will do; this one can be made again by everybody.
GEAR = np.array([int.from_bytes(hashlib.sha256(bytes([byte])).digest()[:4], "little") for byte in range(256)], "<u4")


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The content of `file` from where it stands, as chunks in order; their concatenation is the content.

    The cuts depend on the content alone, not on how it is read. Memory: about READ_BYTES. An empty file has no chunks.
    """
    held = b""  # begins where the next chunk begins
    strict: list[int] = []  # places in `held` after which a chunk may end
    loose: list[int] = []
    hashed = 0  # so many bytes of `held` were looked at
    before = b""  # the WINDOW - 1 bytes in front of what was not looked at yet
    while block := file.read(READ_BYTES):
        held += block
        for start in range(0, len(block), CACHED_BYTES):
            part = block[start : start + CACHED_BYTES]
            found = _ends(before, part)
            strict.extend((found[0] + hashed).tolist())
            loose.extend((found[1] + hashed).tolist())
            hashed += len(part)
            before = (before + part)[-(WINDOW - 1) :]
        at = 0
        while len(held) - at >= MAX_BYTES:
            end = _end(at, len(held), strict, loose)
            yield held[at:end]
            at = end
        held, hashed = held[at:], hashed - at
        strict = [place - at for place in strict[bisect_left(strict, at) :]]
        loose = [place - at for place in loose[bisect_left(loose, at) :]]
    at = 0
    while at < len(held):
        end = _end(at, len(held), strict, loose)
        yield held[at:end]
        at = end


def _ends(before: bytes, part: bytes) -> tuple[Any, Any]:  # Any: index arrays of numpy
    """The places in `part` after which a chunk may end: by the strict rule, and by the loose one."""
    hashes = _hashes(before, part)
    loose = np.flatnonzero(hashes < LOOSE)
    return loose[hashes[loose] < STRICT] + 1, loose + 1


def _hashes(before: bytes, part: bytes) -> Hashes:
    """The gear hash after each byte of `part`: the sum of GEAR[byte k places back] << k, k < WINDOW, modulo 2**32."""
    places = np.frombuffer(before + part, np.uint8)
    hashes = GEAR[places]
    width = 1
    while width < WINDOW:
        hashes[width:] += hashes[:-width] << np.uint32(width)
        width *= 2
    return hashes[len(before) :]


def _end(start: int, size: int, strict: list[int], loose: list[int]) -> int:
    """Where the chunk that begins at `start` ends, at most at `size`."""
    for places, first, last in (
        (strict, start + MIN_BYTES, start + NORMAL_BYTES),
        (loose, start + NORMAL_BYTES, start + MAX_BYTES),
    ):
        found = bisect_left(places, first)
        if found < len(places) and places[found] < min(last, size):
            return places[found]
    return min(start + MAX_BYTES, size)
