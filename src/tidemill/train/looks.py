"""How often held-out rows were looked at: each look by which models are chosen wears a test set out.

A look is an event of subject "looks/<digest of the rows>". The digest is of row ids and targets, so the same test set
counts as the same, whatever columns, order or split it is read with. The same models asked again about the same rows
tell nothing new: that is no new look.
Source: Dwork et al., The reusable holdout: preserving validity in adaptive data analysis, Science 349, 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.core.errors import require_columns
from tidemill.core.recording import key_of
from tidemill.core.rowhash import as_text, rows_digest
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

_SUBJECT = "looks/"


@dataclass(frozen=True, slots=True)
class Look:
    """One look. what: "leaderboard", "evaluation" ...; models: how many were judged; new: those not judged before."""

    at: datetime
    who: str
    what: str
    run: str | None
    score: str
    models: int
    new: int


@dataclass(frozen=True, slots=True)
class Looks:
    """All looks at some rows, oldest first. rows: how many; models: different ones judged on them."""

    digest: str
    rows: int
    models: int
    looks: tuple[Look, ...]

    @property
    def times(self) -> int:
        """How often they were looked at."""
        return len(self.looks)

    @property
    def text(self) -> str:
        """A sentence for people."""
        if not self.looks:
            return "Nobody has looked at these held-out rows yet."
        often = "once" if self.times == 1 else f"{self.times} times"
        models = "1 model" if self.models == 1 else f"{self.models} models"
        said = f"These {self.rows:,} held-out rows were looked at {often}, for {models}."
        return said if self.times == 1 else said + " The best of many looks flatters: keep rows that nobody looked at."

    def as_json(self) -> dict[str, Any]:  # Any: text and numbers
        """The count as a JSON object."""
        return {"digest": self.digest, "rows": self.rows, "times": self.times, "models": self.models}


def digest_of(frame: pl.DataFrame, *, key: str, target: str | None) -> str:
    """The digest of rows as a test set: of their ids and targets, in any order; 32 hexadecimal digits.

    Ids are taken as text. Raises UnknownColumn.
    """
    import polars as pl

    wanted = [key] if target is None else [key, target]
    require_columns(wanted, frame.columns, where="the held-out rows")
    columns = {"key": frame[key].cast(pl.String)}
    if target is not None:
        numeric = frame[target].dtype.is_numeric() or frame[target].dtype == pl.Boolean
        columns["target"] = frame[target].cast(pl.Float64 if numeric else pl.String)
    return as_text(rows_digest(pl.DataFrame(columns)))


def look(
    ws: Workspace,
    digest: str,
    *,
    rows: int,
    what: str,
    models: Sequence[str],
    run: str | None = None,
    score: str = "",
) -> Looks:
    """Count a look at the rows of that digest, and return all looks so far, this one included.

    models: what tells the judged models apart, such as the ids of their runs or their cache keys. Where all of them
    were judged by the same kind of look before, the count stays as it is.
    """
    before = {(event.body["what"], model) for event in _events(ws, digest) for model in event.body["models"]}
    if any((what, model) not in before for model in models):
        ws.graph.record(
            _SUBJECT + digest,
            "looked",
            {"rows": rows, "what": what, "models": sorted(set(models)), "run": run, "score": score},
            actor=ws.settings.who,
            key=f"look/{key_of(digest, what, sorted(set(models)))}",
        )
    return of(ws, digest)


def of(ws: Workspace, digest: str) -> Looks:
    """All looks at the rows of that digest (see `digest_of`)."""
    seen: set[str] = set()
    found: list[Look] = []
    rows = 0
    for event in _events(ws, digest):
        body = event.body
        models = set(body["models"])
        found.append(
            Look(event.at, event.actor, body["what"], body["run"], body["score"], len(models), len(models - seen))
        )
        seen |= models
        rows = int(body["rows"])
    return Looks(digest, rows, len(seen), tuple(found))


def _events(ws: Workspace, digest: str) -> list[Any]:  # Any: Event, whose body is JSON
    return list(ws.graph.events(_SUBJECT + digest, kind="looked"))
