"""Feature views: which columns of which datasets an entity gets, defined once for training and for serving.

A view is data: the join in time (feature_store.features) and the look-up of one entity (feature_store.online) both
read it. This module loads no DataFrame library, so that a server can load it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tidemill.core.errors import BadInput, NotFound, WrongFormat, nearest
from tidemill.core.ids import json_digest
from tidemill.core.types import Artifact, Query
from tidemill.core.workspace import Workspace

FORMAT = 1
KIND = "feature-view"


@dataclass(frozen=True, slots=True)
class Source:
    """Columns of one dataset, taken from the row that was newest by what was known (see feature_store.asof).

    by: the columns that name the entity, in the rows that ask. on: what the dataset calls them (default: the same).
    within: how far back the row's event may lie. prefix: before each column's name.
    """

    dataset: str
    by: tuple[str, ...]
    columns: tuple[str, ...]
    on: tuple[str, ...] = ()
    prefix: str = ""
    within: timedelta | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The entity's columns as the dataset calls them."""
        return self.on or self.by

    @property
    def features(self) -> tuple[str, ...]:
        """The names under which its columns are found."""
        return tuple(self.prefix + column for column in self.columns)

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "dataset": self.dataset,
            "by": list(self.by),
            "on": list(self.keys),
            "columns": list(self.columns),
            "prefix": self.prefix,
            "within_us": None if self.within is None else self.within // timedelta(microseconds=1),
        }


@dataclass(frozen=True, slots=True)
class View:
    """A named list of sources; each gives some of the features of one vector. Raises BadInput if it makes no sense."""

    name: str
    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        if not self.sources:
            raise BadInput(f"feature view {self.name!r} has no sources; give at least one Source")
        taken: set[str] = set(self.entities)
        for source in self.sources:
            if not source.by or not source.columns:
                what = "by" if not source.by else "columns"
                raise BadInput(f"the source {source.dataset!r} of feature view {self.name!r} names no {what}= column")
            if len(source.keys) != len(source.by):
                raise BadInput(
                    f"the source {source.dataset!r} of feature view {self.name!r} has {len(source.by)} columns in by= "
                    f"and {len(source.on)} in on=; give one for each"
                )
            for feature in source.features:
                if feature in taken:
                    raise BadInput(f"feature view {self.name!r} has {feature!r} twice; give a source a prefix=")
                taken.add(feature)

    @property
    def entities(self) -> tuple[str, ...]:
        """The columns that name an entity, over all sources."""
        return tuple(dict.fromkeys(column for source in self.sources for column in source.by))

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(feature for source in self.sources for feature in source.features)

    @property
    def digest(self) -> str:
        """The digest of the definition."""
        return json_digest(self.body())

    def body(self) -> dict[str, Any]:
        """As JSON, the format first."""
        return {"format": FORMAT, "name": self.name, "sources": [source.body() for source in self.sources]}

    @staticmethod
    def of(body: Mapping[str, Any]) -> View:
        """From JSON. Raises WrongFormat for a newer one."""
        if body.get("format") != FORMAT:
            raise WrongFormat(
                f"feature view has format {body.get('format')}, this tidemill reads {FORMAT}: pip install -U tidemill"
            )
        return View(str(body["name"]), tuple(_source(each) for each in body["sources"]))


def source(
    dataset: str,
    *,
    by: str | Sequence[str],
    columns: Sequence[str],
    on: str | Sequence[str] = (),
    prefix: str = "",
    within: timedelta | None = None,
) -> Source:
    """A source of a view; single names may be given as they are.

    >>> source("weather", by="origin", columns=["temp"], prefix="w_").features
    ('w_temp',)
    """
    named = [(each,) if isinstance(each, str) else tuple(each) for each in (by, on)]
    return Source(dataset, named[0], tuple(columns), named[1], prefix, within)


def get(ws: Workspace, name: str, version: int | None = None) -> View:
    """The feature view of that name, newest by default; NotFound names the nearest."""
    return View.of(json.loads(ws.store.get(find(ws, name, version).digest)))


def find(ws: Workspace, name: str, version: int | None = None) -> Artifact:
    """The artifact that holds the view's definition."""
    for found in ws.graph.find(Query("artifact", kind=KIND, name=name, version=version, limit=1)):
        assert isinstance(found, Artifact)
        return found
    known = sorted({each.name for each in ws.graph.find(Query("artifact", kind=KIND, limit=10_000))})
    which = "" if version is None else f" version {version}"
    raise NotFound(
        f"no feature view {name!r}{which}; there are {', '.join(known) or 'none'}.{nearest(name, known)} "
        "Define one with features.define"
    )


def _source(body: Mapping[str, Any]) -> Source:
    within = body["within_us"]
    return Source(
        str(body["dataset"]),
        tuple(body["by"]),
        tuple(body["columns"]),
        tuple(body["on"]) if list(body["on"]) != list(body["by"]) else (),
        str(body["prefix"]),
        None if within is None else timedelta(microseconds=within),
    )
