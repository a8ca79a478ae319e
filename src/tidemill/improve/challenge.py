"""Champion against challenger on the same labelled rows, which neither was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import polars as pl

from tidemill.core.errors import NotEnoughRows
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, ModelVersion
from tidemill.core.workspace import Workspace
from tidemill.serve import packages
from tidemill.train.scoring.compare import Paired, paired
from tidemill.watch import log, truth

Side = tuple[int, ModelVersion]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A paired comparison and the report artifact that holds it."""

    paired: Paired
    report: Artifact

    @property
    def text(self) -> str:
        """In half a sentence."""
        found = self.paired
        return (
            f"{found.score} {found.new:.4f} against {found.old:.4f} on {found.rows:,} rows of {found.units} days, "
            f"p {found.p_value:.2g}"
        )

    def as_json(self) -> dict[str, Any]:
        """For an event's body."""
        return {**self.paired.as_json(), "report": self.report.id}


def compare(
    ws: Workspace,
    deployment: str,
    *,
    champion: Side,
    challenger: Side,
    since: datetime,
    until: datetime,
    alpha: float,
    score: str,
    kind: str,
) -> Evidence:
    """Pair the two by row over the answers with since <= at < until whose truth is known; a run with a report.

    What a side did not answer itself (the challenger's hold-out before its shadow, the champion's rows that the canary
    took) its package scores from the logged features. Raises NotEnoughRows.
    """
    rows = truth.joined(ws, deployment, since=since, until=until).select("id", "row_key", "at", "value")
    if rows.height == 0:
        raise NotEnoughRows(f"no answer of {deployment!r} since {since} has a known truth yet")
    inputs = [("champion", champion[1]), ("challenger", challenger[1])]
    seen = [("predictions", log.newest(ws, deployment)), ("truth", truth.newest(ws, deployment))]
    inputs += [(slot, each) for slot, each in seen if each is not None]  # type: ignore[misc]
    with recorded(ws, kind, deployment, inputs=inputs, params={"alpha": alpha, "score": score}) as run:
        scored = _scores(ws, deployment, rows, (champion, challenger), since, until)
        found = paired(
            scored["value"].to_numpy(),
            scored["0"].to_numpy(),
            scored["1"].to_numpy(),
            score=score,
            alpha=alpha,
            groups=scored["at"].dt.date().cast(pl.Int32).to_numpy(),
        )
        report = run.emit_json("report", f"{deployment}/{kind}", {"format": 1, **found.as_json()}, meta={"what": kind})
        run.result({"old": found.old, "new": found.new, "p_value": found.p_value, "rows": found.rows})
    return Evidence(found, report)


def _scores(
    ws: Workspace, deployment: str, rows: pl.DataFrame, sides: tuple[Side, Side], since: datetime, until: datetime
) -> pl.DataFrame:
    logged = log.predictions(
        ws,
        deployment,
        since=since,
        until=until,
        roles=("live", "canary", "shadow"),
        columns=["id", "revision", "score", "error"],
        pending=False,
    ).filter(pl.col("error").is_null())
    features: pl.DataFrame | None = None
    for place, (revision, model) in enumerate(sides):
        own = logged.filter(pl.col("revision") == revision).unique("id", keep="first", maintain_order=True)
        rows = rows.join(
            own.select("id", pl.col("score").alias(str(place))), on="id", how="left", maintain_order="left"
        )
        missing = rows.filter(pl.col(str(place)).is_null()).select("id")
        if missing.height:
            if features is None:
                features = log.predictions(
                    ws, deployment, since=since, until=until, columns=["id", "features"], pending=False
                )
            asked = missing.join(features, on="id", how="inner", maintain_order="left")
            decoder = msgspec.json.Decoder(dict[str, Any])
            package = packages.load(ws, model.package)
            made = package.score_checked([decoder.decode(text) for text in asked["features"]])
            filled = asked.select("id").with_columns(pl.Series("made", made, pl.Float64))
            rows = (
                rows.join(filled, on="id", how="left", maintain_order="left")
                .with_columns(pl.coalesce(str(place), "made").alias(str(place)))
                .drop("made")
            )
    return rows.drop_nulls(["0", "1"])
