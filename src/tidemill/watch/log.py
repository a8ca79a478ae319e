"""The prediction log as a table: compacts the durable segment records that a server wrote, and reads them back."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tidemill.core.errors import Busy, Corrupt, NotFound
from tidemill.core.ids import utc_now
from tidemill.core.recording import recorded
from tidemill.core.segments import Position, read
from tidemill.core.types import Artifact, Pinned, Prediction, Query, Run
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

KIND = "predictions"
ANSWERED = ("live", "canary")
KEYS = ["id", "revision", "role"]
ORDERED_BY = (*KEYS, "at", "logged_at")
LOCK_WAIT_S = 30.0


class _Logged(msgspec.Struct):
    """One record as the server wrote it; the features stay as their JSON text."""

    id: str
    deployment: str
    revision: int
    model_id: str
    row_key: str
    at: str
    logged_at: str
    role: Literal["live", "canary", "shadow"]
    score: float | None
    features: msgspec.Raw
    latency_s: float
    error: str | None = None


_decoder = msgspec.json.Decoder(_Logged)


def table_name(deployment: str) -> str:
    """The Delta table that holds a deployment's predictions."""
    return f"{KIND}/{deployment}"


def segment_folder(ws: Workspace, deployment: str) -> Path:
    """Where the server appends its records."""
    return ws.root / "predictions" / deployment


def compact(ws: Workspace, deployment: str) -> int:
    """Append the records logged since the last compaction to the table, in one commit; returns how many were new.

    A record whose (id, revision, role) is there already is left out: a repeated request counts once. Recorded as a
    run "watch.compact" whose output, an artifact of kind "predictions", stands for the records added; its inputs are
    the deployment revisions and the models that answered. A compaction that was killed is finished by the next one.
    Raises Busy while another process compacts for longer than 30 s, Corrupt for a record that cannot be read.
    """
    folder = segment_folder(ws, deployment)
    if not folder.is_dir():
        return 0
    with alone(folder):
        before = newest(ws, deployment)
        fresh = list(read(folder, after=_position(before)))
        if not fresh:
            return 0
        frame = _frame([payload for _, payload in fresh])
        pinned = _found(ws, deployment, before)
        frame = _unseen(ws, pinned, frame)
        inputs = _answerers(ws, deployment, frame)
        with recorded(ws, "watch.compact", deployment, inputs=inputs) as run:
            if frame.height:
                name = table_name(deployment)
                pinned = ws.tables.append(name, frame) if pinned else ws.tables.create(name, frame)
            run.result({"rows": frame.height, "records": len(fresh)})
            if pinned is not None:
                run.emit(KIND, deployment, digest=pinned.digest, meta=_meta(pinned, frame, fresh[-1][0]))
    return frame.height


def newest(ws: Workspace, deployment: str) -> Artifact | None:
    """The artifact of the last compaction, None before the first."""
    for found in ws.graph.find(Query("artifact", kind=KIND, name=deployment, limit=1)):
        assert isinstance(found, Artifact)
        return found
    return None


def pinned_of(artifact: Artifact) -> Pinned:
    """The table's version that a compaction (or an addition of truth) left."""
    meta = artifact.meta
    return Pinned(str(meta["table"]), int(meta["table_version"]), int(meta["rows"]), artifact.digest)


