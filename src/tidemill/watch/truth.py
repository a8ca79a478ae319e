"""Ground truth that arrives late: appended as it becomes known, joined to the predictions by id or row key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.core.errors import BadInput, WrongType, require_columns
from tidemill.core.ids import utc_now
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, Pinned, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.watch import log

if TYPE_CHECKING:
    import polars as pl

KIND = "truth"
KEYS = ["by", "ref", "value", "known_time"]
SCORED = ("id", "revision", "model_id", "row_key", "at", "role", "score")


def add_truth(ws: Workspace, deployment: str, frame: pl.DataFrame) -> int:
    """Append truths to the table "truth/<deployment>" in one commit; returns how many were new.

    frame: column `id` (of the prediction) or `row_key`, `value` (a number; 0 or 1 for a classifier), `known_time` (from
    when on it was known; without a zone it is UTC). The same truth twice is kept once; another value for the same
    prediction is appended, and the one known last counts. Recorded as a run "watch.truth" with an artifact "truth".
    Raises UnknownColumn, WrongType, BadInput for rows without a value, reference or time. Calls are expected from one
    process at a time.
    """
    rows = _checked(frame, deployment)
    if rows.height == 0:
        return 0
    before = newest(ws, deployment)
    pinned = _found(ws, deployment, before)
    if pinned is not None:
        rows = _unseen(ws, pinned, rows)
        if rows.height == 0 and before is not None and before.digest == pinned.digest:
            return 0
    with recorded(ws, "watch.truth", deployment) as run:
        if rows.height:
            name = f"{KIND}/{deployment}"
            pinned = ws.tables.append(name, rows) if pinned else ws.tables.create(name, rows)
        assert pinned is not None
        run.result({"rows": rows.height})
        run.emit(KIND, deployment, digest=pinned.digest, meta=_meta(pinned, rows))
    return rows.height


def newest(ws: Workspace, deployment: str) -> Artifact | None:
    """The artifact of the last addition, None before the first."""
    for found in ws.graph.find(Query("artifact", kind=KIND, name=deployment, limit=1)):
        assert isinstance(found, Artifact)
        return found
    return None


def truths(
    ws: Workspace,
    deployment: str,
    *,
    known_after: datetime | None = None,
    known_by: datetime | None = None,
) -> pl.DataFrame:
    """Columns by ("id" or "row_key"), ref, value, known_time: for each reference the value known last.

    Only truths with known_after < known_time <= known_by (default: ws.now).
    """
    import polars as pl

    before = newest(ws, deployment)
    if before is None:
        return _empty()
    wanted = pl.col("known_time") <= (known_by or ws.now)
    if known_after is not None:
        wanted &= pl.col("known_time") > known_after
    scan = ws.tables.scan(log.pinned_of(before), verify=False)
    frame = scan.filter(wanted).collect().sort("known_time", maintain_order=True)
    return frame.unique(["by", "ref"], keep="last", maintain_order=True)


def joined(
    ws: Workspace,
    deployment: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    roles: Sequence[str] = log.ANSWERED,
    known_after: datetime | None = None,
    unknown: bool = False,
) -> pl.DataFrame:
    """Predictions with since <= at < until beside their truth, as far as it is known at ws.now, in order of `at`.

    Columns: id, revision, model_id, row_key, at, role, score, value, known_time. known_after: only truths that became
    known after that time. unknown: also predictions without a truth (value null). A truth by prediction id goes before
    one by row key. Predictions that failed are left out.
    """
    asked = log.predictions(
        ws, deployment, since=since, until=until, roles=roles, columns=[*SCORED, "error"], pending=False
    )
    return beside(ws, deployment, asked.drop("error").filter(asked["error"].is_null()), known_after, unknown=unknown)


def beside(
    ws: Workspace, deployment: str, asked: pl.DataFrame, known_after: datetime | None = None, *, unknown: bool = False
) -> pl.DataFrame:
    """These predictions (columns id, row_key and any others) with value and known_time: see `joined`."""
    import polars as pl

    known = truths(ws, deployment, known_after=known_after)
    for name, key in (("by_id", "id"), ("by_key", "row_key")):
        part = known.filter(pl.col("by") == key)
        right = part.select(pl.col("ref").alias(key), pl.struct("value", "known_time").alias(name))
        asked = asked.join(right, on=key, how="left", maintain_order="left")
    truth = pl.coalesce("by_id", "by_key")
    frame = asked.with_columns(truth.struct.field("value"), truth.struct.field("known_time")).drop("by_id", "by_key")
    return frame if unknown else frame.filter(pl.col("value").is_not_null())


# ---------------------------------------------------------------------------------------------------------- inside


def _checked(frame: pl.DataFrame, deployment: str) -> pl.DataFrame:
    """The truths in the table's columns."""
    import polars as pl

    where = f"the truth for {deployment}"
    by = "id" if "id" in frame.columns else "row_key"
    require_columns([by, "value", "known_time"], frame.columns, where=where)
    kind = frame.schema["value"]
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)):
        raise WrongType(f"column 'value' in {where} is {kind}; it must be numbers (0 and 1 for a yes or no)")
    time = frame.schema["known_time"]
    if not isinstance(time, pl.Datetime) and time != pl.Null:
        raise WrongType(f"column 'known_time' in {where} is {time}; it must be a time: .str.to_datetime() makes one")
    at = pl.col("known_time")
    known = at.dt.convert_time_zone("UTC") if getattr(time, "time_zone", None) else at.dt.replace_time_zone("UTC")
    rows = frame.select(
        pl.lit(by).alias("by"),
        pl.col(by).cast(pl.String).alias("ref"),
        pl.col("value").cast(pl.Float64),
        (known if time != pl.Null else at).cast(pl.Datetime("us", "UTC")).alias("known_time"),
    )
    for column in ("ref", "value", "known_time"):
        missing = rows[column].null_count()
        if missing:
            raise BadInput(f"{missing} of {rows.height} rows of {where} have no {column}; leave such rows out")
    return rows.unique(KEYS, keep="first", maintain_order=True)


def _unseen(ws: Workspace, pinned: Pinned, rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    same = (pl.col("known_time") >= rows["known_time"].min()) & (pl.col("known_time") <= rows["known_time"].max())
    there = ws.tables.scan(pinned, verify=False).filter(same).select(KEYS).collect()
    return rows.join(there, on=KEYS, how="anti", maintain_order="left") if there.height else rows


def _found(ws: Workspace, deployment: str, before: Artifact | None) -> Pinned | None:
    """The table as it is now; asked only where the last addition did not end well (it costs 30 ms)."""
    for last in ws.graph.find(Query("run", kind="watch.truth", name=deployment, limit=1)):
        assert isinstance(last, Run)
        if last.status != "done":
            name = f"{KIND}/{deployment}"
            return ws.tables.latest(name) if ws.tables.exists(name) else None
    return None if before is None else log.pinned_of(before)


def _meta(pinned: Pinned, rows: pl.DataFrame) -> dict[str, Any]:
    first, last = rows["known_time"].min(), rows["known_time"].max()
    return {
        "table": pinned.table,
        "table_version": pinned.version,
        "rows": pinned.rows,
        "added": rows.height,
        "since": first.isoformat() if isinstance(first, datetime) else None,
        "until": last.isoformat() if isinstance(last, datetime) else None,
        "added_at": utc_now().isoformat(),
    }


def _empty() -> pl.DataFrame:
    import polars as pl

    known = pl.Datetime("us", "UTC")
    return pl.DataFrame(schema={"by": pl.String(), "ref": pl.String(), "value": pl.Float64(), "known_time": known})
