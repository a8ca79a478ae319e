"""The index of packs (tidemill.core.packs): which piece is where, and which files are made of which pieces.

An index blob is a line of JSON, format first, and three arrays. Which blobs count is a fold over the events of subject
"packs": each names those that it adds, those that it replaces, and the packs that are gone. Blobs are named by content,
so what was read once is kept.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tidemill.core.errors import NotFound, WrongFormat
from tidemill.core.ids import canonical_json
from tidemill.core.store import require_digest
from tidemill.core.workspace import Workspace

SUBJECT = "packs"
FORMAT = 1
MERGE_AT = 32  # index blobs; a reader opens all of them
KEPT = 4  # merged indexes in memory
DIGESTS = re.compile("[0-9a-f]*")

PIECE = np.dtype([("digest", "S32"), ("pack", "<u4"), ("start", "<u8"), ("size", "<u4")])
FILE = np.dtype([("digest", "S32"), ("size", "<u8"), ("first", "<u8"), ("count", "<u4")])
Array = np.ndarray[Any, np.dtype[Any]]  # Any: structured arrays of the two dtypes above, or of S32


class Place(NamedTuple):
    """Where a piece is: in which pack, from which byte, how many bytes."""

    digest: str
    pack: str
    start: int
    size_bytes: int


class Rows(NamedTuple):
    """Rows sorted by digest, and the digests by themselves: a search in a column of a structured array copies it."""

    names: Array
    rows: Array

    def at(self, wanted: Array) -> tuple[Array, Array]:
        """For each wanted digest whether it is there, and its place."""
        if not len(self.names):
            return np.zeros(len(wanted), bool), np.zeros(len(wanted), np.intp)
        places = np.minimum(np.searchsorted(self.names, wanted), len(self.names) - 1)
        return np.asarray(self.names[places] == wanted), places


@dataclass(frozen=True)
class Index:
    """What is where, as of event number `seq`. blobs: the index blobs that it was read from.

    pieces: `pack` counts in `packs`. files: those made of several pieces: `parts[first : first + count]`.
    """

    seq: int
    blobs: tuple[str, ...]
    packs: tuple[str, ...]
    pieces: Rows
    files: Rows
    parts: Array

    def has(self, digests: Iterable[str]) -> list[bool]:
        """Whether these files are here."""
        return [bool(each) for each in self.found(words(digests))]

    def found(self, words: Array) -> Array:
        """The same for an array of digests."""
        return np.asarray(self.pieces.at(words)[0] | self.files.at(words)[0])

    def places(self, digest: str) -> list[Place]:
        """Where the file's pieces are, in order; NotFound when it is not here."""
        wanted = words([digest])
        many, at = self.files.at(wanted)
        if many[0]:
            first, count = int(self.files.rows["first"][at[0]]), int(self.files.rows["count"][at[0]])
            wanted = self.parts[first : first + count]
        there, places = self.pieces.at(wanted)
        if not there.all():
            raise NotFound(f"no file with digest {digest} is stored; it was forgotten, or its packs are elsewhere")
        return [
            Place(_text(name), self.packs[pack], start, size)
            for name, pack, start, size in self.pieces.rows[places].tolist()
        ]

    def in_order(self, digests: Iterable[str]) -> list[str]:
        """The digests in the order in which the files' first pieces lie; those that are not here come last."""
        texts = list(digests)
        wanted = words(texts)
        many, at = self.files.at(wanted)
        wanted = np.where(many, self.parts[self.files.rows["first"][at]], wanted) if many.any() else wanted
        there, places = self.pieces.at(wanted)
        if not there.any():
            return texts
        rows = self.pieces.rows[places]
        return [texts[n] for n in np.lexsort((rows["start"], rows["pack"], ~there)).tolist()]

    def blobs_of(self, digests: Iterable[str]) -> set[str]:
        """The packs that hold these files, and all index blobs."""
        wanted = words(digests)
        owners = np.repeat(np.isin(self.files.rows["digest"], wanted), self.files.rows["count"].astype(np.int64))
        there, places = self.pieces.at(np.concatenate([wanted, self.parts[owners]]))
        used = np.unique(self.pieces.rows["pack"][places[there]])
        return {self.packs[pack] for pack in used.tolist()} | set(self.blobs)


def load(ws: Workspace) -> Index:
    """The index as it is now."""
    live, seq = live_blobs(ws)
    return merged(ws, tuple(live), seq)


def live(ws: Workspace) -> set[str]:
    """All blobs that are in use: the indexes and the packs which they name."""
    index = load(ws)
    return {*index.blobs, *index.packs}


