"""`mill.labels`: labels that wait for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tidemill.core.workspace import Workspace
from tidemill.project.policies import TRAINING

if TYPE_CHECKING:
    from tidemill.core.recipe import Recipe
    from tidemill.data.rows import Rows
    from tidemill.prepare.labels import Answer, Task

Fit = Callable[..., Any]  # Any: an estimator of whichever library the user chose


@dataclass(frozen=True, slots=True)
class Labels:
    """Review queues of suspicious labels."""

    ws: Workspace

    def ask(
        self,
        queue: str,
        rows: Rows,
        fit: Fit,
        recipe: Recipe,
        *,
        target: str,
        params: Mapping[str, Any],
        at_most: int,
        purpose: str = TRAINING,
    ) -> int:
        """Put the most suspicious labels (confident learning) into a review queue; returns how many are asked.

        purpose: as for `Project.fit`.
        """
        from tidemill.data.catalogue import policies
        from tidemill.improve.reviewing import ask_for_review

        policies.require(self.ws, rows.inputs, purpose)
        return ask_for_review(self.ws, queue, rows, fit, recipe, target=target, params=params, at_most=at_most)

    def next(self, queue: str) -> Task | None:
        """Lease the next open task of a review queue, or None."""
        from tidemill.prepare import labels

        return labels.next_task(self.ws, queue, self.ws.settings.who)

    def answer(self, queue: str, task_id: str, value: Any) -> Answer:
        """Answer a task of a review queue; answers are appended."""
        from tidemill.prepare import labels

        return labels.answer(self.ws, queue, task_id, value, self.ws.settings.who)

    def progress(self, queue: str) -> dict[str, Any]:
        """How far a review queue is."""
        from tidemill.prepare import labels

        return asdict(labels.progress(self.ws, queue))
