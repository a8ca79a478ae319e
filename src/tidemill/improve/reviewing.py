"""Suspicious labels to people: confident learning over out-of-fold probabilities fills a review queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from tidemill.core.recipe import Recipe
from tidemill.core.workspace import Workspace
from tidemill.data.rows import Rows
from tidemill.prepare import labels
from tidemill.prepare.suspects import suspects
from tidemill.train.folds import out_of_fold

SHOWN = 10  # columns of a row that a person is shown


def ask_for_review(
    ws: Workspace,
    queue: str,
    rows: Rows,
    fit: Callable[..., Any],
    recipe: Recipe,
    *,
    target: str,
    params: Mapping[str, Any],
    at_most: int = 20,
) -> int:
    """Ask for the labels that the model, fitted without them, contradicts most surely; returns how many tasks stand."""
    frame = rows.frame()
    p = out_of_fold(fit, frame, recipe, target=target, key=rows.key, time=rows.event_time, params=params, folds=3)
    found = suspects(frame[target].cast(pl.Float64).to_numpy(), p, at_most=at_most)
    shown = [column for column in frame.columns if column != target][:SHOWN]
    tasks = []
    for suspect in found:
        row = frame.row(suspect.index, named=True)
        tasks.append(
            {
                "key": str(row[rows.key]),
                "given": suspect.given,
                "suggested": suspect.suggested,
                "show": {column: _plain(row[column]) for column in shown} | {"margin": round(suspect.margin, 4)},
            }
        )
    return len(labels.ask(ws, queue, tasks, source=rows.base))


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
