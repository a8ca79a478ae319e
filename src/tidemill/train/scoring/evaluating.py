"""An evaluation as a recorded thing: one run "train.evaluate" whose report says how good a model is, how sure that is,
for whom it is worse, whether groups are treated alike, and what it looks at.

Evaluations are found again by the fit that they are of: the models that were registered from it show the newest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.core import scores
from tidemill.core.errors import BadInput, NotFound, WrongFormat, require_columns
from tidemill.core.ids import iso
from tidemill.core.recording import Recorder, done_before, key_of, outputs_of, recorded
from tidemill.core.rowhash import as_text, rows_digest
from tidemill.core.types import Artifact, DatasetVersion, View
from tidemill.core.workspace import Workspace
from tidemill.train import looks, targets
from tidemill.train.fit import Fitted, answers
from tidemill.train.matrix import matrix
from tidemill.train.scoring import measuring
from tidemill.train.scoring.compare import McNemar, Paired, mcnemar, paired
from tidemill.train.scoring.measuring import Answered, Explain, Floats

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.recipe import Recipe

KIND = "train.evaluate"
FORMAT = 2  # 1 is what registering writes
EXPLAINED_ROWS = 5_000  # shuffling each column five times asks the model for 5 x columns x rows answers


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated: a model that answers, wherever it comes from.

    name: of the run and the report. fit_run: id of the "train.fit" run. identity: a digest that says which model it is.
    answer: from features, shape (m, d), to answers as `fit.predict` gives them. estimator: for SHAP values, where it is
    in memory. used: (slot, artifact) pairs that the evaluation reads.
    """

    name: str
    fit_run: str
    identity: str
    recipe: Recipe
    target: str
    answer: Callable[[Floats], Floats]
    used: tuple[tuple[str, Artifact | View], ...]
    task: targets.Task = "binary"
    classes: tuple[str | int, ...] = ()
    estimator: object | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation's report: an artifact of kind "report", and its content."""

    artifact: Artifact
    report: Mapping[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """The report's id: its page is /evaluations/<id>."""
        return self.artifact.id

    @property
    def rows(self) -> int:
        """How many rows were scored."""
        return int(self.report["rows"])

    @property
    def looks(self) -> int:
        """How often anybody had looked at these rows by then, this time included (see `train.looks`)."""
        return int(self.report["looks"])

    @property
    def scores(self) -> Mapping[str, Mapping[str, Any]]:
        """Every score by name: {"value", "low", "high", "method", ...}."""
        found: Mapping[str, Mapping[str, Any]] = self.report["scores"]
        return found

    @property
    def weak(self) -> Sequence[Mapping[str, Any]]:
        """The weak slices found, worst first."""
        found: Sequence[Mapping[str, Any]] = self.report["weak"]["found"]
        return found

    @property
    def fairness(self) -> Mapping[str, Mapping[str, Any]]:
        """By group column."""
        return {each["column"]: each for each in self.report["fairness"]}

    @property
    def importances(self) -> Mapping[str, float]:
        """By column, most important first; empty where none were asked for."""
        lines = (self.report["importances"] or {}).get("columns", [])
        return {line["name"]: line.get("drop", line.get("size")) for line in lines}

    @property
    def threshold(self) -> float | None:
        """The cheapest cut, None without costs (or where calling no row positive is cheapest)."""
        found = self.report["threshold"]
        return None if found is None else found["threshold"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A recorded paired comparison of two models on the same rows. mcnemar: of binary models, at 0.5."""

    artifact: Artifact
    paired: Paired
    mcnemar: McNemar | None

    @property
    def better(self) -> bool:
        """Whether the other model is better than the one, significantly."""
        return self.paired.better


def of_fitted(fitted: Fitted) -> Subject:
    """A fit that is in memory."""
    return Subject(
        name=fitted.fit_name,
        fit_run=fitted.run,
        identity=fitted.run,
        recipe=fitted.recipe,
        target=fitted.target,
        answer=lambda X: answers(fitted.estimator, X, fitted.task, fitted.classes),
        used=(("recipe", fitted.recipe_artifact), ("rows", fitted.rows)),
        task=fitted.task,
        classes=fitted.classes,
        estimator=fitted.estimator,
    )


def evaluate(
    ws: Workspace,
    subject: Subject,
    frame: pl.DataFrame,
    *,
    key: str,
    time: str | None,
    inputs: Sequence[DatasetVersion] = (),
    slices: Sequence[str] = (),
    groups: Sequence[str] = (),
    costs: Mapping[str, float] | None = None,
    explain: Explain | None = "permutation",
    cluster: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model on labelled rows that its fit has not seen, as a run "train.evaluate" with a report.

    frame: rows with the recipe's columns, the target, the row id `key` and the event time `time` (None: rows have
    none). slices: columns whose values are scored, and searched for weak slices with all pairs of them; without any the
    recipe's own columns are searched. groups: columns by which fairness is measured. costs: of a row of each kind of
    mistake, in any unit (`false_positive`, `false_negative`, `true_positive`, `true_negative`); fairness is then
    measured at the cheapest cut. explain: "permutation" (on at most 5,000 rows), "shap" (the extra "explain") or None.
    cluster: a column of which rows of one value are not independent, for the intervals of scores.

    The same evaluation again is the one recorded before. Raises what `matrix` raises, NotEnoughRows, UnknownColumn,
    BadInput for costs of a task that is not binary, MissingExtra.
    """
    if explain not in ("permutation", "shap", None):
        raise BadInput(f"explain is {explain!r}; allowed are 'permutation', 'shap' and None")
    named = [*slices, *groups, *([cluster] if cluster else [])]
    require_columns(named, frame.columns, where="the rows to evaluate on")
    made = matrix(frame, subject.recipe, target=subject.target, key=key, time=time, classes=subject.classes)
    targets.check(subject.task, made.y, subject.target)
    rows = as_text(rows_digest(frame))
    options = {"slices": list(slices), "groups": list(groups), "costs": dict(costs or {}), "explain": explain,
               "cluster": cluster, "seed": seed}  # fmt: skip
    cache_key = key_of(KIND, FORMAT, subject.identity, rows, options)
    before = done_before(ws, cache_key)
    if before is not None:
        return read(ws, next(found for slot, found in outputs_of(ws, before) if slot == "report"))
    used = [*subject.used, *((version.name, version) for version in inputs)]
    params = {"target": subject.target, **options}
    with recorded(ws, KIND, subject.name, inputs=used, params=params, key=cache_key) as run:
        answered = Answered(frame, made.y, subject.answer(made.X), subject.task, subject.classes)
        report = _report(answered, subject, made.X, options)
        seen = _look(ws, run, frame, key, "evaluation", [subject], next(iter(report["scores"])))
        report = {**report, "looks": seen.times, "models_judged": seen.models, "at": iso(ws.now)}
        plain: dict[str, Any] = _plain(report)
        found = run.emit_json(
            "report",
            f"evaluation/{subject.name}",
            plain,
            # "columns": those whose values the report tells; their tags follow them
            meta={
                "what": "evaluation",
                "fit_run": subject.fit_run,
                "model": subject.model,
                "rows": frame.height,
                "columns": sorted({*slices, *groups, *report["weak"]["columns"], subject.target}),
            },
            slot="report",
        )
        body = {"report": found.id, "run": run.run.id, "at": plain["at"]}
        ws.graph.record(
            _subject(subject.fit_run), "evaluated", body, actor=ws.settings.who, key=f"evaluated/{found.id}"
        )
        run.result({**{name: each["value"] for name, each in plain["scores"].items()}, "rows": frame.height})
    return Evaluation(found, plain)


def compare(
    ws: Workspace,
    one: Subject,
    other: Subject,
    frame: pl.DataFrame,
    *,
    key: str,
    time: str | None,
    inputs: Sequence[DatasetVersion] = (),
    score: str | None = None,
    alpha: float = 0.05,
    cluster: str | None = None,
) -> Comparison:
    """Whether `other` is better than `one` on the same rows: a run "train.compare" with a report.

    score: by default the mean loss of the task (log loss, squared error). cluster: as in `evaluate`. Raises BadInput
    for models of different targets, tasks or classes, and what `paired` and `matrix` raise.
    """
    for what in ("target", "task", "classes"):
        if getattr(one, what) != getattr(other, what):
            raise BadInput(
                f"the {what} of {one.name!r} is {getattr(one, what)!r} and of {other.name!r} {getattr(other, what)!r}; "
                "compare models of one target"
            )
    require_columns([cluster] if cluster else [], frame.columns, where="the rows to compare on")
    name = targets.score_of(score or measuring.MEAN[one.task], one.task)[0]
    sides = []
    for each in (one, other):
        made = matrix(frame, each.recipe, target=each.target, key=key, time=time, classes=each.classes)
        sides.append(Answered(frame, made.y, each.answer(made.X), each.task, each.classes))
    units = None if cluster is None else frame[cluster].cast(measuring.str_type()).fill_null("(missing)").to_numpy()
    used = [(f"{slot} {part}", each) for slot, side in (("one", one), ("other", other)) for part, each in side.used]
    used += [(version.name, version) for version in inputs]
    params = {"score": name, "alpha": alpha, "cluster": cluster}
    title = f"{one.name} and {other.name}"
    with recorded(ws, "train.compare", title, inputs=used, params=params) as run:
        first, second = sides
        found = paired(first.y, first.given(name), second.given(name), score=name, alpha=alpha, groups=units)
        seen = _look(ws, run, frame, key, "comparison", [one, other], name)
        both = mcnemar(first.y, first.said, second.said) if one.task == "binary" else None
        told = {} if both is None else {"mcnemar": {each: getattr(both, each) for each in both.__slots__}}
        report = {
            "format": 1,
            "one": one.identity,
            "other": other.identity,
            **found.as_json(),
            **told,
            "looks": seen.times,
        }
        artifact = run.emit_json("report", f"comparison/{title}", report, meta={"what": "comparison"}, slot="report")
        run.result({"old": found.old, "new": found.new, "p_value": found.p_value, "rows": found.rows})
    return Comparison(artifact, found, both)


def read(ws: Workspace, artifact: Artifact) -> Evaluation:
    """The evaluation of that report. Raises NotFound for another artifact, WrongFormat for a newer format."""
    if artifact.kind != "report" or "fit_run" not in artifact.meta:
        raise NotFound(
            f"{artifact.label} is no evaluation; `tidemill model evaluation NAME` shows a model's (scores of a "
            "registration are on the model's page)"
        )
    report: dict[str, Any] = json.loads(ws.store.get(artifact.digest))
    if int(report["format"]) > FORMAT:
        raise WrongFormat(
            f"{artifact.label} has format {report['format']}, this tidemill reads up to {FORMAT}: pip install -U it"
        )
    # JSON sorts names; people read scores in the order of the registry.
    places = {name: place for place, name in enumerate(scores.names(report["task"]))}
    report["scores"] = dict(sorted(report["scores"].items(), key=lambda each: places.get(each[0], len(places))))
    return Evaluation(artifact, report)


def evaluations(ws: Workspace, fit_run: str) -> list[Artifact]:
    """The reports of all evaluations of that fit, and of models registered from it, newest first."""
    found = []
    for event in reversed(ws.graph.events(_subject(fit_run), kind="evaluated")):
        artifact = ws.graph.get(str(event.body["report"]))
        assert isinstance(artifact, Artifact)
        found.append(artifact)
    return found


def newest(ws: Workspace, fit_run: str, *, unregistered: bool = False) -> Evaluation | None:
    """The newest evaluation of that fit, None where there is none. unregistered: not of a model made from it."""
    for artifact in evaluations(ws, fit_run):
        if not (unregistered and artifact.meta["model"]):
            return read(ws, artifact)
    return None


def columns_of(recipe: Recipe) -> dict[str, str]:
    """The raw column that each feature of a fitted recipe is made of."""
    from tidemill.core.recipe.operations import operation

    raw: dict[str, str] = {}
    for step in recipe.steps:
        for column, state in zip(step.columns, step.states or (), strict=True):
            for name in operation(step.operation).makes(column, step.options, state):
                raw[name] = raw.get(column, column)
    return raw


def _report(rows: Answered, subject: Subject, X: Floats, options: Mapping[str, Any]) -> dict[str, Any]:
    from tidemill.core import recipe as recipes

    inputs = [name for name in recipes.needs(subject.recipe) if name in rows.frame.columns]
    cut = measuring.threshold(rows, options["costs"]) if options["costs"] else None
    called_from = 0.5 if cut is None or cut["threshold"] is None else cut["threshold"]
    names, of = recipes.feature_names(subject.recipe), columns_of(subject.recipe)
    explained = None
    if options["explain"] == "permutation":
        explained = measuring.importances(
            subject.answer, X, rows, names=names, of=of, at_most=EXPLAINED_ROWS, seed=options["seed"]
        )
    elif options["explain"] == "shap":
        explained = _shapley(subject, X, names, of, options["seed"])
    return {
        "format": FORMAT,
        "subject": {"name": subject.name, "fit_run": subject.fit_run, "model": subject.model},
        "target": subject.target,
        "task": subject.task,
        "classes": list(subject.classes),
        "rows": rows.frame.height,
        "options": dict(options),
        "scores": measuring.with_intervals(rows, cluster=options["cluster"]),
        "baseline": measuring.baseline(rows),
        "calibration": measuring.calibration(rows),
        "by_class": measuring.by_class(rows) if subject.task == "multiclass" else [],
        "slices": measuring.by_slice(rows, options["slices"]) if options["slices"] else [],
        "weak": measuring.weak(rows, options["slices"] or inputs),
        "threshold": cut,
        "fairness": [measuring.fair(rows, column, called_from) for column in options["groups"]],
        "importances": explained,
    }


def _shapley(subject: Subject, X: Floats, names: Sequence[str], of: Mapping[str, str], seed: int) -> dict[str, Any]:
    """Exact for trees in memory; else of the answers themselves."""
    options: dict[str, Any] = {"names": names, "of": of, "classes": subject.classes, "seed": seed}
    if subject.estimator is not None:
        try:
            return measuring.shapley(subject.estimator, X, **options)
        except BadInput:  # no model of trees
            pass
    return measuring.shapley(subject.answer, X, at_most=100, **options)


def _look(
    ws: Workspace, run: Recorder, frame: pl.DataFrame, key: str, what: str, judged: Sequence[Subject], score: str
) -> looks.Looks:
    digest = looks.digest_of(frame, key=key, target=judged[0].target)
    models = [each.fit_run for each in judged]
    return looks.look(ws, digest, rows=frame.height, what=what, models=models, run=run.run.id, score=score)


def _subject(fit_run: str) -> str:
    return f"evaluation/{fit_run}"


def _plain(value: Any) -> Any:  # Any: a JSON value with NumPy's numbers and infinities in it
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
