"""The join in time against bare Polars and Feast, and look-ups of entities against Feast on SQLite.

1M labels over 5,000 keys and 60 days; three tables of four columns each, of 100,000 rows (and 1M for the bare join), of
which one in ten became known up to 10,000 s after it happened; features older than 30 days count as missing.

    python benchmarks/features.py
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from peers import Row, peer

from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.feature_store import features, materializing, online
from tidemill.data.feature_store.asof import Join, as_of_all

LABELS, KEYS, DAYS, TABLES = 1_000_000, 5_000, 60, 3
TTL = timedelta(days=30)
START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=DAYS)
FEAST = ("feast[duckdb]",)
ENTITIES, LOOKUPS = 100, 200

FEAST_PROGRAM = """
import json, random, sys, time, warnings
from datetime import datetime, timedelta
warnings.filterwarnings("ignore")
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64

folder, keys, entities, lookups, start, end = sys.argv[1], *map(int, sys.argv[2:5]), *sys.argv[5:7]
config = RepoConfig(registry=f"{folder}/registry.db", project="bench", provider="local",
                    offline_store={"type": "duckdb"}, online_store={"type": "sqlite", "path": f"{folder}/feast.db"},
                    entity_key_serialization_version=3)
store = FeatureStore(config=config)
key = Entity(name="k", join_keys=["k"], value_type=ValueType.INT64)
views = [
    FeatureView(name=f"v{n}", entities=[key], ttl=timedelta(days=30), online=True,
                schema=[Field(name="k", dtype=Int64)] + [Field(name=f"x{n}{c}", dtype=Float64) for c in range(4)],
                source=FileSource(name=f"s{n}", path=f"{folder}/table{n}.parquet", timestamp_field="event",
                                  created_timestamp_column="known"))
    for n in range(3)
]
store.apply([key, *views])
names = [f"v{n}:x{n}{c}" for n in range(3) for c in range(4)]
asked = pd.read_parquet(f"{folder}/labels.parquet").rename(columns={"at": "event_timestamp"})
began = time.process_time()
made = store.get_historical_features(entity_df=asked, features=names).to_df()
offline = time.process_time() - began
store.materialize(datetime.fromisoformat(start), datetime.fromisoformat(end))
draw, took = random.Random(0), []
for _ in range(lookups):
    rows = [{"k": draw.randrange(keys)} for _ in range(entities)]
    began = time.process_time()
    store.get_online_features(features=names, entity_rows=rows).to_dict()
    took.append(time.process_time() - began)
