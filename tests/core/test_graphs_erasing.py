"""What `amend` removed is gone from the disk, and `verify` accepts its tombstone and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tidemill.core.graph import Graph
from tidemill.core.graphs import postgres, sqlite
from tidemill.testing.graphs import a_run, an_artifact, ended, without

NAME = "Ada Lovelace-Byron-4711"


def history(graph: Graph) -> None:
    for place in range(300):
        run = graph.put_run(replace(a_run(), params={"who": f"{NAME} {place}"}))
        graph.put(replace(an_artifact(f"{NAME} {place}", run=run), meta={"text": NAME * 20}))
        graph.record(f"labels/q/{place}", "asked", {"show": NAME * 30}, key=f"{NAME}/{place}")
        graph.put_run(ended(replace(run, params={"who": f"{NAME} again"})))


def test_no_byte_of_a_sqlite_file_holds_what_was_erased(tmp_path: Path) -> None:
    graph = sqlite.open_graph(str(tmp_path / "graph.db"))
    history(graph)
    assert any(NAME.encode() in path.read_bytes() for path in tmp_path.iterdir())
    changed = graph.amend(without(NAME), reason="asked to")
    assert len(changed) == 900
    assert [path.name for path in tmp_path.iterdir() if NAME.encode() in path.read_bytes()] == []
    assert graph.verify() == []
    graph.close()


def test_no_table_of_postgresql_holds_what_was_erased(postgres_url: str, new_database: object) -> None:
    url = new_database()  # type: ignore[operator]  # the fixture's own type is in conftest
    graph = postgres.open_graph(url)
    history(graph)
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as link:
        link.exec_driver_sql("ANALYZE")
    assert {"pg_statistic", "runs", "events"} <= set(held(engine))
    graph.amend(without(NAME), reason="asked to")
    assert held(engine) == []
    assert graph.verify() == []
    engine.dispose()
    graph.close()


def held(engine: sa.Engine) -> list[str]:
    """The tables, indices and statistics of a database whose files hold the name, read as bytes from the server."""
    with engine.connect() as link:
        link.exec_driver_sql("CHECKPOINT")
        files = link.exec_driver_sql(
            "SELECT relname, pg_relation_filepath(oid) FROM pg_class WHERE relkind IN ('r', 'i', 't') "
            "AND pg_relation_filepath(oid) IS NOT NULL AND relname !~ '^pg_(?!toast|statistic)'"
        ).all()
        found = []
        for name, path in files:
            data = link.execute(sa.text("SELECT pg_read_binary_file(:path, 0, 1000000000, true)"), {"path": path})
            if NAME.encode() in (data.scalar() or b""):
                found.append(name)
    return found


@pytest.fixture
def erased(tmp_path: Path) -> Iterator[tuple[Graph, sqlite3.Connection]]:
    graph = sqlite.open_graph(str(tmp_path / "graph.db"))
    graph.put_run(replace(a_run(), params={"who": NAME}))
    graph.record("labels/q/1", "asked", {"show": NAME})
    graph.record("labels/q/2", "asked", {"show": "Bob"})
    graph.amend(without(NAME), reason="asked to")
    assert graph.verify() == []
    link = sqlite3.connect(tmp_path / "graph.db", isolation_level=None)
    yield graph, link
    link.close()
    graph.close()


def told(graph: Graph) -> list[tuple[str, str]]:
    return [(fault.where, fault.what) for fault in graph.verify()]


def test_an_erased_event_that_is_edited_again_is_found(erased: tuple[Graph, sqlite3.Connection]) -> None:
    graph, link = erased
    link.execute('UPDATE events SET body = \'{"show":"other"}\' WHERE seq = 2')
    assert told(graph) == [("event 2", "was edited: it is not what its erasure left of it")]


def test_an_erased_event_that_is_brought_back_is_found(erased: tuple[Graph, sqlite3.Connection]) -> None:
    graph, link = erased
    link.execute("UPDATE events SET body = ? WHERE seq = 2", (f'{{"show":"{NAME}"}}',))
    assert told(graph) == [("event 2", "was edited: it is not what its erasure left of it")]


def test_an_edit_without_an_erasure_is_found_as_before(erased: tuple[Graph, sqlite3.Connection]) -> None:
    graph, link = erased
    link.execute('UPDATE events SET body = \'{"show":"(erased)"}\' WHERE seq = 3')
    assert told(graph) == [("event 3", "was edited: its hash does not match its content")]


def test_the_word_of_an_erasure_cannot_be_edited(erased: tuple[Graph, sqlite3.Connection]) -> None:
    graph, link = erased
    link.execute("UPDATE events SET body = replace(body, '\"seq\":2', '\"seq\":3') WHERE kind = 'event.erased'")
    assert [where for where, _ in told(graph)] == ["event 2", "event 3", "event 5"]


def test_a_run_that_is_edited_after_its_erasure_is_found(erased: tuple[Graph, sqlite3.Connection]) -> None:
    graph, link = erased
    link.execute("UPDATE runs SET body = replace(body, '(erased)', 'somebody')")
    (fault,) = graph.verify()
    assert fault.what == "was edited: its record is not what the log says"
