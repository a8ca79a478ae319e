"""Text in blocks of whole lines: how a text file of any size, plain or packed, is read in bounded memory."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tidemill.core.errors import BadInput

BLOCK_BYTES = 8 << 20
LONGEST_BYTES = 64 << 20  # a quoted value longer than this is a stray quote
MARK = b"\xef\xbb\xbf"


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """The bytes of the text: of the file itself, of a gzip file, or of the one file within a zip file."""
    name = path.name.lower()
    if name.endswith(".gz"):
        with gzip.open(path) as file:
            yield file
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            inside = [each for each in archive.namelist() if not each.endswith("/") and "__MACOSX" not in each]
            if len(inside) != 1:
                raise BadInput(f"{path} holds {len(inside)} files ({', '.join(inside[:5])}); it must hold one CSV file")
            with archive.open(inside[0]) as file:
                yield file
    else:
        with path.open("rb") as file:
            yield file


def blocks(path: Path, *, quoted: bool = False) -> Iterator[bytes]:
    """The text in blocks that end with a line. quoted: a line break within double quotes ends no line."""
    with opened(path) as file:
        kept = b""
        first = True
        while data := file.read(BLOCK_BYTES):
            if first:
                data, first = data.removeprefix(MARK), False
            kept += data
            end = _last_line(kept, quoted=quoted)
            if end == 0 and len(kept) > LONGEST_BYTES:
                end = kept.rfind(b"\n") + 1
            if end:
                yield kept[:end]
                kept = kept[end:]
        if kept:
            yield kept


def _last_line(data: bytes, *, quoted: bool) -> int:
    """The place after the last line break that ends a line, 0 for none."""
    end = data.rfind(b"\n")
    if not quoted:
        return end + 1
    # Outside quotes the number of quotes before is even, as an escaped quote is written as two.
    odd = data.count(b'"', 0, max(end, 0)) % 2
    while end >= 0 and odd:
        before = data.rfind(b"\n", 0, end)
        odd = (odd - data.count(b'"', max(before, 0), end)) % 2
        end = before
    return end + 1