def predictions(
    ws: Workspace,
    deployment: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    roles: Sequence[str] = ANSWERED,
    columns: Sequence[str] | None = None,
    pending: bool = True,
) -> pl.DataFrame:
    """The logged predictions with since <= at < until, in order of `at`: one row an answer, the first one counts.

    Columns: id, revision, model_id, row_key, at, logged_at, role, score, latency_s, error, features (JSON text).
    roles: "live" and "canary" answered the caller, "shadow" did not (one row a prediction and shadow revision).
    pending: also records that are not compacted yet.
    """
    import polars as pl

    parts = []
    before = newest(ws, deployment)
    wanted = _where(since, until, roles)
    needed = None if columns is None else sorted({*columns, *ORDERED_BY})
    if before is not None:
        # verify=False: a digest of the whole table (253,000 answers) takes seconds, a day's rows 15 ms;
        # `ws.tables.frame(pinned)` verifies all of it.
        scan = ws.tables.scan(pinned_of(before), verify=False).filter(wanted)
        parts.append((scan if needed is None else scan.select(needed)).collect())
    folder = segment_folder(ws, deployment)
    if pending and folder.is_dir():
        payloads = [payload for _, payload in read(folder, after=_position(before))]
        if payloads:
            late = _frame(payloads).filter(wanted)
            parts.append(late if needed is None else late.select(needed))
    frame = pl.concat(parts) if parts else _frame([])
    # An answer that was asked for again under another revision stays the first one: the caller has acted on it.
    once = frame.sort("logged_at", maintain_order=True).with_columns(
        pl.when(pl.col("role") == "shadow").then(pl.col("revision")).alias("_shadow")
    )
    once = once.unique(["id", "_shadow"], keep="first", maintain_order=True).drop("_shadow").sort("at", "id")
    return once.select(columns) if columns else once


def find(ws: Workspace, prediction_id: str) -> Prediction:
    """The answer of that id, compacted or not; NotFound when nobody logged it. The answer wins over its shadows."""
    import polars as pl

    for deployment in deployments(ws):
        before = newest(ws, deployment)
        rows: list[dict[str, Any]] = []
        wanted = pl.col("id") == prediction_id
        if before is not None:
            rows += ws.tables.scan(pinned_of(before), verify=False).filter(wanted).collect().to_dicts()
        folder = segment_folder(ws, deployment)
        needle = prediction_id.encode()
        if folder.is_dir() and needle:
            late = [payload for _, payload in read(folder, after=_position(before)) if needle in payload]
            rows += _frame(late).filter(wanted).to_dicts()
        if rows:
            row = min(rows, key=lambda one: (one["role"] == "shadow", one["logged_at"]))
            return _prediction(deployment, row)
    raise NotFound(
        f"no prediction {prediction_id!r} in any deployment's log; give the whole id of 32 digits that the answer had"
    )


def deployments(ws: Workspace) -> list[str]:
    """The names of all deployments that logged something."""
    names: set[str] = set()
    for found in ws.graph.find(Query("artifact", kind="deployment", limit=10_000)):
        names.add(found.name)
    spool = ws.root / "predictions"
    if spool.is_dir():
        names |= {folder.name for folder in spool.iterdir() if folder.is_dir()}
    return sorted(names)


# ---------------------------------------------------------------------------------------------------------- inside


def _where(since: datetime | None, until: datetime | None, roles: Sequence[str]) -> pl.Expr:
    import polars as pl

    wanted = pl.col("role").is_in(list(roles))
    if since is not None:
        wanted &= pl.col("at") >= since
    if until is not None:
        wanted &= pl.col("at") < until
    return wanted


