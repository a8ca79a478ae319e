"""What a table of runs is asked for, and its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.api.views.shaping import Shown, finite
from tidemill.core.errors import BadInput, nearest
from tidemill.core.ids import iso
from tidemill.track.searching.found import Found
from tidemill.track.searching.vocabulary import RUNS
from tidemill.track.tables import ENTITIES

HEADS = ("run_name", "status", "start_time", "end_time", "user_id")  # that a table is ordered by too
MOST_COLUMNS = 60
LIMIT = 50  # runs of a page
CHOSEN = 4  # parameters, and metrics, that are shown where none are chosen
SYSTEM = "system/"  # metrics of the machine


@dataclass(frozen=True, slots=True)
class Asked:
    """The state of a table, as its address has it.

    order: such as "metrics.loss ASC". columns: such as "params.depth". group: a column of parameters or tags; metric:
    that whose mean and best the groups show; best: "min" or "max". limit: runs of a page; token: of the page before.
    """

    filter: str = ""
    order: str = ""
    columns: tuple[str, ...] = ()
    group: str = ""
    metric: str = ""
    best: str = ""
    limit: int = LIMIT
    token: str | None = None

    @property
    def orders(self) -> list[str]:
        """As a search takes them."""
        return [self.order] if self.order else []

    def state(self) -> Shown:
        """What is in the address but the page of it; the limit is None where it is as by default."""
        return {
            "filter": self.filter,
            "order": self.order,
            "columns": list(self.columns),
            "group": self.group,
            "metric": self.metric,
            "best": self.best,
            "limit": None if self.limit == LIMIT else self.limit,
        }


def split(column: str) -> tuple[str, str]:
    """A column's entity and name. Raises BadInput for what is no column."""
    entity, _, name = column.partition(".")
    if entity not in ENTITIES or not name:
        raise BadInput(
            f"no column {column!r}; a column is one of {', '.join(f'{each}.NAME' for each in ENTITIES)}, such as "
            f"metrics.loss.{nearest(entity, ENTITIES)}"
        )
    return entity, name


def quoted(column: str) -> str | None:
    """A column as filters and orders name it; None where no quotes can hold it."""
    entity, name = split(column) if "." in column else ("", column)
    if not entity:
        return name
    for quote in ("`", '"'):
        if quote not in name and (quote == "`" or ("\\" not in name and "'" not in name)):
            return f"{entity}.{quote}{name}{quote}"
    return None


def quoted_text(value: str) -> str | None:
    """A text as filters write it; None where no quotes can hold it."""
    return next((f"{quote}{value}{quote}" for quote in ("'", '"') if quote not in value and "\\" not in value), None)


def columns(asked: Asked, known: Mapping[str, Sequence[str]]) -> list[str]:
    """Those that are chosen; else the first metrics and parameters."""
    if len(asked.columns) > MOST_COLUMNS:
        raise BadInput(f"{len(asked.columns)} columns; at most {MOST_COLUMNS} are shown at once; download the table")
    for each in asked.columns:
        split(each)
    if asked.columns:
        return list(dict.fromkeys(asked.columns))
    metrics = [name for name in known["metrics"] if not name.startswith(SYSTEM)]
    return [f"metrics.{name}" for name in metrics[:CHOSEN]] + [f"params.{name}" for name in known["params"][:CHOSEN]]


def column_line(column: str) -> Shown:
    """A column of the table: its orders are None where it cannot be ordered by."""
    entity, name = split(column)
    order = quoted(column)
    return {
        "column": column,
        "entity": entity,
        "name": name,
        "asc": None if order is None else f"{order} ASC",
        "desc": None if order is None else f"{order} DESC",
    }


def line(run: Found, chosen: Sequence[str]) -> Shown:
    """A run as a row of the table."""
    return {
        "id": run.run_id,
        "name": run.name,
        "status": run.status,
        "owner": run.owner,
        "started_at": time(run.start_ms),
        "ended_at": time(run.end_ms),
        "duration_s": None if run.end_ms is None else (run.end_ms - run.start_ms) / 1000,
        "cells": [cell(run, column) for column in chosen],
    }


def cell(run: Found, column: str) -> str | float | None:
    """The value of a column; a metric that is not finite is None."""
    entity, name = split(column)
    if entity == "metrics":
        return finite(run.metrics[name].value) if name in run.metrics else None
    found: dict[str, str] = getattr(run, entity)
    return found.get(name)


def time(ms: int | None) -> str | None:
    """ISO text of milliseconds since 1970."""
    from datetime import UTC, datetime

    return None if ms is None else iso(datetime.fromtimestamp(ms / 1000, UTC))


def allowed(known: Mapping[str, Sequence[str]]) -> Shown:
    """What a filter may name, for who writes one."""
    return {
        "fields": [{"entity": of, "names": list(RUNS.fixed[of])} for of in RUNS.fixed],
        "logged": {entity: list(names)[:200] for entity, names in known.items()},
        "operators": {entity: list(each.operators) for entity, each in RUNS.free.items()},
    }


def guess(metric: str) -> str:
    """Whether less of a metric is better, by its name."""
    words = ("loss", "error", "rmse", "mae", "mse", "perplexity", "latency", "deviance", "_s", "_ms")
    return "min" if any(word in metric.lower() for word in words) else "max"
