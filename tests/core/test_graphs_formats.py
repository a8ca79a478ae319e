"""Which databases a graph opens, and what it says of the others."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from tidemill.core.errors import Corrupt, NoRoom, ServerFailed, WrongFormat
from tidemill.core.graphs import postgres, sqlite
from tidemill.core.graphs.schema import SCHEMA, metadata
from tidemill.core.types import Query
from tidemill.testing.graphs import a_run


def schema_of(path: Path) -> set[str]:
    with sqlite3.connect(path) as raw:
        found = {" ".join(row[0].split()) for row in raw.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    raw.close()
    return {text for text in found if "tidemill_schema" not in text}


def test_the_migrations_make_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    sqlite.open_graph(str(tmp_path / "migrated.db")).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'made.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert schema_of(tmp_path / "migrated.db") == schema_of(tmp_path / "made.db")


def test_an_old_graph_opens_again_without_alembic(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    graph = sqlite.open_graph(str(path))
    run = graph.put_run(a_run())
    graph.close()
    code = (
        "import sys; from tidemill.core.graphs import sqlite; g = sqlite.open_graph(sys.argv[1]);"
        "print(g.get(sys.argv[2]).name); assert 'alembic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, path, run.id], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("flights\n", "")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_newer_schema_is_refused(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    newer = f"UPDATE tidemill_schema SET version_num = '{SCHEMA + 1}'"
    if kind == "postgres":
        import psycopg

        url = request.getfixturevalue("new_database")()
        postgres.open_graph(url).close()
        with psycopg.connect(url) as raw:
            raw.execute(newer)
        opening = postgres.open_graph
    else:
        url = str(tmp_path / "graph.db")
        sqlite.open_graph(url).close()
        with sqlite3.connect(url) as file:
            file.execute(newer)
        file.close()
        opening = sqlite.open_graph
    text = f"has schema {SCHEMA + 1}, this tidemill reads up to {SCHEMA}: pip install -U tidemill"
    with pytest.raises(WrongFormat, match=re.escape(text)):
        opening(url)


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE runs (distance REAL)")
    raw.close()
    before = schema_of(path)
    with pytest.raises(WrongFormat, match=r"has tables runs that are not tidemill's; name an empty database or folder"):
        sqlite.open_graph(str(path))
    assert schema_of(path) == before


def test_a_schema_number_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    sqlite.open_graph(str(path)).close()
    with sqlite3.connect(path) as raw:
        raw.execute("DELETE FROM tidemill_schema")
    raw.close()
    with pytest.raises(WrongFormat, match="does not say which schema it has"):
        sqlite.open_graph(str(path))


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    path.write_text("a letter to my aunt, long enough to have a header" * 100)
    with pytest.raises(Corrupt, match=r"graph\.db cannot be read \(file is not a database\); restore it from a backup"):
        sqlite.open_graph(str(path))
    assert path.read_text().startswith("a letter")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match=r"nowhere/graph\.db cannot be written \(unable to open database file\)"):
        sqlite.open_graph(str(tmp_path / "nowhere" / "graph.db"))


def test_a_path_with_signs_that_mean_something_in_a_url(tmp_path: Path) -> None:
    folder = tmp_path / "50% of é?x=1#y"
    folder.mkdir()
    graph = sqlite.open_graph(str(folder / "graph.db"))
    run = graph.put_run(a_run())
    graph.close()
    assert (folder / "graph.db").is_file()
    again = sqlite.open_graph(str(folder / "graph.db"))
    assert again.find(Query("run")) == [run]
    again.close()


def test_a_full_disk_is_said_and_nothing_is_half_written(tmp_path: Path) -> None:
    """SQLite's own limit of pages gives the same error as a full disk, at a place of our choice."""
    graph = sqlite.open_graph(str(tmp_path / "graph.db"))
    kept = graph.put_run(a_run())
    with graph._engine.connect() as link:  # the pool's one connection keeps the limit
        link.exec_driver_sql(f"PRAGMA max_page_count={link.exec_driver_sql('PRAGMA page_count').scalar_one()}")

    def fill() -> None:
        for _ in range(1000):
            graph.put_run(a_run("x" * 5000))

    with pytest.raises(NoRoom, match=r"cannot be written \(database or disk is full\); free space"):
        fill()
    runs = graph.find(Query("run", limit=2000))
    assert kept in runs
    assert len(graph.events()) == len(runs)
    assert graph.verify() == []
    graph.close()


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(ServerFailed, match=r"postgresql\+psycopg://ada:\*\*\*@127.0.0.1:1/none did not answer"):
        postgres.open_graph("postgresql://ada:secret@127.0.0.1:1/none")


def test_a_database_that_is_not_there_is_named(new_database: Callable[[], str]) -> None:
    url = new_database()
    with pytest.raises(ServerFailed, match='database "nowhere" does not exist'):
        postgres.open_graph(str(sa.make_url(url).set(database="nowhere").render_as_string(hide_password=False)))


def test_without_psycopg_the_extra_is_named() -> None:
    """In a process of its own whose import system does not find psycopg."""
    code = (
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name == 'psycopg' else find(name, *rest)\n"
        "from tidemill.core.graphs import postgres\n"
        "try: postgres.open_graph('postgresql://x@y/z')\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "postgresql:// needs psycopg: pip install 'tidemill[postgres]'\n"
