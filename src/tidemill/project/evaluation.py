"""`mill.evaluate` and `mill.compare`: how good a model is, for whom, and whether another is better; all recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tidemill.core.errors import BadInput, WrongType
from tidemill.core.types import Artifact, ModelVersion
from tidemill.core.workspace import Workspace
from tidemill.project.policies import TRAINING, Policies

if TYPE_CHECKING:
    from tidemill.data.rows import Rows
    from tidemill.train.fit import Fitted
    from tidemill.train.scoring.evaluating import Comparison, Evaluation, Subject


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Evaluations and comparisons of fits and of registered models."""

    ws: Workspace

    def __call__(
        self,
        model: Fitted | ModelVersion,
        *,
        on: Rows,
        slices: Sequence[str] = (),
        groups: Sequence[str] = (),
        costs: Mapping[str, float] | None = None,
        explain: Literal["permutation", "shap"] | None = "permutation",
        cluster: str | None = None,
        purpose: str = TRAINING,
    ) -> Evaluation:
        """Evaluate a fit or a registered model on labelled rows that it has not seen.

        slices: columns to score by value, and to search for weak slices (default: those of the recipe). groups: columns
        to measure fairness by. costs: of a row of each mistake, {"false_negative": 8}: gives the cheapest threshold.
        explain: "shap" needs the extra "explain". cluster: a column (day, customer) of which rows of one value are not
        independent. purpose: each dataset that the rows came from must allow it, else Refused.
        """
        from tidemill.train.scoring.evaluating import evaluate

        Policies(self.ws).require(on.inputs, purpose)
        return evaluate(
            self.ws,
            self._subject(model),
            on.frame(),
            key=on.key,
            time=on.event_time,
            inputs=on.inputs,
            slices=_listed("slices", slices),
            groups=_listed("groups", groups),
            costs=costs,
            explain=explain,
            cluster=cluster,
        )

    def compare(
        self,
        one: Fitted | ModelVersion,
        other: Fitted | ModelVersion,
        *,
        on: Rows,
        score: str | None = None,
        alpha: float = 0.05,
        cluster: str | None = None,
        purpose: str = TRAINING,
    ) -> Comparison:
        """Whether `other` is better than `one` on the same rows: a paired test.

        score: the mean loss of the task by default. cluster and purpose: as for an evaluation.
        """
        from tidemill.train.scoring.evaluating import compare

        Policies(self.ws).require(on.inputs, purpose)
        return compare(
            self.ws,
            self._subject(one),
            self._subject(other),
            on.frame(),
            key=on.key,
            time=on.event_time,
            inputs=on.inputs,
            score=score,
            alpha=alpha,
            cluster=cluster,
        )

    def of(self, model: Fitted | ModelVersion) -> list[Evaluation]:
        """All evaluations of a fit and of what was registered from it, newest first."""
        from tidemill.train.scoring.evaluating import evaluations, read

        fit_run = model.artifact.meta.get("run", "") if isinstance(model, ModelVersion) else model.run
        return [read(self.ws, each) for each in evaluations(self.ws, fit_run)]

    def get(self, report_id: str) -> Evaluation:
        """The evaluation of that report's id."""
        from tidemill.train.scoring.evaluating import read

        found = self.ws.graph.get(report_id)
        if not isinstance(found, Artifact):
            raise WrongType(f"{report_id} is a run; an evaluation's report is among what it made")
        return read(self.ws, found)

    def _subject(self, model: Fitted | ModelVersion) -> Subject:
        if isinstance(model, ModelVersion):
            from tidemill.improve.evaluating import of_model

            return of_model(self.ws, model)
        from tidemill.train.scoring.evaluating import of_fitted

        return of_fitted(model)


def _listed(name: str, columns: Sequence[str]) -> Sequence[str]:
    if isinstance(columns, str):
        raise BadInput(f"{name} is the text {columns!r}; give a list of columns: {name}=[{columns!r}]")
    return columns