def _frame(payloads: Sequence[bytes]) -> pl.DataFrame:
    """Records as a frame, in the order in which they were logged, one row for each (id, revision, role)."""
    import polars as pl

    try:
        logged = [_decoder.decode(payload) for payload in payloads]
    except msgspec.ValidationError as error:
        raise Corrupt(f"a prediction record has another form than this tidemill writes: {error}") from error
    frame = pl.DataFrame(
        {
            "id": [one.id for one in logged],
            "revision": [one.revision for one in logged],
            "model_id": [one.model_id for one in logged],
            "row_key": [one.row_key for one in logged],
            "at": [one.at for one in logged],
            "logged_at": [one.logged_at for one in logged],
            "role": [one.role for one in logged],
            "score": [one.score for one in logged],
            "latency_s": [one.latency_s for one in logged],
            "error": [one.error for one in logged],
            "features": [bytes(one.features).decode() for one in logged],
        },
        schema={
            "id": pl.String,
            "revision": pl.Int64,
            "model_id": pl.String,
            "row_key": pl.String,
            "at": pl.String,
            "logged_at": pl.String,
            "role": pl.String,
            "score": pl.Float64,
            "latency_s": pl.Float64,
            "error": pl.String,
            "features": pl.String,
        },
    )
    times = [pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC") for name in ("at", "logged_at")]
    return frame.with_columns(times).unique(KEYS, keep="first", maintain_order=True)


def _unseen(ws: Workspace, pinned: Pinned | None, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that the table does not hold; only its files of the same times are read."""
    import polars as pl

    if pinned is None:
        return frame
    same_times = (pl.col("at") >= frame["at"].min()) & (pl.col("at") <= frame["at"].max())
    there = ws.tables.scan(pinned, verify=False).filter(same_times).select(KEYS).collect()
    return frame.join(there, on=KEYS, how="anti", maintain_order="left") if there.height else frame


def _found(ws: Workspace, deployment: str, before: Artifact | None) -> Pinned | None:
    """The table as it is now. Asking the table costs 30 ms, so it is asked only where a compaction was cut off."""
    for last in ws.graph.find(Query("run", kind="watch.compact", name=deployment, limit=1)):
        assert isinstance(last, Run)
        if last.status == "running":  # we hold the lock, so it is dead
            text = "killed before it ended; the next compaction finished its work"
            ws.graph.put_run(replace(last, status="failed", ended_at=utc_now(), error=text))
        if last.status != "done":
            name = table_name(deployment)
            return ws.tables.latest(name) if ws.tables.exists(name) else None
    return None if before is None else pinned_of(before)


def _meta(pinned: Pinned, frame: pl.DataFrame, position: Position) -> dict[str, Any]:
    first, last = frame["at"].min(), frame["at"].max()
    return {
        "table": pinned.table,
        "table_version": pinned.version,
        "rows": pinned.rows,
        "added": frame.height,
        "since": first.isoformat() if isinstance(first, datetime) else None,
        "until": last.isoformat() if isinstance(last, datetime) else None,
        "revisions": sorted(set(frame["revision"].to_list())),
        "position": list(position),
    }


def _position(before: Artifact | None) -> Position | None:
    return None if before is None else Position(*before.meta["position"])


def _answerers(ws: Workspace, deployment: str, frame: pl.DataFrame) -> list[tuple[str, Artifact]]:
    """The deployment revisions and the models behind these rows."""
    found: list[tuple[str, Artifact]] = []
    for revision, model_id in sorted(set(frame.select("revision", "model_id").iter_rows())):
        query = Query("artifact", kind="deployment", name=deployment, version=revision, limit=1)
        found += [("deployment", one) for one in ws.graph.find(query) if isinstance(one, Artifact)]
        try:
            model = ws.graph.get(model_id)
        except NotFound:
            continue
        if isinstance(model, Artifact):
            found.append(("model", model))
    return found


def _prediction(deployment: str, row: dict[str, Any]) -> Prediction:
    score = row["score"]
    return Prediction(
        id=row["id"],
        deployment=deployment,
        revision=row["revision"],
        model_id=row["model_id"],
        row_key=row["row_key"],
        at=row["at"].isoformat(),
        logged_at=row["logged_at"].isoformat(),
        role=row["role"],
        score=float("nan") if score is None else score,
        features=msgspec.json.decode(row["features"]),
        latency_s=row["latency_s"],
        error=row["error"],
    )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One compaction of a log at a time, over all processes of this machine."""
    with (folder.parent / f".{folder.name}.compacting").open("w") as file:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy(
                        f"another process has been compacting the log of {folder.name!r} for {LOCK_WAIT_S:.0f} s; "
                        "wait for it, or end it"
                    ) from None
                time.sleep(0.05)
        yield
