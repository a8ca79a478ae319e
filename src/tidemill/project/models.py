"""`mill.models`: registered models."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.core.errors import NotFound
from tidemill.core.types import Event, ModelVersion
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from tidemill.serve.registered.promoting import Gate
    from tidemill.serve.registered.states import Version


@dataclass(frozen=True, slots=True)
class Models:
    """Registered versions, their cards and scores."""

    ws: Workspace

    def all(self, name: str | None = None) -> list[ModelVersion]:
        """All registered versions, newest first."""
        from tidemill.serve import registry

        return registry.models(self.ws, name)

    def find(self, name: str, version: int | str | None = None) -> ModelVersion | None:
        """By version number, by alias ("champion"), or the newest; None where there is none."""
        from tidemill.serve import registry

        try:
            return registry.get(self.ws, name, version)
        except NotFound:
            return None

    def card(self, model: ModelVersion) -> str:
        """The model card, Markdown; values of personal columns are masked for who may not see them."""
        from tidemill.data.catalogue import shown
        from tidemill.serve import packages

        card = packages.card(self.ws, model.package)
        return shown.model(self.ws, model.id, card=card, slices=())[0]

    def evaluation(self, model: ModelVersion) -> dict[str, Any]:
        """The newest evaluation: {"id", "report"}; values of personal columns are masked for who may not see them.

        Raises NotFound where the model was not evaluated.
        """
        from tidemill.data.catalogue import shown
        from tidemill.train.scoring.evaluating import newest

        found = newest(self.ws, str(model.artifact.meta.get("run", "")))
        if found is None:
            asked = f"{model.name}@{model.version}"
            raise NotFound(f"{asked} was not evaluated; `tidemill model evaluate {asked} --on DATASET` does it")
        return {"id": found.id, "report": shown.evaluation(self.ws, found.id, found.report)}

    def promote(
        self,
        name: str,
        version: int,
        *,
        to: str = "champion",
        gates: Sequence[Gate] = (),
        why: str,
    ) -> Event:
        """Point an alias at a version that passes the gates (`tidemill.serve.registered.promoting`) and those that
        protect the alias. Raises Refused, the alias left where it is, and Conflict where somebody was faster."""
        from tidemill.serve.registered import promoting

        return promoting.promote(self.ws, name, version, alias=to, gates=gates, why=why)

    def rollback(self, name: str, *, alias: str = "champion", why: str) -> Event:
        """Point the alias at the version that it pointed at before. Raises NotFound where there is none."""
        from tidemill.serve.registered import promoting

        return promoting.rollback(self.ws, name, alias=alias, why=why)

    def approve(self, name: str, version: int, *, note: str = "") -> Event:
        """Approve a version, as whoever acts: what the gate `approval` asks for."""
        from tidemill.serve.registered import promoting

        return promoting.approve(self.ws, name, version, note=note)

    def protect(self, name: str, alias: str, gates: Sequence[Gate]) -> Event:
        """Let the alias move through these gates only, whoever moves it; none: it is free again."""
        from tidemill.serve.registered import promoting

        return promoting.protect(self.ws, name, alias, gates)

    def moves(self, name: str, alias: str = "champion") -> list[Event]:
        """All moves of an alias, oldest first: who, when, to which version, why, with what evidence."""
        from tidemill.serve import registry

        return registry.moves(self.ws, name, alias)

    def publish(self, name: str, source: str, *, description: str = "") -> Version:
        """Register what a run logged ("runs:/ID/path", "models:/ID") as the next version of a model, which is made
        where there is none of that name."""
        from tidemill.core.errors import Conflict
        from tidemill.improve import publishing
        from tidemill.serve.registered import models

        with suppress(Conflict):
            models.create(self.ws, name)
        return publishing.publish(self.ws, name, source, description=description)

    def score(self, model: ModelVersion, rows: pl.DataFrame) -> list[float]:
        """P(positive) for each row, by the model's verified package, in this process."""
        from tidemill.serve import packages

        return packages.load(self.ws, model.package).score(rows.to_dicts())

    def scores(self, truth: Any, p: Any) -> dict[str, float]:
        """AUC, log loss, Brier, accuracy and calibration error of probabilities p with truths 0/1, shapes (n,)."""
        from tidemill.core.scores import all_scores

        return all_scores(truth, p)
