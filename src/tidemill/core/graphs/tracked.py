"""What of runs is searched, kept beside them: the tables of schema.py under "tracking".

They are copies. A run's row is told by the run's body, its parameters and tags too; the last value of a metric by the
run's points, or its results; an experiment by the last event of "experiment/<id>". Runs of the kinds "track.*" and
"train.*" are copied. A run's experiment and stage are its tags "tidemill.experiment" and "tidemill.stage".
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tidemill.core.graphs.schema import events, experiments, run_files, run_params, run_tags, tracked
from tidemill.core.ids import parse_time

KINDS = ("track.", "train.")
EXPERIMENT, STAGE, DELETED = "tidemill.experiment", "tidemill.stage", "tidemill.deleted"
OWNER = "mlflow.user"  # a tag: who ran it, where that is not whoever sent it
SCHEDULED = "tidemill.scheduled"  # a tag: the run is announced, and has not begun
DEFAULT = 0  # the experiment that is always there
FILES_EVENT = "files"  # of subject "run/<id>": files that were added, or removed
EXPERIMENT_EVENT = "experiment"  # its body is the whole state
Row = Mapping[str, Any]


def project(link: sa.Connection, rows: Iterable[Row], before: Mapping[str, str]) -> None:
    """Copy runs that were written. rows: of the table `runs`. before: the bodies that they had, by id."""
    heads: list[tuple[Any, ...]] = []
    kept: dict[str, list[tuple[str, str, str]]] = {"run_params": [], "run_tags": []}
    gone: dict[str, list[tuple[str, str]]] = {"run_params": [], "run_tags": []}
    results: list[tuple[Any, ...]] = []
    for row in rows:
        if not row["kind"].startswith(KINDS):
            continue
        run = json.loads(row["body"])
        old = json.loads(before[row["id"]]) if row["id"] in before else {"params": {}, "tags": {}}
        head = _head(run)
        heads.append(head)
        for table, name in (("run_params", "params"), ("run_tags", "tags")):
            now, was = (shown(each[name]) if name == "tags" else texts(each[name]) for each in (run, old))
            kept[table] += [(run["id"], key, value) for key, value in now.items() if was.get(key) != value]
            gone[table] += [(run["id"], key) for key in was if key not in now]
        at_ms = head[7] or head[6]
        results += [(run["id"], key, head[1], *_value(float(value)), 0, at_ms) for key, value in run["metrics"].items()]
    _many(link, _PUT_TRACKED, heads)
    for table, pairs in kept.items():
        _many(link, f"DELETE FROM {table} WHERE run_id = ? AND key = ?", gone[table])  # noqa: S608  our names
        _many(link, _PUT_PAIR.format(table=table), pairs)
    _many(link, f"{_PUT_LATEST} ON CONFLICT (run_id, key) DO NOTHING", results)


def points(link: sa.Connection, rows: Sequence[Row]) -> None:
    """Copy the last values of metrics. rows: of the table `points`, all of them new."""
    last: dict[tuple[str, str], tuple[int, str, float]] = {}
    for row in rows:
        name, given = (row["run_id"], row["key"]), (row["step"], row["at"], row["value"])
        if name not in last or _order(given) > _order(last[name]):
            last[name] = given
    if not last:
        return
    among = sorted({run_id for run_id, _ in last})
    where = experiments_of(link, among)
    made = [
        (run_id, key, where[run_id], *_value(value), step, ms(parse_time(at)))
        for (run_id, key), (step, at, value) in last.items()
        if run_id in where
    ]
    _many(link, f"{_PUT_LATEST} {_NEWER}", made)


def experiments_of(link: sa.Connection, run_ids: Sequence[str]) -> dict[str, int]:
    """The experiment of each of the runs that are copied here."""
    found: dict[str, int] = {}
    for place in range(0, len(run_ids), 500):
        some = run_ids[place : place + 500]
        asked = f"SELECT run_id, experiment FROM tracked WHERE run_id IN ({', '.join('?' * len(some))})"  # noqa: S608
        found |= {row[0]: row[1] for row in link.exec_driver_sql(say(link, asked), tuple(some))}
    return found


def again(link: sa.Connection, rows: Sequence[Row]) -> None:
    """Copy runs anew whose bodies were amended: nothing of the old copies stays."""
    for row in rows:
        if row["kind"].startswith(KINDS):
            for table in (tracked, run_params, run_tags):
                link.execute(table.delete().where(table.c.run_id == row["id"]))
    project(link, rows, {})


def put_experiment(link: sa.Connection, body: Mapping[str, Any]) -> None:
    """Copy the state of an experiment, as the body of an event of "experiment/<id>" has it."""
    row = {name: body[name] for name in ("id", "name", "stage", "created_ms", "updated_ms", "location")}
    row["tags"] = json.dumps(body["tags"], ensure_ascii=False, sort_keys=True)
    link.execute(experiments.delete().where(experiments.c.id == row["id"]))
    link.execute(experiments.insert(), row)


def experiments_again(link: sa.Connection) -> None:
    """Copy all experiments anew, after events were amended."""
    last = (
        sa.select(sa.func.max(events.c.seq))
        .where(events.c.kind == EXPERIMENT_EVENT, events.c.subject >= "experiment/", events.c.subject < "experiment0")
        .group_by(events.c.subject)
    )
    for body in link.execute(sa.select(events.c.body).where(events.c.seq.in_(last))).scalars().all():
        put_experiment(link, json.loads(body))


def files_again(link: sa.Connection) -> None:
    """Copy the files of all runs anew, after events were amended."""
    there: dict[tuple[str, str], dict[str, Any]] = {}
    said = sa.select(events.c.subject, events.c.body).where(events.c.kind == FILES_EVENT).order_by(events.c.seq)
    for subject, body in link.execute(said).all():
        run_id, told = subject.partition("/")[2], json.loads(body)
        for path, digest, size in told.get("files", ()):
            row = {"run_id": run_id, "path": path, "digest": digest, "size": size, "at_ms": told["at"]}
            there[run_id, path] = row
        for path in told.get("removed", ()):
            there.pop((run_id, path), None)
    link.execute(run_files.delete())
    if there:
        link.execute(run_files.insert(), list(there.values()))


def ms(at: datetime) -> int:
    """Milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def shown(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that are the user's; not that which names the process of a run that goes on."""
    return {name: value for name, value in tags.items() if not name.startswith("tidemill.") and name != "process"}


def text_of(value: Any) -> str:  # Any: a JSON value
    """A parameter as text, as it is searched."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as texts."""
    return {name: text_of(value) for name, value in params.items()}


def _head(run: Mapping[str, Any]) -> tuple[Any, ...]:
    tags = run["tags"]
    ended = run["ended_at"]
    return (
        run["id"],
        int(tags.get(EXPERIMENT, DEFAULT)),
        tags.get(STAGE, "active"),
        "scheduled" if SCHEDULED in tags else run["status"],
        run["name"],
        tags.get(OWNER, run["actor"]),
        ms(parse_time(run["started_at"])),
        None if ended is None else ms(parse_time(ended)),
        int(tags[DELETED]) if DELETED in tags else None,
    )


def _value(value: float) -> tuple[float | None, int]:
    return (None, 1) if math.isnan(value) else (value, 0)


def _order(given: tuple[int, str, float]) -> tuple[int, str, bool, float]:
    step, at, value = given
    return (step, at, not math.isnan(value), value if not math.isnan(value) else 0.0)


def _many(link: sa.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        link.exec_driver_sql(say(link, statement), list(rows))


def say(link: sa.Connection, statement: str) -> str:
    """The statement, its parameters "?", as the connection's driver marks them."""
    return statement if link.dialect.name == "sqlite" else statement.replace("?", "%s")


_HEAD = ("run_id", "experiment", "stage", "status", "name", "owner", "start_ms", "end_ms", "deleted_ms")
_PUT_TRACKED = (
    f"INSERT INTO tracked ({', '.join(_HEAD)}) VALUES ({', '.join('?' * len(_HEAD))})"  # noqa: S608  our names
    f" ON CONFLICT (run_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _HEAD[1:])}"
)
_PUT_PAIR = (
    "INSERT INTO {table} (run_id, key, value) VALUES (?, ?, ?) "
    "ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value"
)
_PUT_LATEST = "INSERT INTO latest (run_id, key, experiment, value, is_nan, step, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
_NEWER = (
    "ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value, is_nan = excluded.is_nan, step = excluded.step, "
    "at_ms = excluded.at_ms WHERE (excluded.step, excluded.at_ms, 1 - excluded.is_nan, coalesce(excluded.value, 0)) "
    ">= (latest.step, latest.at_ms, 1 - latest.is_nan, coalesce(latest.value, 0))"
)
