"""`verify` names an edited, removed, added or reordered row, whoever wrote it into the database by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tidemill.core.graph import Graph
from tidemill.core.graphs import memory, postgres, records, sqlite
from tidemill.core.types import Edge, Point
from tidemill.testing.graphs import AT, a_run, an_artifact, ended

Sql = Callable[..., None]
RUN, OTHER, MADE = "1" * 32, "2" * 32, "3" * 32


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Graph, Sql]]:
    """A graph with a short history, and a way to write into its database behind its back."""
    if request.param == "postgres":
        url = request.getfixturevalue("new_database")()
        graph: Graph = postgres.open_graph(url)
        engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    else:
        graph = sqlite.open_graph(str(tmp_path / "graph.db"))
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'graph.db'}")

    def sql(*statements: str, **values: object) -> None:
        with engine.begin() as link:
            for statement in statements:
                assert link.execute(sa.text(statement), values).rowcount

    history(graph)
    assert graph.verify() == []
    yield graph, sql
    engine.dispose()
    graph.close()


def history(graph: Graph) -> None:
    """Events 1 to 9: two runs, an artifact, edges, points and two moves of traffic."""
    run = graph.put_run(a_run(run_id=RUN))
    other = graph.put_run(a_run(run_id=OTHER))
    graph.put(replace(an_artifact("a", run=run), id=MADE))
    graph.link([Edge(other.id, MADE, "in", "train")])
    graph.log(run.id, [Point("loss", 1 / (1 + step), step, AT) for step in range(5)])
    graph.record("deployment/d", "traffic", {"champion": 1})
    graph.record("deployment/d", "traffic", {"champion": 2})
    graph.put_run(ended(run))


def found(graph: Graph) -> list[tuple[str, str]]:
    return [(fault.where, fault.what) for fault in graph.verify()]


CASES = {
    "an edited run": (
        [f"UPDATE runs SET body = replace(body, '0.5', '0.25') WHERE id = '{RUN}'"],
        [(f"run/{RUN}", "was edited: its record is not what the log says")],
    ),
    "an edited copy of a run's column": (
        [f"UPDATE runs SET status = 'done', key = 'k' WHERE id = '{OTHER}'"],
        [(f"run/{OTHER}", "was edited: its key, status is not what its record says")],
    ),
    "a removed run": (
        [f"DELETE FROM runs WHERE id = '{OTHER}'"],
        [(f"run/{OTHER}", "the log speaks of it, but its row is gone")],
    ),
    "an edited version of an artifact": (
        [f"UPDATE artifacts SET version = 2 WHERE id = '{MADE}'"],
        [(f"artifact/{MADE}", "was edited: its version is not what its record says")],
    ),
    "an added run": (
        [f"INSERT INTO runs SELECT 'x', kind, name, status, key, parent, body FROM runs WHERE id = '{RUN}'"],
        [("run/x", "its row is not in the log")],
    ),
    "an edited edge": (
        ["UPDATE edges SET slot = 'test' WHERE slot = 'train'"],
        [
            (f"edge run/{OTHER} in artifact/{MADE} as 'test'", "its row is not in the log"),
            (f"edge run/{OTHER} in artifact/{MADE} as 'train'", "the log speaks of it, but its row is gone"),
        ],
    ),
    "an edited point": (
        ["UPDATE points SET value = 0.0 WHERE step = 4"],
        [(f"run/{RUN}", "its metric points of event 6 were edited, added or removed: 5 were logged, 5 are there")],
    ),
    "a removed point": (
        ["DELETE FROM points WHERE step = 4"],
        [(f"run/{RUN}", "its metric points of event 6 were edited, added or removed: 5 were logged, 4 are there")],
    ),
    "removed points": (["DELETE FROM points"], [(f"run/{RUN}", "its metric points of event 6 are gone")]),
    "an added point": (
        [f"INSERT INTO points VALUES ('{RUN}', 'auc', 0, 'now', 1.0, 7)"],
        [(f"run/{RUN}", "1 metric points of batch 7 are not in the log")],
    ),
    "an edited event": (
        ["UPDATE events SET body = '{}' WHERE seq = 7"],
        [("event 7", "was edited: its hash does not match its content")],
    ),
    "an edited key of an event": (
        ["UPDATE events SET key = 'k' WHERE seq = 7"],
        [("event 7", "was edited: its hash does not match its content")],
    ),
    "a removed event": (
        ["DELETE FROM events WHERE seq = 7"],
        [("event 8", "follows event 6: events between them were removed or moved")],
    ),
    "a removed event whose place was taken": (
        [
            "DELETE FROM events WHERE seq = 7",
            "UPDATE events SET seq = 7 WHERE seq = 8",
            "UPDATE events SET seq = 8 WHERE seq = 9",
        ],
        [
            ("event 7", "does not follow event 6: one of the two was edited, removed or moved"),
            ("event 7", "was edited: its hash does not match its content"),
            ("event 8", "was edited: its hash does not match its content"),
            ("event 9", "was the newest one, but the log ends with event 8"),
        ],
    ),
    "two events in another order": (
        [
            "UPDATE events SET seq = 0 WHERE seq = 7",
            "UPDATE events SET seq = 7 WHERE seq = 8",
            "UPDATE events SET seq = 8 WHERE seq = 0",
        ],
        [
            ("event 7", "does not follow event 6: one of the two was edited, removed or moved"),
            ("event 7", "was edited: its hash does not match its content"),
            ("event 8", "does not follow event 7: one of the two was edited, removed or moved"),
            ("event 8", "was edited: its hash does not match its content"),
            ("event 9", "does not follow event 8: one of the two was edited, removed or moved"),
        ],
    ),
    "the newest event removed with its row's change": (
        ["DELETE FROM events WHERE seq = 9", f"UPDATE runs SET body = '{{}}' WHERE id = '{RUN}'"],
        [
            ("event 9", "was the newest one, but the log ends with event 8"),
            (f"run/{RUN}", "was edited: its record is not what the log says"),
        ],
    ),
    "a body that is no JSON": (
        ["UPDATE events SET body = 'x' WHERE seq = 4"],
        [
            ("event 4", "was edited: its hash does not match its content"),
            (f"edge run/{RUN} out artifact/{MADE}", "its row is not in the log"),
        ],
    ),
    "no newest event": (
        ["DELETE FROM head"],
        [("head", "there are 0 rows that name the newest event; there must be one")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_verify_names(opened: tuple[Graph, Sql], case: str) -> None:
    graph, sql = opened
    statements, expected = CASES[case]
    sql(*statements)
    assert found(graph) == expected


def test_an_event_edited_with_its_hash_breaks_the_chain_after_it(opened: tuple[Graph, Sql]) -> None:
    graph, sql = opened
    row = {**records.event_row(graph.events(after=6)[0]), "body": '{"champion":3}'}
    sql("UPDATE events SET body = :body, hash = :hash WHERE seq = 7", body=row["body"], hash=records.event_hash(row))
    assert found(graph) == [("event 8", "does not follow event 7: one of the two was edited, removed or moved")]


def test_any_changed_byte_of_any_cell_is_found(tmp_path: Path) -> None:
    """Each column of each row of each table in turn; `id` of head only names the row."""
    path = tmp_path / "graph.db"
    graph = sqlite.open_graph(str(path))
    history(graph)
    raw = sqlite3.connect(path, isolation_level=None)
    for table in ("runs", "artifacts", "edges", "points", "events", "head"):
        columns = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
        for row_id, *cells in raw.execute(f"SELECT rowid, * FROM {table}").fetchall():
            for column, cell in zip(columns, cells, strict=True):
                if (table, column) == ("head", "id"):
                    continue
                changed = f"{cell}x" if isinstance(cell, str | None) else cell + 1000
                raw.execute("BEGIN")
                raw.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (changed, row_id))
                raw.execute("COMMIT")
                assert graph.verify() != [], (table, column, cell)
                raw.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (cell, row_id))
    assert graph.verify() == []
    raw.close()
    graph.close()


def test_the_memory_graph_keeps_the_same_chain() -> None:
    graph = memory.open_graph()
    history(graph)
    assert graph.verify() == []
    graph._events[6]["body"] = '{"champion":3}'
    assert found(graph) == [("event 7", "was edited: its hash does not match its content")]
