"""Many files' bytes in few blobs: packs of about 32 MiB, and an index of what is where in them.

A file is known by the SHA-256 of its content. Its bytes are one piece, or several chunks (tidemill.core.chunking) that
it may share with other files; pieces with the same content are stored once. A pack is a blob of the store: the line
HEAD, then pieces one after another. Packs come first, then their index (tidemill.core.packindex), then the event that
makes it count; what a killed writer left is an orphan that the sweep takes. Every piece is digested when it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Protocol, runtime_checkable

import numpy as np

from tidemill.core import packindex
from tidemill.core.chunking import chunks
from tidemill.core.errors import Conflict, Corrupt, NotFound
from tidemill.core.locks import locked
from tidemill.core.packindex import FILE, MERGE_AT, PIECE, SUBJECT, Array, Place, encoded, load, record, words
from tidemill.core.workspace import Workspace

HEAD = b"tidemill pack 1\n"  # so that no pack has the digest of a file that is stored elsewhere by itself
PACK_BYTES = 32 << 20
PIECE_BYTES = 8 << 20  # a file that is not chunked by content is cut into pieces of so many bytes
TRIES = 20


@runtime_checkable
class PartialReads(Protocol):
    """A store that can read a part of a blob; the others give the whole blob."""

    def get_part(self, digest: str, start: int, size_bytes: int) -> bytes:
        """Bytes start .. start + size_bytes of the blob, unverified; NotFound as `get`."""
        ...


class Packer:
    """Puts pieces that are not stored yet into packs; nothing is visible before `finish`."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.index = load(ws)
        self.stored_bytes = 0  # of new pieces
        self._packs: list[str] = []
        self._closed = 0  # packs, with the one that is being written
        self._pieces: dict[bytes, tuple[int, int, int]] = {}
        self._files: dict[bytes, tuple[int, list[bytes]]] = {}
        self._open: list[bytes] = []
        self._size = len(HEAD)
        # digesting, writing and flushing a pack leaves the interpreter free to read the next files
        self._writer = ThreadPoolExecutor(1, "tidemill-packs")
        self._writing: Future[str] | None = None

    def has(self, digest: str) -> bool:
        """Whether the file is stored, or was added to this packer."""
        name = bytes.fromhex(digest)
        return name in self._pieces or name in self._files or self.index.has([digest])[0]

    def add(self, data: bytes) -> str:
        """A file that is one piece; returns its digest."""
        return self._piece(data).hex()

    def add_stream(self, file: BinaryIO, *, by_content: bool) -> tuple[str, int]:
        """A file of any size, read once in bounded memory; returns its digest and size.

        by_content: cut it where its content says so, to share chunks with other versions of it.
        """
        state, size, parts = hashlib.sha256(), 0, list[bytes]()
        for part in chunks(file) if by_content else _blocks(file):
            state.update(part)
            size += len(part)
            parts.append(self._piece(part))
        if len(parts) == 1:
            return parts[0].hex(), size
        if not parts:
            return self.add(b""), 0
        name = state.digest()
        if not self.index.has([name.hex()])[0]:
            self._files[name] = (size, parts)
        return name.hex(), size

    def finish(self) -> None:
        """Write the last pack and the index, then make them count; nothing can be added any more."""
        self._flush()
        self._settle()
        self._writer.shutdown()
        if self._packs or self._files:
            pieces = np.array([(name, *place) for name, place in self._pieces.items()], PIECE)
            lengths = np.cumsum([0, *(len(parts) for _, parts in self._files.values())])
            files = np.array(
                [
                    (name, size, first, len(parts))
                    for (name, (size, parts)), first in zip(self._files.items(), lengths, strict=False)
                ],
                FILE,
            )
            parts = np.array([part for _, parts in self._files.values() for part in parts], "S32")
            blob = self.ws.store.put(encoded(tuple(self._packs), pieces, files, parts))
            record(self.ws, "added", [blob], [], [])
        self.index = load(self.ws)
        if len(self.index.blobs) > MERGE_AT:
            _merge(self.ws)
            self.index = load(self.ws)

    def _piece(self, data: bytes) -> bytes:
        name = hashlib.sha256(data).digest()
        if name not in self._pieces and not self._stored(name):
            if self._size + len(data) > PACK_BYTES and self._open:
                self._flush()
            self._pieces[name] = (self._closed, self._size, len(data))
            self._open.append(data)
            self._size += len(data)
            self.stored_bytes += len(data)
        return name

    def _stored(self, name: bytes) -> bool:
        return len(self.index.pieces.names) > 0 and bool(self.index.pieces.at(np.array([name], "S32"))[0][0])

    def _flush(self) -> None:
        self._settle()
        if self._open:
            self._writing = self._writer.submit(self._write, self._open)
            self._closed += 1
            self._open, self._size = [], len(HEAD)

    def _settle(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._packs.append(writing.result())

    def _write(self, pieces: list[bytes]) -> str:
        return self.ws.store.put(b"".join([HEAD, *pieces]))


class Reader:
    """Reads files as of one index, and looks again when a pack is gone: it was written anew without forgotten files."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.index = load(ws)
        self._parts = ws.store if isinstance(ws.store, PartialReads) else None
        self._last: tuple[str, bytes] = ("", b"")

    def read(self, digest: str) -> bytes:
        """The whole file, verified. Raises NotFound, or Corrupt."""
        return b"".join(self.pieces(digest))

    def pieces(self, digest: str) -> Iterator[bytes]:
        """The file's bytes in order, verified piece by piece: for large files."""
        places = self._places(digest)
        for n, place in enumerate(places):
            try:
                yield self._piece(place)
            except NotFound:
                self.index = load(self.ws)
                yield self._piece(self.index.places(digest)[n])

    def in_order(self, digests: Iterable[str]) -> list[str]:
        """The digests in the order in which their bytes lie, for reading many; those not stored come last."""
        return self.index.in_order(set(digests))

    def _places(self, digest: str) -> list[Place]:
        try:
            return self.index.places(digest)
        except NotFound:
            self.index = load(self.ws)
            return self.index.places(digest)

    def _piece(self, place: Place) -> bytes:
        if self._parts is not None:
            data = self._parts.get_part(place.pack, place.start, place.size_bytes)
        else:
            if self._last[0] != place.pack:
                self._last = (place.pack, self.ws.store.get(place.pack))
            data = self._last[1][place.start : place.start + place.size_bytes]
        if hashlib.sha256(data).hexdigest() != place.digest:
            raise Corrupt(
                f"pack {place.pack} has other bytes at {place.start} than its index says; restore it from a backup"
            )
        return data


def forget(ws: Workspace, digests: Iterable[str]) -> int:
    """Erase these files: packs that hold them are written anew without their bytes, the old ones deleted.

    Chunks that another file shares stay. Returns how many of the files were there. Doing it again finishes what a
    killed call began. Nobody may add files at the same time: what they add could count on bytes that go.
    """
    doomed = words(sorted(set(digests)))
    with locked(ws.root / "locks" / "packs.lock", what="the packs"):
        for _ in range(TRIES):
            names, seq = packindex.live_blobs(ws)
            index = packindex.merged(ws, tuple(names), seq)
            there = int(index.found(doomed).sum())
            try:
                if there:
                    _forget(ws, names, seq, doomed)
                _delete_replaced(ws)
                return there
            except Conflict:  # files were added since: look again
                continue
    raise Conflict(f"files were added {TRIES} times while {len(doomed)} were to be forgotten; stop imports, then retry")


def _forget(ws: Workspace, names: list[str], seq: int, doomed: Array) -> None:
    read = {name: packindex.read_blob(ws, name) for name in names}
    kept_parts, doomed_parts = [], [doomed]
    for _, _, files, parts in read.values():
        goes = np.isin(files["digest"], doomed)
        owners = np.repeat(goes, files["count"].astype(np.int64))
        kept_parts.append(parts[~owners])
        doomed_parts.append(parts[owners])
    pieces_doomed = np.setdiff1d(np.concatenate(doomed_parts), np.concatenate(kept_parts))
    replaced, made, gone = [], [], []
    for name, (packs, pieces, files, parts) in read.items():
        goes = np.isin(files["digest"], doomed)
        bad = np.isin(pieces["digest"], pieces_doomed)
        if not goes.any() and not bad.any():
            continue
        replaced.append(name)
        touched = set(np.unique(pieces["pack"][bad]).tolist())
        gone += [packs[pack] for pack in touched]
        rewritten, moved = _without(ws, packs, pieces[~bad], touched)
        owners = np.repeat(goes, files["count"].astype(np.int64))
        left = files[~goes].copy()
        left["first"] = np.cumsum(left["count"]) - left["count"]
        if len(moved):
            made.append(ws.store.put(encoded(rewritten, moved, left, parts[~owners])))
        elif len(left):  # files of chunks that are all in other packs
            made.append(ws.store.put(encoded((), moved, left, parts[~owners])))
    record(ws, "rewritten", made, replaced, gone, expect=seq)


def _without(ws: Workspace, packs: tuple[str, ...], kept: Array, touched: set[int]) -> tuple[tuple[str, ...], Array]:
    """The packs and the places of the kept pieces, with the touched packs written anew."""
    names: list[str] = []
    moved = kept.copy()
    for pack, name in enumerate(packs):
        mine = np.flatnonzero(kept["pack"] == pack)
        if not len(mine):
            continue
        if pack in touched:
            mine = mine[np.argsort(kept["start"][mine])]
            old = ws.store.get(name)
            starts, sizes = kept["start"][mine].tolist(), kept["size"][mine].tolist()
            data = [old[start : start + size] for start, size in zip(starts, sizes, strict=True)]
            moved["start"][mine] = len(HEAD) + np.cumsum(kept["size"][mine], dtype=np.uint64) - kept["size"][mine]
            name = ws.store.put(b"".join([HEAD, *data]))  # noqa: PLW2901
        moved["pack"][mine] = len(names)
        names.append(name)
    return tuple(names), moved


def _merge(ws: Workspace) -> None:
    """One index instead of many; if somebody else writes one at the same time, theirs counts."""
    with locked(ws.root / "locks" / "packs.lock", what="the packs"):
        names, seq = packindex.live_blobs(ws)
        if len(names) > MERGE_AT:
            index = packindex.merged(ws, tuple(names), seq)
            # a piece that two writers stored at once is in two packs: keep both places, so that forgetting finds both
            packs, pieces = packindex.joined([packindex.read_blob(ws, name) for name in names])
            blob = ws.store.put(encoded(packs, pieces, index.files.rows, index.parts))
            try:
                record(ws, "merged", [blob], names, [], expect=seq)
            except Conflict:
                return


def _delete_replaced(ws: Workspace) -> None:
    """Delete the blobs that were replaced, also those of earlier, killed calls; not what has come back since."""
    old: set[str] = set()
    for event in ws.graph.events(SUBJECT):
        old.update(event.body["replaces"], event.body["gone"])
    for name in sorted(old - packindex.live(ws)):
        ws.store.delete(name)
        packindex.drop(name)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    read: Callable[[], bytes] = lambda: file.read(PIECE_BYTES)  # noqa: E731
    return iter(read, b"")
