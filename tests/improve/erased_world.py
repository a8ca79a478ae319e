"""A workspace in which one person is everywhere, and a search that reads every file as bytes and as what it holds."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sa

import tidemill as tm
from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.feature_store import features, materializing, views
from tidemill.data.filesets import files
from tidemill.data.quality import profiles, quarantine
from tidemill.improve.registering import register_fitted
from tidemill.prepare import cleaning, labels
from tidemill.serve import deploy
from tidemill.train.fit import fit_model
from tidemill.watch import log, truth

START = datetime(2026, 1, 1, tzinfo=UTC)
EMAIL, NAME, TOWN, KEY = "ada@example.org", "Ada Lovelace-Byron", "Ockham Park", "cust-0007"
SPEND, AGE = 123456.75, 97.25
TERMS = (EMAIL, NAME, TOWN, KEY, "portrait of the countess")
COLUMNS = {"customers": ["email"], "orders": ["email"], "scans": ["patient"], "visits": ["email"]}


def customers(first: int, rows: int) -> pl.DataFrame:
    draw = np.random.default_rng(first)
    place = np.arange(first, first + rows)
    frame = pl.DataFrame(
        {
            "id": [f"cust-{each:04d}" for each in place],
            "email": [f"user{each}@example.com" for each in place],
            "name": [f"Somebody {each}" for each in place],
            "town": [("Leeds", "York", "Bath")[each % 3] for each in place],
            "age": draw.uniform(18, 80, rows).round(2),
            "spend": draw.uniform(1, 900, rows).round(2),
            "at": [START + timedelta(hours=int(each)) for each in place],
            "churned": draw.integers(0, 2, rows),
        }
    )
    is_ada = pl.col("id") == KEY
    person = {"email": EMAIL, "name": NAME, "town": TOWN, "age": AGE, "spend": SPEND}
    return frame.with_columns(
        pl.when(is_ada).then(pl.lit(value)).otherwise(name).alias(name) for name, value in person.items()
    )


def fit(train: tm.Matrix) -> object:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(train.X, train.y)


def build(root: Path, url: str = "", store: str | None = None) -> Workspace:
    """Fill a new workspace: the folder `root`, or elsewhere with its sources beside that folder."""
    ws = tm.open(url or root, store=store).ws
    clocks: dict[str, Any] = {"key": "id", "event_time": "at", "known_time": "at"}
    datasets.add(ws, "customers", customers(0, 300), **clocks)
    second = datasets.add(ws, "customers", customers(300, 50), **clocks)
    datasets.update(ws, "customers", customers(5, 5).select("id", spend=pl.col("spend") * 2))
    datasets.add_column(ws, "customers", customers(0, 300).select("id", nick=pl.col("name") + " called"))
    datasets.delete(ws, "customers", [KEY])
    orders = pl.DataFrame({"order": np.arange(1000, 1300), "item": ["tea", "coal"] * 150})
    mails = [EMAIL if place in (7, 107) else f"user{place % 90}@example.com" for place in range(300)]
    datasets.add(ws, "orders", orders.with_columns(email=pl.Series(mails)), key="order")
    quarantine.put(
        ws,
        "customers",
        customers(7, 2).with_columns(id=pl.col("id") + "-bad"),
        pl.Series([["age above 90"], ["age above 90"]]),
        contract=1,
        run="none",
    )
    profiles.of(ws, second)
    rows = datasets.scan(ws, second).sort("id").collect()
    cleaned = cleaning.clean_dataset(ws, second, rows, cleaning.null_outside("age", 0, 90), name="ages", key="id")
    assert KEY in cleaned[1].meta["steps"] or KEY in ws.store.get(cleaned[1].digest).decode()
    asked = [{"key": row["id"], "given": 0, "suggested": 1, "show": row | {"at": None}} for row in rows[5:9].to_dicts()]
    tasks = labels.ask(ws, "review", asked, source=second)
    for task in tasks[:3]:
        labels.answer(ws, "review", task.id, 1, "grace")
    with recorded(ws, "data.note", "note", params={"text": f"{NAME} <{EMAIL}> wrote"}, inputs=[("rows", second)]):
        pass
    ws.graph.record("note/1", "told", {"by": EMAIL, "text": f'she said "{NAME}" twice'}, key=f"note/{EMAIL}")
    _serve(ws, second, rows)
    _files(ws, root)
    _online(ws)
    (ws.root / "logs").mkdir(exist_ok=True)
    (ws.root / "logs" / "old.log").write_text(f"POST /predict by {EMAIL}\nGET /health\n")
    ws.store.put(f"a blob that nothing refers to, of {NAME}".encode())
    return ws


def _serve(ws: Workspace, version: DatasetVersion, rows: pl.DataFrame) -> None:
    recipe = tm.recipe(tm.scale("age", "spend"), tm.one_hot("town"))
    fitted = fit_model(
        ws,
        fit,
        rows,
        recipe,
        target="churned",
        key="id",
        time="at",
        params={},
        inputs=(version,),
        plan_digest="all",
    )
    model = register_fitted(ws, fitted, "churn", test=rows, inputs=[version])
    served = deploy.deploy(ws, model, name="churn", lifetime="parent")
    try:
        asked = rows.select("age", "spend", "town").to_dicts()
        served.predict(asked[:20], keys=rows["id"].to_list()[:20], at=START.isoformat())
        log.compact(ws, "churn")
        served.predict(asked[3:9], keys=[f"again {each}" for each in range(6)], at=START.isoformat())
    finally:
        served.stop()
    known = pl.Series([START] * 20)
    truth.add_truth(ws, "churn", pl.DataFrame({"row_key": rows["id"][:20], "value": [1.0] * 20, "known_time": known}))


def _online(ws: Workspace) -> None:
    seen = pl.DataFrame({"visit": [1, 2, 3], "email": [EMAIL, "user1@example.com", EMAIL], "page": ["/a", "/b", NAME]})
    seen = seen.with_columns(pl.lit(START).alias("at"))
    datasets.add(ws, "visits", seen, key="visit", event_time="at", known_time="at")
    by_mail = views.source("visits", by="email", columns=["page"])
    by_id = views.source("customers", by="id", columns=["town", "spend"])
    for name, source in (("pages", by_mail), ("spending", by_id)):
        view = views.View(name, (source,))
        features.define(ws, view)
        materializing.materialize(ws, view)


def _files(ws: Workspace, root: Path) -> None:
    folder = root.parent / "scans"
    folder.mkdir()
    lines = ["path,patient"]
    for place in range(20):
        who = EMAIL if place in (3, 4) else f"user{place}@example.com"
        (folder / f"{place}.txt").write_text(
            f"portrait of {'the countess' if who == EMAIL else place}, view {place}\n" * 40
        )
        lines.append(f"{place}.txt,{who}")
    manifest = root.parent / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    files.add_folder(ws, "scans", folder, manifest=manifest)


def holders(root: Path, terms: Iterable[str] = TERMS) -> list[str]:
    """The files below that hold one of the terms: as bytes, or unpacked, or as a value of a table or a database."""
    found = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        parts = list(_decoded(path))
        found += [f"{path.relative_to(root)}: {term}" for term in terms if any(term in part for part in parts)]
        numbers = struct.pack("<d", SPEND), struct.pack("<d", AGE)
        if any(number in path.read_bytes() for number in numbers) or any(str(SPEND) in part for part in parts):
            found.append(f"{path.relative_to(root)}: a number")
    return found


def _decoded(path: Path) -> Iterable[str]:
    data = path.read_bytes()
    yield data.decode("utf-8", errors="replace")
    if data[:4] == b"PAR1":
        yield str(pl.read_parquet(path).to_dicts())
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data).decode()
    if data[:6] == b"SQLite":
        link = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        for (table,) in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            yield str(link.execute(f"SELECT * FROM {table}").fetchall())
        link.close()
    if data[:1] in b"{[":
        try:
            yield _flat(json.loads(data.split(b"\n")[0]))
        except ValueError:
            return


def _flat(value: object) -> str:
    """JSON with its escapes undone and what is base64 in it decoded."""
    if isinstance(value, dict):
        return " ".join(f"{key} {_flat(each)}" for key, each in value.items())
    if isinstance(value, list):
        return " ".join(map(_flat, value))
    if isinstance(value, str) and len(value) > 16:
        try:
            return value + base64.b64decode(value, validate=True).decode("latin-1")
        except ValueError:
            return value
    return str(value)


def told(url: str) -> str:
    """All rows of all tables of a database."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as link:
        names = sa.inspect(link).get_table_names()
        found = "".join(str(link.exec_driver_sql(f'SELECT * FROM "{name}"').all()) for name in names)
    engine.dispose()
    return found
