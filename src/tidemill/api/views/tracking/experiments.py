"""Experiments: the tree of them, and the table of runs of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidemill.api.views.shaping import Shown, finite
from tidemill.api.views.tracking import saved, table
from tidemill.api.views.tracking.table import Asked
from tidemill.core.errors import BadInput
from tidemill.project import Project
from tidemill.track import experiments as all_of
from tidemill.track import tables
from tidemill.track.experiments import Experiment
from tidemill.track.searching.experiments import search_experiments
from tidemill.track.searching.runs import MOST, search

SHOWN = 2000  # experiments of the list
COUNTED = 10_000  # matching runs that are counted; above it is said that there are more
GROUPS = 200
EARLIEST = 0


def experiments(project: Project, *, q: str = "") -> Shown:
    """All active experiments as a tree: a name "vision/cats" is "cats" in the folder "vision".

    q: only those whose name, or a tag, holds this text, whatever its case. Each with its runs, its last
    change, its tags.
    """
    found = search_experiments(project.ws, order_by=["name ASC"], limit=MOST).experiments
    wanted = [each for each in found if q.lower() in _words(each)]
    counted = tables.totals(project.ws)
    lines = [_line(each, *counted.get(each.id, (0, EARLIEST))) for each in wanted[:SHOWN]]
    return {"q": q, "in_all": len(found), "found": len(wanted), "experiments": lines, "tree": _tree(lines)}


def experiment(project: Project, experiment_id: int, asked: Asked) -> Shown:
    """The table of an experiment's runs. A filter or an order that cannot be read is told in `wrong`, with no runs."""
    ws = project.ws
    found = all_of.get(ws, experiment_id)
    known = tables.keys(ws, found.id)
    runs, many = tables.totals(ws).get(found.id, (0, EARLIEST)), None
    shown: Shown = {
        **_line(found, *runs),
        "stage": found.stage,
        "state": asked.state(),
        "limit": asked.limit,
        "known": known,
        "views": saved.views(found),
        "allowed": table.allowed(known),
        "wrong": None,
        "columns": [],
        "lines": [],
        "groups": None,
        "next": None,
        "first": asked.token is None,
    }
    try:
        chosen = table.columns(asked, known)
        if asked.group:
            shown["groups"] = _groups(project, found, asked, known)
        page = search(
            ws, [found.id], asked.filter, order_by=asked.orders, limit=asked.limit, token=asked.token, fields=chosen
        )
        if asked.filter:
            counted = search(ws, [found.id], asked.filter, limit=COUNTED, fields=())
            many = {"runs": len(counted.runs), "more": counted.token is not None}
        parents = tables.parents(ws, [each.run_id for each in page.runs])
    except BadInput as error:
        return {**shown, "wrong": str(error), "found": None}
    return {
        **shown,
        "columns": [table.column_line(each) for each in chosen],
        "lines": [{**table.line(each, chosen), "parent": parents.get(each.run_id)} for each in page.runs],
        "next": page.token,
        "found": many or {"runs": runs[0], "more": False},
    }


def _groups(project: Project, of: Experiment, asked: Asked, known: dict[str, list[str]]) -> Shown:
    """Runs by the value of a column: how many, and mean and best of the metric."""
    entity, _ = table.split(asked.group)
    if entity == "metrics":
        raise BadInput(f"no groups by {asked.group}, a metric; group by a parameter or a tag: params.NAME, tags.NAME")
    metrics = [name for name in known["metrics"] if not name.startswith(table.SYSTEM)]
    metric = asked.metric.removeprefix("metrics.") or (metrics[0] if metrics else "")
    best = asked.best or table.guess(metric)
    if best not in ("min", "max"):
        raise BadInput(f"best {best!r} is not known; allowed: min, max")
    fields = [asked.group, *([f"metrics.{metric}"] if metric else [])]
    page = search(project.ws, [of.id], asked.filter, limit=MOST, fields=fields)
    made: dict[str | None, list[Any]] = {}
    for run in page.runs:
        value = table.cell(run, asked.group)
        assert not isinstance(value, float)
        made.setdefault(value, []).append((table.cell(run, f"metrics.{metric}") if metric else None, run.run_id))
    lines = [_group(value, runs, best, asked) for value, runs in made.items()]
    lines.sort(key=lambda each: (each["best"] is None, (each["best"] or 0) * (1 if best == "min" else -1)))
    return {
        "by": asked.group,
        "metric": metric,
        "best": best,
        "lines": lines[:GROUPS],
        "in_all": len(lines),
        "cut": page.token is not None,
    }


def _group(value: str | None, runs: Sequence[tuple[float | None, str]], best: str, asked: Asked) -> Shown:
    values = [(number, run_id) for number, run_id in runs if number is not None]
    top = (min if best == "min" else max)(values, default=None)
    return {
        "value": value,
        "runs": len(runs),
        "mean": finite(sum(number for number, _ in values) / len(values)) if values else None,
        "best": top[0] if top else None,
        "run": top[1] if top else None,
        "filter": _within(value, asked),
    }


def _within(value: str | None, asked: Asked) -> str | None:
    """The filter of a group's runs; None where it cannot be written."""
    name = table.quoted(asked.group)
    text = None if value is None else table.quoted_text(value)
    if name is None or (value is not None and text is None):
        return None
    here = f"{name} IS NULL" if value is None else f"{name} = {text}"
    return f"({asked.filter}) AND {here}" if asked.filter else here


def _words(found: Experiment) -> str:
    tags = (f"{name} {value}" for name, value in found.tags.items() if not name.startswith(saved.TAG))
    return "\n".join([found.name, *tags]).lower()


def _line(found: Experiment, runs: int, changed_ms: int) -> Shown:
    return {
        "id": found.id,
        "name": found.name,
        "runs": runs,
        "changed_at": table.time(max(changed_ms, found.updated_ms)),
        "tags": {name: value for name, value in found.tags.items() if not name.startswith(saved.TAG)},
    }


def _tree(lines: Sequence[Shown]) -> Shown:
    """Folders within folders: {"folders": {name: tree}, "experiments": [...], "runs", "changed_at"}."""
    root: Shown = _folder()
    for line in lines:
        *folders, name = [part for part in line["name"].split("/") if part] or [line["name"]]
        here = root
        for each in folders:
            here = _counted(here, line)["folders"].setdefault(each, _folder())
        _counted(here, line)["experiments"].append({**line, "short": name})
    return root


def _folder() -> Shown:
    return {"folders": {}, "experiments": [], "runs": 0, "many": 0, "changed_at": None}


def _counted(folder: Shown, line: Shown) -> Shown:
    folder["runs"] += line["runs"]
    folder["many"] += 1
    folder["changed_at"] = max(folder["changed_at"] or "", line["changed_at"] or "") or None
    return folder
