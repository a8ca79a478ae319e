"""Tunings: one study as it goes along."""

from __future__ import annotations

from tidemill.api.views.runs import find_run
from tidemill.api.views.shaping import Shown, plain, run_line
from tidemill.core.errors import NotFound
from tidemill.project import Project


def tuning(project: Project, run_id: str) -> Shown:
    """A tuning by its run: trials, how the best came about, what matters, what trades off.

    `study` is None while it has not begun. Raises NotFound for an unknown run, BadInput for one that is no tuning.
    """
    from tidemill.train.tuning.studies import study_of

    run = find_run(project, run_id)
    try:
        study = plain(study_of(project.ws, run.id).to_json())
    except NotFound:
        if run.status != "running":
            raise
        study = None
    return {
        **run_line(run),
        "params": plain(run.params),
        "study": study,
        "counts": _counts(study),
        "live": run.status == "running",
    }


def _counts(study: Shown | None) -> dict[str, int]:
    found: dict[str, int] = {}
    for trial in (study or {"trials": []})["trials"]:
        found[trial["state"]] = found.get(trial["state"], 0) + 1
    return found
