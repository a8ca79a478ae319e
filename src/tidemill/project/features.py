"""`mill.features`: views of datasets, the same for training and for serving."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tidemill.core.types import Artifact, Query
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from tidemill.data.feature_store.online import Materialized
    from tidemill.data.feature_store.views import Source, View


@dataclass(frozen=True, slots=True)
class Features:
    """The feature views of a workspace, their join in time and their online look-up."""

    ws: Workspace

    def source(
        self,
        dataset: str,
        *,
        by: str | Sequence[str],
        columns: Sequence[str],
        on: str | Sequence[str] = (),
        prefix: str = "",
        within: timedelta | None = None,
    ) -> Source:
        """Columns of a dataset, from the row that was newest by what was known; within: how old it may be."""
        from tidemill.data.feature_store import views

        return views.source(dataset, by=by, columns=columns, on=on, prefix=prefix, within=within)

    def define(self, view: View | Mapping[str, Any] | str, *sources: Source) -> Artifact:
        """Keep a view's definition: a View, its JSON, or a name and sources."""
        from tidemill.data.feature_store import features
        from tidemill.data.feature_store.views import View

        if isinstance(view, str):
            view = View(view, sources)
        return features.define(self.ws, view if isinstance(view, View) else View.of(view))

    def get(self, name: str, version: int | None = None) -> View:
        """The view of that name, newest by default."""
        from tidemill.data.feature_store import views

        return views.get(self.ws, name, version)

    def views(self) -> list[Artifact]:
        """The newest definition of each view, by name."""
        every = self.ws.graph.find(Query("artifact", kind="feature-view", limit=100_000))  # the newest first
        found = {each.name: each for each in reversed(list(every)) if isinstance(each, Artifact)}
        return [each for _, each in sorted(found.items())]

    def offline(self, view: View | str, left: pl.DataFrame, *, time: str, zone: str | None = None) -> pl.DataFrame:
        """Exactly the rows of `left`, each with the features as they were known at its `time`; zone: of those times."""
        from tidemill.data.feature_store import features

        return features.offline(self.ws, view, left, time=time, zone=zone)

    def materialize(
        self,
        view: View | str,
        *,
        until: datetime | None = None,
        history: timedelta | None = None,
        store: str | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Materialized:
        """Bring the online store up to the newest versions; only what came since the last time is added."""
        from tidemill.data.feature_store import materializing

        return materializing.materialize(self.ws, view, until=until, history=history, store=store, progress=progress)

    def lookup(
        self,
        view: View | str,
        entities: Sequence[Mapping[str, Any]],
        *,
        at: datetime | None = None,
        store: str | None = None,
    ) -> list[dict[str, Any]]:
        """The features of each entity now, or at a moment: what `offline` gives there."""
        from tidemill.data.feature_store import online

        return online.lookup(self.ws, view, entities, at=at, store=store)

    def require(self, view: str, purpose: str | None) -> None:
        """Refused where a dataset of the view may not be used for the purpose; see `policies.require`."""
        from tidemill.data.catalogue import policies
        from tidemill.data.feature_store import features

        used = features.versions(self.ws, features.get(self.ws, view))
        policies.require(self.ws, used.values(), purpose)

    def hidden(self, view: str) -> dict[str, list[str]]:
        """The features that come from personal columns which this actor may not see, and their tags."""
        from tidemill.data.catalogue import shown

        return shown.features(self.ws, view)

    def entities(self, view: str, said: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Entities whose keys are texts, as a person types them, in the types of the view's datasets."""
        from tidemill.data.feature_store import views
        from tidemill.data.versioning import typed

        return typed.entities(self.ws, views.get(self.ws, view), said)
