"""The wire format of protobuf, as far as reading goes: the fields of a message, one after another.

Source: https://protobuf.dev/programming-guides/encoding/. Groups, which nothing made in this century has, are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tidemill.core.errors import BadInput

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_MESSAGES = 500_000  # in one request: an empty one takes two bytes, and what is made of it hundreds
DEEPEST = 100  # messages in one another, as protobuf's own readers have it


class Reader:
    """A message to be read. Raises BadInput for what is none."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._messages = 0

    def fields(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
        """Each field as (number, wire type, value, 0), and one of bytes as (number, BYTES, start, end)."""
        self._messages += 1
        if self._messages > MOST_MESSAGES:
            raise BadInput(f"a request of more than {MOST_MESSAGES} messages in one another; send it in several")
        data, at = self.data, start
        stop = len(data) if end is None else end
        while at < stop:
            tag = data[at]
            if tag < 0x80:
                at += 1
            else:
                tag, at = self._varint(at, stop)
            number, kind = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise BadInput(f"no protobuf message: field {number} at byte {at}")
            if kind == BYTES:
                size, at = self._varint(at, stop)
                if size > stop - at:
                    raise BadInput(f"no protobuf message: field {number} at byte {at} has {size} bytes, not all there")
                yield number, BYTES, at, at + size
                at += size
            elif kind == VARINT:
                value, at = self._varint(at, stop)
                yield number, VARINT, value, 0
            elif kind in (FIXED64, FIXED32):
                size = 8 if kind == FIXED64 else 4
                if size > stop - at:
                    raise BadInput(f"no protobuf message: it ends within field {number}")
                yield number, kind, int.from_bytes(data[at : at + size], "little"), 0
                at += size
            else:
                raise BadInput(f"no protobuf message: field {number} at byte {at} is of wire type {kind}")

    def text(self, start: int, end: int) -> str:
        """A string. NUL, which databases do not take, becomes U+FFFD."""
        try:
            found = self.data[start:end].decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"no protobuf message: a text at byte {start} is no UTF-8 ({error.reason})") from error
        return found.replace("\x00", "\ufffd") if "\x00" in found else found

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        data, value, shift = self.data, 0, 0
        while at < stop and shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
            shift += 7
        raise BadInput(f"no protobuf message: a number at byte {at} has no end")


def signed(value: int) -> int:
    """An int64 as it is kept in a varint."""
    return value - (1 << 64) if value >= 1 << 63 else value


def double(value: int) -> float:
    """A double as its bits."""
    return float(struct.unpack("<d", value.to_bytes(8, "little"))[0])
