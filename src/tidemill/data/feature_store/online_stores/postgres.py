"""The online store in PostgreSQL, through psycopg 3: one for many servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tidemill.core.errors import MissingExtra, NotFound
from tidemill.data.feature_store.online_stores import Change, Entry, Keys, Pruning, text_of

if TYPE_CHECKING:
    import psycopg

SCHEMA = """
CREATE TABLE IF NOT EXISTS tidemill_online_state (view text COLLATE "C" PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE IF NOT EXISTS tidemill_online (
    view text COLLATE "C" NOT NULL, source int NOT NULL, k text COLLATE "C" NOT NULL, known bigint NOT NULL,
    event bigint NOT NULL, row text COLLATE "C" NOT NULL, v bytea NOT NULL, PRIMARY KEY (view, source, k, known));
"""
MAKING = 0x71DE_0010  # the lock under which the tables are made: CREATE IF NOT EXISTS races with itself
LATEST = """
SELECT s.v FROM unnest(%s::text[]) WITH ORDINALITY AS e(k, place) LEFT JOIN LATERAL (
    SELECT v FROM tidemill_online AS t WHERE t.view = %s AND t.source = %s AND t.k = e.k AND t.known <= %s
    ORDER BY t.known DESC LIMIT 1) AS s ON true ORDER BY e.place
"""
HISTORY = """
SELECT s.k, s.known, s.event, s.row, s.v FROM unnest(%(keys)s::text[], %(since)s::bigint[]) AS e(k, since)
JOIN tidemill_online AS s ON s.view = %(view)s AND s.source = %(source)s AND s.k = e.k AND s.known >= coalesce(
    (SELECT max(known) FROM tidemill_online AS b
     WHERE b.view = %(view)s AND b.source = %(source)s AND b.k = e.k AND b.known <= e.since), e.since)
"""
SUPERSEDED = """
DELETE FROM tidemill_online AS s WHERE s.view = %(view)s AND s.source = %(source)s AND s.known <= %(horizon)s AND (
    s.event < %(oldest)s OR EXISTS (SELECT 1 FROM tidemill_online AS n WHERE n.view = s.view AND n.source = s.source
    AND n.k = s.k AND n.known > s.known AND n.known <= %(horizon)s))
"""


class PostgresOnline:
    """Entries of all views in one table."""

    def __init__(self, url: str, view: str) -> None:
        if find_spec("psycopg") is None:
            raise MissingExtra("an online store in PostgreSQL needs psycopg: pip install 'tidemill[postgres]'")
        import psycopg

        self.view = view
        try:
            self._link = psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError as error:
            raise NotFound(f"no answer from the online store's PostgreSQL: {error}; is it running?") from None
        with self._link.transaction():
            self._link.execute("SELECT pg_advisory_xact_lock(%s)", (MAKING,))
            self._link.execute(SCHEMA)

    def state(self) -> bytes | None:
        """See OnlineStore."""
        found = self._link.execute("SELECT body FROM tidemill_online_state WHERE view = %s", (self.view,)).fetchone()
        return None if found is None else bytes(found[0])

    def latest(self, wanted: Sequence[tuple[int, Keys]], at: int) -> list[list[bytes | None]]:
        """See OnlineStore."""
        with self._link.transaction():
            self._link.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return [
                [
                    None if values is None else bytes(values)
                    for (values,) in self._link.execute(LATEST, (list(keys), self.view, source, at))
                ]
                for source, keys in wanted
            ]

    def history(self, source: int, since: Mapping[str, int]) -> list[Entry]:
        """See OnlineStore."""
        asked = {"view": self.view, "source": source, "keys": list(since), "since": list(since.values())}
        return [
            Entry(text_of(key), int(known), int(event), text_of(row), bytes(values))
            for key, known, event, row, values in self._link.execute(HISTORY, asked)
        ]

    def write(
        self, state: bytes, changes: Sequence[Change], *, clear: bool = False, pruning: Sequence[Pruning] = ()
    ) -> None:
        """See OnlineStore."""
        with self._writing() as cursor:
            if clear:
                cursor.execute("DELETE FROM tidemill_online WHERE view = %s", (self.view,))
            for change in changes:
                cursor.execute(
                    "DELETE FROM tidemill_online AS s USING unnest(%s::text[], %s::bigint[]) AS e(k, since) "
                    "WHERE s.view = %s AND s.source = %s AND s.k = e.k AND s.known >= e.since",
                    (list(change.since), list(change.since.values()), self.view, change.source),
                )
                with cursor.copy("COPY tidemill_online FROM STDIN") as copy:
                    for each in change.entries:
                        copy.write_row((self.view, change.source, *each))
            for old in pruning:
                cursor.execute(SUPERSEDED, {"view": self.view, **old._asdict()})
            cursor.execute(
                "INSERT INTO tidemill_online_state VALUES (%s, %s) "
                "ON CONFLICT (view) DO UPDATE SET body = EXCLUDED.body",
                (self.view, state),
            )

    def keys(self, source: int) -> Iterator[str]:
        """See OnlineStore."""
        asked = "SELECT DISTINCT k FROM tidemill_online WHERE view = %s AND source = %s"
        for (key,) in self._link.execute(asked, (self.view, source)):
            yield text_of(key)

    def drop(self, source: int, *, keys: Sequence[str] = (), rows: Sequence[str] = ()) -> int:
        """See OnlineStore."""
        with self._writing() as cursor:
            done = cursor.execute(
                "DELETE FROM tidemill_online WHERE view = %s AND source = %s "
                "AND (k = ANY(%s::text[]) OR row = ANY(%s::text[]))",
                (self.view, source, list(keys), list(rows)),
            )
            return done.rowcount

    def scrub(self) -> None:
        """See OnlineStore. The server's own log (WAL) keeps what it has for as long as its administrator says."""
        self._link.execute("VACUUM FULL ANALYZE tidemill_online")

    def close(self) -> None:
        """See OnlineStore."""
        self._link.close()

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Cursor[tuple[object, ...]]]:
        with self._link.transaction(), self._link.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"tidemill online {self.view}",))
            yield cursor