print(json.dumps({"offline": offline, "rows": len(made), "p50": sorted(took)[len(took) // 2]}))
"""


def rows() -> list[Row]:
    """All lines of this file."""
    return [*against_polars(), *against_feast()]


def against_polars() -> list[Row]:
    """The same three joins with one clock in bare Polars; each side gives the rows in the order in which they asked."""
    made = []
    for count in (100_000, LABELS):
        draw = np.random.default_rng(0)
        tables = [table(draw, n, count) for n in range(TABLES)]
        mixed = labels(draw)
        joins = [Join(each, "event", columns(n), known="known", by=["k"], within=TTL) for n, each in enumerate(tables)]
        for how, left in (("in no order", mixed), ("in order of time", mixed.sort("at"))):
            bare, ours = alternating(
                partial(in_polars, left, tables, mixed=left is mixed), partial(as_of_all, left, joins, left_time="at")
            )
            what = f"join in time, 1M labels {how} x 3 tables of {count:,}, two clocks against one, CPU s"
            made.append(Row(what, f"{ours:.3f}", f"{bare:.3f} (join_asof)", f"{ours / bare:.2f}x", "<= 1.2x"))
    return made


def against_feast() -> list[Row]:
    """Datasets of a workspace against Feast with DuckDB over Parquet, and both on SQLite for look-ups."""
    with tempfile.TemporaryDirectory() as folder:
        draw = np.random.default_rng(0)
        asked = labels(draw)
        asked.write_parquet(Path(folder, "labels.parquet"))
        ws = open_workspace(Path(folder, "a.mill"))
        for n in range(TABLES):
            made = table(draw, n, 100_000)
            made.write_parquet(Path(folder, f"table{n}.parquet"))
            datasets.add(ws, f"table{n}", made, key="id", event_time="event", known_time="known")
        sources = (features.source(f"table{n}", by="k", columns=columns(n), within=TTL) for n in range(TABLES))
        view = features.View("bench", tuple(sources))
        began = time.process_time()
        joined = features.offline(ws, view, asked, time="at")
        offline = time.process_time() - began
        materializing.materialize(ws, view)
        p50 = statistics.median(looked_up(ws))
        online.close()
        ws.close()
        sizes = map(str, (KEYS, ENTITIES, LOOKUPS))
        theirs = peer("feast", FEAST, FEAST_PROGRAM, folder, *sizes, START.isoformat(), END.isoformat())
    assert joined.height == theirs["rows"] == LABELS
    return [
        Row(
            "features of 1M labels from 3 datasets of 100,000 rows, first time in a process, CPU s",
            f"{offline:.2f}",
            f"{theirs['offline']:.2f} (Feast, DuckDB)",
            f"{offline / theirs['offline']:.3f}x",
            "<= 0.2x",
        ),
        Row(
            "online look-up, 100 entities x 12 features on SQLite, p50, CPU ms",
            f"{p50 * 1000:.2f}",
            f"{theirs['p50'] * 1000:.2f} (Feast)",
            f"{p50 / theirs['p50']:.3f}x",
            "<= 0.1x",
        ),
    ]


def looked_up(ws: Workspace) -> list[float]:
    """CPU seconds of each look-up."""
    draw, took = random.Random(0), []
    for _ in range(LOOKUPS):
        entities = [{"k": draw.randrange(KEYS)} for _ in range(ENTITIES)]
        began = time.process_time()
        online.lookup(ws, "bench", entities, at=END)
        took.append(time.process_time() - began)
    return took


def labels(draw: np.random.Generator) -> pl.DataFrame:
    """Keys and moments, in no order."""
    at = np.datetime64(START.replace(tzinfo=None), "us") + draw.integers(0, DAYS * 86_400 * 10**6, LABELS)
    return pl.DataFrame({"k": draw.integers(0, KEYS, LABELS), "at": at}).with_columns(utc("at"))


def table(draw: np.random.Generator, number: int, count: int) -> pl.DataFrame:
    """A table in order of its event time."""
    event = np.datetime64(START.replace(tzinfo=None), "us") + draw.integers(0, DAYS * 86_400 * 10**6, count)
    late = np.where(draw.random(count) < 0.1, draw.integers(0, 10**10, count), 0)
    values = {name: draw.normal(size=count) for name in columns(number)}
    made = pl.DataFrame(
        {"id": np.arange(count), "k": draw.integers(0, KEYS, count), "event": event, "known": event + late, **values}
    )
    return made.with_columns(utc("event"), utc("known")).sort("event")


def columns(number: int) -> list[str]:
    """The names of a table's features."""
    return [f"x{number}{n}" for n in range(4)]


def utc(name: str) -> pl.Expr:
    """The column as UTC times."""
    return pl.col(name).dt.replace_time_zone("UTC")


def in_polars(left: pl.DataFrame, tables: list[pl.DataFrame], *, mixed: bool) -> pl.DataFrame:
    """The naive join: one clock."""
    made = left.with_row_index("place").sort("at") if mixed else left
    for each in tables:
        right = each.drop("id", "known").rename({"event": "at"})
        made = made.join_asof(right, on="at", by="k", tolerance=TTL, check_sortedness=False)
    return made.sort("place").drop("place") if mixed else made


def alternating(one: Callable[[], object], other: Callable[[], object], repeats: int = 5) -> tuple[float, float]:
    """Medians of both sides' CPU seconds, measured in turn after one time each that does not count."""
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for side, work in enumerate((one, other)):
            began = time.process_time()
            work()
            if turn:
                took[side].append(time.process_time() - began)
    return statistics.median(took[0]), statistics.median(took[1])


if __name__ == "__main__":
    for row in rows():
        print("| " + " | ".join(row) + " |", flush=True)
    sys.exit(0)