def record(
    ws: Workspace, kind: str, indexes: list[str], replaces: list[str], gone: list[str], expect: int | None = None
) -> None:
    body = {"format": FORMAT, "indexes": indexes, "replaces": replaces, "gone": gone}
    ws.graph.record(SUBJECT, kind, body, actor=ws.settings.who, expect=expect)


def live_blobs(ws: Workspace) -> tuple[list[str], int]:
    """The index blobs that count, in order, and the number of the last event."""
    names: dict[str, None] = {}
    seq = 0
    for event in ws.graph.events(SUBJECT):
        if int(event.body["format"]) > FORMAT:
            raise WrongFormat(
                f"packs have format {event.body['format']}, this tidemill reads up to {FORMAT}; update it"
            )
        for name in event.body["replaces"]:
            names.pop(name, None)
        names.update(dict.fromkeys(event.body["indexes"]))
        seq = event.seq
    return list(names), seq


# ---------------------------------------------------------------------------------------------------------- index blobs

Parts = tuple[tuple[str, ...], Array, Array, Array]
_blobs: OrderedDict[str, Parts] = OrderedDict()  # a blob never changes, so neither does what was read
_indexes: dict[tuple[str, ...], tuple[tuple[str, ...], Rows, Rows, Array]] = {}


def encoded(packs: tuple[str, ...], pieces: Array, files: Array, parts: Array) -> bytes:
    """One line of JSON, format first, then the three arrays."""
    counts = {"pieces": len(pieces), "files": len(files), "parts": len(parts), "packs": list(packs)}
    head = b'{"format":%d,' % FORMAT + canonical_json(counts)[1:] + b"\n"
    return b"".join([head, pieces.astype(PIECE).tobytes(), files.astype(FILE).tobytes(), parts.astype("S32").tobytes()])


def read_blob(ws: Workspace, name: str) -> Parts:
    """The packs' names, the pieces, the files, and the parts of files, as one index blob holds them."""
    made = _blobs.get(name)
    if made is None:
        data = ws.store.get(name)
        line, _, _ = data.partition(b"\n")
        head = msgspec.json.decode(line)
        if head["format"] > FORMAT:
            raise WrongFormat(
                f"index {name} has format {head['format']}, this tidemill reads up to {FORMAT}; update it"
            )
        at, arrays = len(line) + 1, []
        for dtype, count in ((PIECE, head["pieces"]), (FILE, head["files"]), (np.dtype("S32"), head["parts"])):
            arrays.append(np.frombuffer(data, dtype, count, at))
            at += dtype.itemsize * count
        made = _blobs[name] = (tuple(head["packs"]), arrays[0], arrays[1], arrays[2])
        while len(_blobs) > 4 * MERGE_AT:
            _blobs.popitem(last=False)
    return made


def merged(ws: Workspace, names: tuple[str, ...], seq: int) -> Index:
    """These index blobs as one index."""
    many = [read_blob(ws, name) for name in names]
    made = _indexes.get(names)
    if made is None:
        packs, pieces = joined(many)
        files, parts, before = [np.empty(0, FILE)], [np.empty(0, "S32")], 0
        for _, _, mine, theirs in many:
            moved = mine.copy()
            moved["first"] += before
            before += len(theirs)
            files.append(moved)
            parts.append(theirs)
        made = _indexes[names] = (packs, _sorted(pieces), _sorted(np.concatenate(files)), np.concatenate(parts))
        while len(_indexes) > KEPT:
            _indexes.pop(next(iter(_indexes)), None)
    return Index(seq, names, *made)


def _sorted(rows: Array) -> Rows:
    names = np.ascontiguousarray(rows["digest"])
    order = np.argsort(names, kind="stable")
    return Rows(names[order], rows[order])


def joined(many: Iterable[Parts]) -> tuple[tuple[str, ...], Array]:
    """The packs of all, and the pieces of all with `pack` counting in them."""
    packs: list[str] = []
    pieces = [np.empty(0, PIECE)]
    for names, mine, _, _ in many:
        moved = mine.copy()
        moved["pack"] += len(packs)
        packs += names
        pieces.append(moved)
    return tuple(packs), np.concatenate(pieces)


def words(digests: Iterable[str]) -> Array:
    """Digests as 32 bytes each; NotFound for a text that is none."""
    texts = list(digests)
    joined_text = "".join(texts)
    if len(joined_text) != 64 * len(texts) or DIGESTS.fullmatch(joined_text) is None or set(map(len, texts)) - {64}:
        for each in texts:
            require_digest(each)
    return np.frombuffer(bytes.fromhex(joined_text), "S32")


def _text(word: bytes) -> str:
    return bytes(word).ljust(32, b"\0").hex()  # numpy drops zeros at the end


def drop(name: str) -> None:
    """Forget what was read of an index blob."""
    _blobs.pop(name, None)
    for names in list(_indexes):
        if name in names:
            _indexes.pop(names, None)
