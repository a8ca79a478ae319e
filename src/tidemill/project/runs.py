"""Runs of the user's own code, `mill.run(...)`, and the search of all that trackers show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.core.types import Artifact, View
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from tidemill.track.own import OwnRun


@dataclass(frozen=True, slots=True)
class Runs:
    """Call it for a run; `search` finds runs."""

    ws: Workspace

    def __call__(
        self,
        name: str,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        inputs: Sequence[Artifact | View] = (),
        experiment: str = "",
        system_metrics: float | None = None,
    ) -> AbstractContextManager[OwnRun]:
        """A recorded run of your own code: `with mill.run("look") as run: run.log("loss", 0.3, step=1)`.

        experiment: the name of one, made where there is none. system_metrics: seconds between samples of the machine.
        """
        from tidemill.track import own

        return own.run(
            self.ws, name, params=params, tags=tags, inputs=inputs, experiment=experiment, system_metrics=system_metrics
        )

    def search(
        self, filter: str = "", *, experiments: Sequence[str] = (), order_by: Sequence[str] = ()
    ) -> pl.DataFrame:
        """The runs that match, a row each: `mill.run.search("metrics.loss < 0.3", order_by=["metrics.loss ASC"])`.

        Columns: run_id, experiment, name, status, owner, start and end (UTC), then "params.<name>" and "tags.<name>"
        (texts) and "metrics.<name>" (the last value); null where a run has none. experiments: names; none for all.
        Raises NotFound for an unknown experiment, BadInput for what cannot be searched so (docs/search.md).
        """
        from tidemill.track import tables

        return tables.frame(self.ws, filter, experiments=experiments, order_by=order_by)
