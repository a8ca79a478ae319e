"""Runs of an experiment beside each other: what differs, what goes with a metric, curves, pictures, code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tidemill.api.views.shaping import Shown
from tidemill.api.views.tracking import media, table
from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.types import Run
from tidemill.project import Project
from tidemill.track import comparison, curves, experiments, files
from tidemill.track.searching.found import Found
from tidemill.track.searching.runs import search

MOST = 500
PICTURED, PICTURES = 12, 6  # runs side by side, pictures of each
DRAWN, POINTS = 100, 20_000  # runs whose curves are drawn; points of all together
FILES = 100  # of two runs, that can be compared
AXES = 7  # of the parallel coordinates, where none are chosen
_ID = re.compile(r"[\w-]{1,100}")


def compare(
    project: Project,
    experiment_id: int,
    *,
    runs: str = "",
    filter: str = "",
    order: str = "",
    metric: str = "",
    x: str = "",
    y: str = "",
    axes: Sequence[str] = (),
    across: str = "step",
    smooth: float = 0.0,
    left: str = "",
    right: str = "",
    file: str = "",
) -> Shown:
    """Up to 500 runs. runs: their ids, with commas; else those of the filter, in its order.

    metric: the one that is explained. x, y: columns of the scatter plot. axes: columns of the parallel coordinates.
    left, right: ids of the two whose code is compared; file: a text file of both instead. Raises NotFound, BadInput.
    """
    found = experiments.get(project.ws, experiment_id)
    chosen, more = _chosen(project, found.id, runs, filter, order)
    metrics = sorted({name for run in chosen for name in run.metrics})
    metric = _metric(metric.removeprefix("metrics."), metrics)
    results = [table.cell(run, f"metrics.{metric}") if metric else None for run in chosen]
    numbers = [each if isinstance(each, float) else None for each in results]
    differing, alike = comparison.differing(chosen)
    found_shares = comparison.importances(differing, numbers)
    shares = [each._asdict() for each in found_shares]
    told = {each.name: each.share for each in found_shares}
    ordered = sorted(differing, key=lambda name: (name not in told, -told.get(name, 0.0), name))
    columns = [f"params.{name}" for name in differing] + [f"metrics.{name}" for name in metrics]
    chosen_axes = list(axes) or [f"params.{name}" for name in ordered[: AXES - 1] if name in told or not told]
    chosen_axes = [each for each in chosen_axes if each != f"metrics.{metric}"]
    chosen_axes += [f"metrics.{metric}"] if metric else []
    x = x or next(iter(chosen_axes), "")
    y = y or (f"metrics.{metric}" if metric else "")
    for each in (*chosen_axes, *(one for one in (x, y) if one)):
        table.split(each)
    return {
        "id": found.id,
        "name": found.name,
        "asked": {"runs": runs, "filter": filter, "order": order, "metric": metric, "x": x, "y": y, "axes": list(axes),
                  "across": across, "smooth": smooth, "left": left, "right": right, "file": file},
        "more": more,
        "metric": metric,
        "best": table.guess(metric),
        "metrics": metrics,
        "columns": columns,
        "runs": [{**table.line(run, ()), "metric": number} for run, number in zip(chosen, numbers, strict=True)],
        "differing": differing,
        "alike": alike,
        "importances": shares,
        "parallel": [{"column": each, "values": [table.cell(run, each) for run in chosen]} for each in chosen_axes],
        "scatter": _scatter(chosen, x, y),
        "curves": _curves(project, chosen[:DRAWN], _curved(chosen, metric), across, smooth),
        "pictures": _pictures(project, chosen[:PICTURED]),
        "code": _code(project, chosen, left, right, file),
    }  # fmt: skip


def _chosen(project: Project, experiment: int, runs: str, filter: str, order: str) -> tuple[tuple[Found, ...], bool]:
    """The runs, and whether there were more."""
    ids = [each.strip() for each in runs.split(",") if each.strip()]
    if not ids:
        page = search(project.ws, [experiment], filter, order_by=[order] if order else [], limit=MOST)
        return page.runs, page.token is not None
    if len(ids) > MOST:
        raise BadInput(f"{len(ids)} runs are too many to be compared; at most {MOST}")
    wrong = next((each for each in ids if not _ID.fullmatch(each)), None)
    if wrong is not None:
        raise BadInput(f"{wrong[:60]!r} is no run's id; give ids with commas: runs=a,b,c")
    page = search(project.ws, [experiment], f"run_id IN ({', '.join(repr(each) for each in ids)})", limit=MOST)
    by_id = {run.run_id: run for run in page.runs}
    missing = next((each for each in ids if each not in by_id), None)
    if missing is not None:
        raise NotFound(f"no run {missing!r} in this experiment; take ids from /experiments/{experiment}")
    return tuple(by_id[each] for each in dict.fromkeys(ids)), False


def _metric(asked: str, known: Sequence[str]) -> str:
    if asked and asked not in known:
        raise BadInput(f"none of these runs has a metric {asked!r}; there are {', '.join(known[:20]) or 'none'}."
                       f"{nearest(asked, known)}")  # fmt: skip
    plain = [name for name in known if not name.startswith(table.SYSTEM)]
    return asked or next(iter(plain), "")


def _scatter(runs: Sequence[Found], x: str, y: str) -> Shown | None:
    if not x or not y:
        return None
    points = [(table.cell(run, x), table.cell(run, y), run) for run in runs]
    return {
        "x": x,
        "y": y,
        "points": [[a, b, run.run_id, run.name] for a, b, run in points if a is not None and b is not None],
    }


def _curved(runs: Sequence[Found], metric: str) -> str:
    """The metric, or another that was logged at steps where this one was not."""
    stepped = {name for run in runs for name, last in run.metrics.items() if last.step > 0}
    plain = sorted(name for name in stepped if not name.startswith(table.SYSTEM))
    return metric if metric in stepped or not plain else plain[0]


def _curves(project: Project, runs: Sequence[Found], metric: str, across: Any, smooth: float) -> Shown | None:
    if not metric or not runs:
        return None
    read = curves.read(project.ws, [run.run_id for run in runs], metric)
    drawn = [run for run in runs if len(read.get(run.run_id, {}).get(metric, ())) > 1]
    most = max(20, min(600, POINTS // max(1, len(drawn))))
    lines = []
    for run in drawn:
        values = read[run.run_id][metric]
        line = curves.line(values, across, start_s=run.start_ms / 1000, smooth=smooth, most=most)
        lines.append({"id": run.run_id, "name": run.name, "points": len(values), "line": [[x, y] for x, y in line]})
    return {"metric": metric, "lines": lines, "most": most, "of": len(runs), "across": across, "smooth": smooth}


def _pictures(project: Project, runs: Sequence[Found]) -> Shown:
    """The pictures that most of these runs have."""
    found = {run.run_id: files.under(project.ws, run.run_id) for run in runs}
    paths = media.pictures(found)[:PICTURES]
    has = {run_id: {each.path for each in of} for run_id, of in found.items()}
    return {
        "paths": paths,
        "runs": [{"id": run.run_id, "name": run.name, "has": [path in has[run.run_id] for path in paths]}
                 for run in runs if any(path in has[run.run_id] for path in paths)],
    }  # fmt: skip


def _code(project: Project, runs: Sequence[Found], left: str, right: str, file: str) -> Shown | None:
    """The code of two runs, or a text file that both have, line by line; of the first two where none are named."""
    ids = [run.run_id for run in runs]
    pair = [left or (ids[0] if ids else ""), right or (ids[1] if len(ids) > 1 else "")]
    if not all(pair):
        return None
    wrong = next((each for each in pair if each not in ids), None)
    if wrong is not None:
        raise BadInput(f"run {wrong!r} is none of those that are compared here; choose two of them")
    logged = [{each.path: each for each in files.under(project.ws, run_id)} for run_id in pair]
    shared = [path for path in logged[0] if path in logged[1] and path.endswith(media.TEXTS)][:FILES]
    if file and file not in shared:
        known = ", ".join(shared[:20]) or "none"
        raise BadInput(f"{file[:80]!r} is no text file that both runs have; there are {known}.{nearest(file, shared)}")
    found = [project.ws.graph.get(run_id) for run_id in pair]
    if not file and shared and not any(isinstance(run, Run) and run.code for run in found):
        apart = (path for path in shared if logged[0][path].digest != logged[1][path].digest)
        file = next(apart, shared[0])
    sides = []
    for run, of in zip(found, logged, strict=True):
        assert isinstance(run, Run)
        digest = of[file].digest if file else run.code
        commit = run.tags.get("mlflow.source.git.commit")
        sides.append({"id": run.id, "name": run.name, "digest": digest, "commit": commit})
    same = sides[0]["digest"] is not None and sides[0]["digest"] == sides[1]["digest"]
    texts = ["", ""] if same else [_text(project, side["digest"]) for side in sides]
    old, new = texts
    lines = None if same or old is None or new is None else comparison.text_diff(old, new)
    return {"sides": sides, "lines": lines, "same": same, "file": file, "files": shared}


def _text(project: Project, digest: str | None) -> str | None:
    try:
        return None if digest is None else project.ws.store.get(digest).decode()
    except (NotFound, UnicodeDecodeError):
        return None
