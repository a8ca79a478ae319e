"""The online store in anything that speaks Redis (Redis, Valkey, Dragonfly ...): a sorted set a key, its score `known`.

Speaks the protocol (RESP 2, https://redis.io/docs/latest/develop/reference/protocol-spec) itself: ten commands need no
driver. How durable a write is, and how long an erased value stays in its files, is the server's setting (appendfsync,
BGREWRITEAOF, SAVE).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from tidemill.core.errors import BadInput, Busy, NotFound
from tidemill.data.feature_store.online_stores import Change, Entry, Keys, Pruning

WAIT_S = 30.0
PORT = 6379
AT_ONCE = 1000  # commands sent before their answers are read
Reply = Any  # text, number, bytes, None or a list of these: what the server says


class RedisOnline:
    """Entries as members of sorted sets: 8 bytes of event, 4 of the row id's length, the row id, the values."""

    def __init__(self, url: str, view: str) -> None:
        self._server = _Server(url)
        self._name = f"tidemill:{{{view}}}".encode()  # braces: all keys of a view are in one part of a cluster

    def state(self) -> bytes | None:
        """See OnlineStore."""
        (found,) = self._server.ask([("GET", self._name)])
        return None if found is None else bytes(found)

    def latest(self, wanted: Sequence[tuple[int, Keys]], at: int) -> list[list[bytes | None]]:
        """See OnlineStore."""
        asked = [
            ("ZREVRANGEBYSCORE", self._key(source, key), at, "-inf", "LIMIT", 0, 1)
            for source, keys in wanted
            for key in keys
            if key is not None
        ]
        replies = iter(self._server.ask(asked))
        made: list[list[bytes | None]] = []
        for _, keys in wanted:
            members = [None if key is None else next(replies) for key in keys]
            made.append([_entry("", 0, member[0]).values if member else None for member in members])
        return made

    def history(self, source: int, since: Mapping[str, int]) -> list[Entry]:
        """See OnlineStore."""
        before = self._server.ask(
            [
                ("ZREVRANGEBYSCORE", self._key(source, key), known, "-inf", "WITHSCORES", "LIMIT", 0, 1)
                for key, known in since.items()
            ]
        )
        firsts = [int(last[1]) if last else known for last, known in zip(before, since.values(), strict=True)]
        found = self._server.ask(
            [
                ("ZRANGEBYSCORE", self._key(source, key), first, "+inf", "WITHSCORES")
                for key, first in zip(since, firsts, strict=True)
            ]
        )
        return [
            _entry(key, int(known), member)
            for key, answer in zip(since, found, strict=True)
            for member, known in _batched(answer, 2)
        ]

    def write(
        self, state: bytes, changes: Sequence[Change], *, clear: bool = False, pruning: Sequence[Pruning] = ()
    ) -> None:
        """See OnlineStore."""
        orders: list[tuple[Any, ...]] = []
        if clear:
            names = self._server.ask([("SMEMBERS", self._name + b":sources")])[0]
            for source in map(int, names):
                orders += [("DEL", self._key(source, key)) for key in self.keys(source)]
                orders.append(("DEL", self._key(source)))
        for change in changes:
            orders.append(("SADD", self._name + b":sources", change.source))
            for key, known in change.since.items():
                orders.append(("ZREMRANGEBYSCORE", self._key(change.source, key), known, "+inf"))
            for each in change.entries:
                orders.append(("SADD", self._key(change.source), each.key))
                orders.append(("ZADD", self._key(change.source, each.key), each.known, _member(each)))
        self._server.ask([("MULTI",), *orders, ("SET", self._name, state), ("EXEC",)])
        for old in pruning:
            self._prune(old)

    def keys(self, source: int) -> Iterator[str]:
        """See OnlineStore."""
        for key in self._server.ask([("SMEMBERS", self._key(source))])[0]:
            yield key.decode()

    def drop(self, source: int, *, keys: Sequence[str] = (), rows: Sequence[str] = ()) -> int:
        """See OnlineStore."""
        sizes = self._server.ask([("ZCARD", self._key(source, key)) for key in keys])
        orders: list[tuple[Any, ...]] = []
        for key in keys:
            orders += [("DEL", self._key(source, key)), ("SREM", self._key(source), key)]
        gone = sum(map(int, sizes))
        doomed = set(rows)
        for entry in self.history(source, dict.fromkeys(self.keys(source), 0)) if doomed else ():
            if entry.row in doomed and entry.key not in keys:
                orders.append(("ZREM", self._key(source, entry.key), _member(entry)))
                gone += 1
        self._server.ask(orders)
        return gone

    def scrub(self) -> None:
        """See OnlineStore: memory is free at once; a server that writes a log of commands is told to write it anew."""
        (kept,) = self._server.ask([("CONFIG", "GET", "appendonly")])
        if kept and kept[-1] == b"yes":
            self._server.ask([("BGREWRITEAOF",)])

    def close(self) -> None:
        """See OnlineStore."""
        self._server.close()

    def _key(self, source: int, key: str | None = None) -> bytes:
        return self._name + (f":{source}" if key is None else f":{source}:{key}").encode()

    def _prune(self, old: Pruning) -> None:
        keys = list(self.keys(old.source))
        asked = [
            ("ZREVRANGEBYSCORE", self._key(old.source, key), old.horizon, "-inf", "WITHSCORES", "LIMIT", 0, 1)
            for key in keys
        ]
        orders: list[tuple[Any, ...]] = []
        for key, last in zip(keys, self._server.ask(asked), strict=True):
            if last:
                expired = old.oldest is not None and _entry(key, 0, last[0]).event < old.oldest
                until = f"{'' if expired else '('}{int(last[1])}"
                orders.append(("ZREMRANGEBYSCORE", self._key(old.source, key), "-inf", until))
        self._server.ask(orders)
        left = self._server.ask([("ZCARD", self._key(old.source, key)) for key in keys])
        empty = [key for key, size in zip(keys, left, strict=True) if not size]
        self._server.ask([("SREM", self._key(old.source), key) for key in empty])


