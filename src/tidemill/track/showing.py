"""Runs as a notebook shows them: small tables of HTML, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Protocol

ROWS, COLUMNS, LETTERS = 20, 12, 60


class Shown(Protocol):
    """What of a run is shown; `found.Found` is one."""

    @property
    def run_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], below: str = "") -> str:
    """A table; what is below it is text.

    >>> table(["a"], [["<b>"], [0.25]])
    '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr><tr><td>0.25</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(str(each))}</th>" for each in heads)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(_text(value))}</td>' for value in row)}</tr>" for row in rows)
    made = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f"{made}<p>{escape(below)}</p>" if below else made


def run(run_id: str, name: str, status: str, params: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """One run: its parameters and results below each other."""
    rows = [("run", f"{name} ({status}), {run_id}")]
    rows += [(f"params.{key}", value) for key, value in list(params.items())[:ROWS]]
    rows += [(f"metrics.{key}", value) for key, value in list(metrics.items())[:ROWS]]
    return table(("", ""), rows)


def runs(found: Sequence[Shown], *, more: bool) -> str:
    """Runs of a search, a row each: the first of them, and the first of their columns."""
    some = found[:ROWS]
    names = [("metrics", each) for each in sorted({key for run in some for key in run.metrics})]
    names = (names + [("params", each) for each in sorted({key for run in some for key in run.params})])[:COLUMNS]
    heads = ["run_id", "name", "status", *(f"{entity}.{key}" for entity, key in names)]
    rows = [
        [run.run_id, run.name, run.status, *(_value(getattr(run, entity).get(key)) for entity, key in names)]
        for run in some
    ]
    below = f"the first {len(some)} of {len(found)} runs" if len(found) > len(some) else f"{len(found)} runs"
    return table(heads, rows, below + (", and more after them" if more else ""))


def _value(given: Any) -> Any:  # Any: a text, or a last value with its step
    return getattr(given, "value", given)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items())[:LETTERS]
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"
