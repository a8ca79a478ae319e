"""A study as people read it: every trial, how the best came about, which parameters matter, what trades off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.types import Run
from tidemill.core.workspace import Workspace
from tidemill.train.tuning.quiet import quiet

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, slots=True)
class TrialView:
    """One trial. state: "waiting", "running", "complete", "pruned" or "fail". values: one a score, None before its end.

    params: without the fit's name before them. broken: the constraints that it breaks. reports: (step, score).
    """

    number: int
    state: str
    fit: str
    params: dict[str, Any]
    values: tuple[float, ...] | None
    broken: tuple[str, ...]
    run: str | None
    wall_s: float
    started_at: datetime | None
    text: str
    reports: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study. scores: (name, "max" or "min"). best: number of the best trial within the constraints, None before one.

    history: (trial, its first score, the best so far) of trials that ended well, in order. front: numbers of the trials
    that no other beats in every score. importance: by fit, each parameter's share of what its values explain (0..1,
    in all 1); empty below four trials. slices: by fit and parameter, (value, first score) of each trial.
    """

    name: str
    run: str
    scores: tuple[tuple[str, str], ...]
    trials: tuple[TrialView, ...]
    best: int | None
    history: tuple[tuple[int, float, float], ...]
    front: tuple[int, ...]
    importance: dict[str, dict[str, float]]
    slices: dict[str, dict[str, tuple[tuple[Any, float], ...]]]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        found = asdict(self)
        for trial in found["trials"]:
            trial["started_at"] = None if trial["started_at"] is None else trial["started_at"].isoformat()
        return found


def study_of(ws: Workspace, run_id: str) -> StudyView:
    """The study of a tuning, by the id of its run "train.tune"; also while it goes on, and after it was killed.

    Raises NotFound for an unknown run, BadInput for one that is no tuning or has no study.
    """
    with quiet():
        study, run = _load(ws, run_id)
        scores = tuple((str(name), str(side)) for name, side in study.user_attrs.get("scores", []))
        found = study.get_trials(deepcopy=False)
        views = tuple(_trial(each) for each in found)
        well = [view for view in views if view.values is not None and view.state == "complete"]
        kept = [view for view in well if not view.broken]
        signs = [1.0 if side == "max" else -1.0 for _, side in scores]
        fits = sorted({view.fit for view in well})
        return StudyView(
            study.study_name,
            run.id,
            scores,
            views,
            _best(kept, signs),
            _history(kept, signs),
            _front(kept, signs),
            {fit: _importance(study, fit) for fit in fits},
            {fit: _slices([view for view in well if view.fit == fit]) for fit in fits},
        )


def best_params(ws: Workspace, run_id: str, count: int) -> list[dict[str, Any]]:
    """The parameters of the best trials of a tuning, under the names that its study has, best first."""
    study, _ = _load(ws, run_id)
    view = study_of(ws, run_id)
    signs = [1.0 if side == "max" else -1.0 for _, side in view.scores]
    well = [each for each in view.trials if each.values is not None and each.state == "complete" and not each.broken]
    well.sort(key=lambda each: tuple(-value for value in _signed(each, signs)))
    trials = study.get_trials(deepcopy=False)
    return [dict(trials[each.number].params) for each in well[:count]]


def _load(ws: Workspace, run_id: str) -> tuple[Study, Run]:
    import optuna

    from tidemill.train.tuning.storage import GraphStorage

    run = ws.graph.get(run_id)
    if not isinstance(run, Run) or run.kind != "train.tune":
        what = f"a {run.kind}" if isinstance(run, Run) else "an artifact"
        raise BadInput(f"{run_id} is {what}, not a tuning; list tunings with `tidemill runs --kind train.tune`")
    if "study" not in run.tags:
        raise BadInput(f"tuning {run_id} was recorded before studies were kept; its trials are the runs inside it")
    try:
        study = optuna.load_study(
            study_name=run.tags["study"],
            storage=GraphStorage(ws, requeue=False, runs=False),
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
    except KeyError as error:
        raise NotFound(f"the study of tuning {run_id} has not begun: {error}") from None
    return study, run


def _trial(trial: FrozenTrial) -> TrialView:
    fit = str(trial.params.get("fit") or trial.system_attrs.get("fixed_params", {}).get("fit", ""))
    named = trial.params or trial.system_attrs.get("fixed_params", {})
    return TrialView(
        trial.number,
        trial.state.name.lower(),
        fit,
        {name.partition(".")[2]: value for name, value in named.items() if name.startswith(f"{fit}.")},
        None if trial.values is None else tuple(trial.values),
        tuple(name for name, excess in trial.constraints.items() if excess > 0),
        trial.user_attrs.get("run"),
        float(trial.user_attrs.get("wall_s", 0.0)),
        trial.datetime_start,
        str(trial.user_attrs.get("text", "")),
        tuple(sorted(trial.intermediate_values.items())),
    )


def _signed(view: TrialView, signs: Sequence[float]) -> tuple[float, ...]:
    return tuple(sign * value for sign, value in zip(signs, view.values or (), strict=True))


def _best(views: Sequence[TrialView], signs: Sequence[float]) -> int | None:
    found = max(views, key=lambda view: (*_signed(view, signs), -view.number), default=None)
    return None if found is None else found.number


def _history(views: Sequence[TrialView], signs: Sequence[float]) -> tuple[tuple[int, float, float], ...]:
    lines: list[tuple[int, float, float]] = []
    best = float("-inf")
    for view in views:
        value = _signed(view, signs)[0]
        best = max(best, value)
        lines.append((view.number, signs[0] * value, signs[0] * best))
    return tuple(lines)


def _front(views: Sequence[TrialView], signs: Sequence[float]) -> tuple[int, ...]:
    """The trials that no other one is at least as good as in all scores and better in one (Pareto)."""
    points = [(view.number, _signed(view, signs)) for view in views]

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(other != mine and all(o >= m for o, m in zip(other, mine, strict=True)) for _, other in points)

    return tuple(number for number, point in points if not beaten(point))


def _slices(views: Sequence[TrialView]) -> dict[str, tuple[tuple[Any, float], ...]]:
    names = sorted({name for view in views for name in view.params})
    return {
        name: tuple((view.params[name], view.values[0]) for view in views if name in view.params and view.values)
        for name in names
    }


def _importance(study: Study, fit: str) -> dict[str, float]:
    """How much of the first score's spread each parameter explains, among the trials of one fit.

    Source: Watanabe, Bansal & Hutter, PED-ANOVA, IJCAI 2023, as Optuna has it.
    """
    import optuna
    from optuna.trial import TrialState

    trials = [each for each in study.get_trials(states=(TrialState.COMPLETE,)) if each.params.get("fit") == fit]
    names = {name for each in trials for name in each.params if name.startswith(f"{fit}.")}
    shared = [name for name in sorted(names) if all(name in each.params for each in trials)]
    varied = [name for name in shared if len({each.params[name] for each in trials}) > 1]
    if len(trials) < 4 or not varied:
        return {}
    alone = optuna.create_study(directions=study.directions[:1])
    for each in trials:
        alone.add_trial(
            optuna.trial.create_trial(
                params={name: each.params[name] for name in varied},
                distributions={name: each.distributions[name] for name in varied},
                value=each.values[0],
            )
        )
    found = optuna.importance.get_param_importances(alone, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
    return {name.partition(".")[2]: float(share) for name, share in found.items()}