class Address(NamedTuple):
    """Where a server is."""

    host: str
    port: int
    user: str
    password: str
    number: int


def address_of(url: str) -> Address:
    """Host, port, user, password and database number of redis://[[user]:password@]host[:port][/number]."""
    parts = urlsplit(url)
    number = parts.path.strip("/")
    if number and not number.isdigit():
        raise BadInput(f"an online store's address ends in a database number, not in {number!r}: redis://host:6379/0")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Address(parts.hostname or "localhost", parts.port or PORT, user, password, int(number or 0))


class _Server:
    """A connection: commands go out together, answers come back in their order."""

    def __init__(self, url: str) -> None:
        at = address_of(url)
        self._where = f"{at.host}:{at.port}"
        try:
            self._socket = socket.create_connection((at.host, at.port), timeout=WAIT_S)
        except OSError as error:
            raise NotFound(f"no answer from the online store at {self._where}: {error}; is it running?") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        if at.password:
            self.ask([("AUTH", at.user, at.password) if at.user else ("AUTH", at.password)])
        if at.number:
            self.ask([("SELECT", at.number)])

    def ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Reply]:
        """The answers to the commands. Raises BadInput for one that the server refuses."""
        replies: list[Reply] = []
        try:
            for some in _batched(commands, AT_ONCE):
                self._socket.sendall(b"".join(map(_order, some)))
                replies.extend([self._reply() for _ in some])
        except TimeoutError:
            raise Busy(f"the online store at {self._where} did not answer for {WAIT_S:g} s; try again later") from None
        for reply in chain(replies, replies[-1] if replies and isinstance(replies[-1], list) else ()):
            if isinstance(reply, _Refusal):
                raise BadInput(f"the online store at {self._where} refuses: {reply}; see its settings")
        return replies

    def _reply(self) -> Reply:
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise NotFound(f"the online store at {self._where} hung up; is it running?")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._answers.read(size + 2)[:-2]
        if kind == b"*":
            return None if int(rest) < 0 else [self._reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        return _Refusal(rest.decode()) if kind == b"-" else rest.decode()

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


class _Refusal(str):
    """The text of an error that the server sent."""

    __slots__ = ()


def _batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _order(command: tuple[Any, ...]) -> bytes:
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _member(entry: Entry) -> bytes:
    row = entry.row.encode()
    return entry.event.to_bytes(8, "big", signed=True) + len(row).to_bytes(4, "big") + row + entry.values


def _entry(key: str, known: int, member: bytes) -> Entry:
    start = 12 + int.from_bytes(member[8:12], "big")
    event = int.from_bytes(member[:8], "big", signed=True)
    return Entry(key, known, event, member[12:start].decode(), member[start:])
