"""A deployment's day under watch: latency, errors, drift of inputs and scores, and how good the answers proved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tidemill.core import profile
from tidemill.core.ids import canonical_json, digest, iso, json_digest
from tidemill.core.profile import Bins, Counts
from tidemill.core.recording import Recorder, done_before, key_of, outputs_of, recorded
from tidemill.core.types import Alert, Artifact
from tidemill.core.workspace import Workspace
from tidemill.watch import log, performance, truth
from tidemill.watch.alerts import alerts, raise_alert
from tidemill.watch.drift import drift

if TYPE_CHECKING:
    import polars as pl

Reference = tuple[Bins, Counts]
SLIM = ("id", "row_key", "at", "revision", "model_id", "role", "score", "latency_s", "error")
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Monitor:
    """What is watched of a deployment, and from where on it is an alert.

    drift_test: name at the extension point. alpha: false discovery rate over the columns of a day. min_effect: floor on
    the effect (the drift test's default where None), so that big samples do not alarm on trifles. window_days: days of
    rows pooled for a drift test. min_rows: fewer rows in a window are not tested. p95_ms: of one request's latency.
    max_error_share: of a day's answers. performance_days: window of `at` whose truths are scored; min_drop: how far AUC
    must have fallen below the reference, significantly so at `performance_alpha`. max_bias: between mean predicted and
    observed share, 0..1. due_days: truth later than that is missing, if more than max_missing_share is. quiet_days: the
    same finding about the same champion is not raised again within so many days.
    """

    deployment: str
    drift_test: str = "g"
    alpha: float = 0.01
    min_effect: float | None = None
    window_days: int = 7
    min_rows: int = 500
    p95_ms: float = 50.0
    max_error_share: float = 0.01
    performance_days: int = 14
    performance_alpha: float = 0.001
    min_drop: float = 0.03
    max_bias: float = 0.05
    due_days: int = 3
    max_missing_share: float = 0.1
    quiet_days: int = 28

    @property
    def reach_days(self) -> int:
        """How many days back a check looks."""
        return max(self.window_days, self.performance_days, self.due_days + 1)


@dataclass(frozen=True, slots=True)
class DayReport:
    """What a check of one day found. Shares are 0..1; None where there was too little to say.

    rows: answers of the day. columns: a line {column, statistic, p, q, effect, drifted} for each input column, over the
    last window_days. score: the same for the champion's scores. performance: {n, auc, log_loss, brier, predicted,
    observed, drop, p, reference_auc} over the last performance_days. alerts: texts of those raised by this day.
    """

    deployment: str
    day: str
    revision: int | None
    rows: int
    p50_ms: float | None
    p95_ms: float | None
    error_share: float | None
    columns: tuple[Mapping[str, Any], ...]
    score: Mapping[str, Any] | None
    performance: Mapping[str, Any] | None
    missing_truth_share: float | None
    alerts: tuple[str, ...]
    run: str = ""

    @property
    def drifted(self) -> list[str]:
        """The input columns that drifted."""
        return [line["column"] for line in self.columns if line["drifted"]]


def check_day(
    ws: Workspace,
    monitor: Monitor,
    day: date,
    reference: Reference,
    score_reference: Reference | None = None,
    *,
    reference_auc: float | None = None,
    revision: int | None = None,
) -> DayReport:
    """Check one day (UTC) from the compacted predictions and the truths known at its end; alerts are raised.

    reference, score_reference: the frozen bins of the champion's training rows and test scores with their counts.
    reference_auc: on its test rows. revision: the champion's; only its scores are judged (default: all that answered).
    Recorded as a run "watch.day" with a report; the same day over the same rows and references is not done twice.
    """
    begin = datetime.combine(day, time(), UTC)
    end = begin + DAY
    segments = [one for one in (log.newest(ws, monitor.deployment), truth.newest(ws, monitor.deployment)) if one]
    bins_name = json_digest(profile.bins_to_json(reference[0]))
    key = key_of(
        "watch.day",
        asdict(monitor),
        day.isoformat(),
        [one.digest for one in segments],
        [bins_name, digest(canonical_json(profile.counts_to_json(reference[1])))],
        None if score_reference is None else profile.counts_to_json(score_reference[1]),
        reference_auc,
        revision,
    )
    before = done_before(ws, key)
    if before is not None:
        return _read(ws, outputs_of(ws, before)[0][1], before.id)
    inputs = [(one.kind, one) for one in segments]
    with recorded(ws, "watch.day", monitor.deployment, inputs=inputs, params={"day": day.isoformat()}, key=key) as run:
        seen = log.predictions(
            ws,
            monitor.deployment,
            since=end - monitor.reach_days * DAY,
            until=end,
            columns=[*SLIM],
            pending=False,
        )
        facts = _facts(ws, monitor, seen, (begin, end), reference, score_reference, reference_auc, revision, bins_name)
        findings = _findings(monitor, end, facts)
        raised = _raise_new(ws, monitor, end, revision, findings)
        report = {"deployment": monitor.deployment, "day": day.isoformat(), "revision": revision, **facts}
        report["alerts"] = [alert.text for alert in raised]
        _close(run, monitor, report)
    return _report(report, run.run.id)


def reports(ws: Workspace, deployment: str, *, limit: int = 400) -> list[DayReport]:
    """The reports of the last `limit` checks, oldest first."""
    from tidemill.core.types import Query

    found = ws.graph.find(Query("artifact", kind="report", name=_report_name(deployment), limit=limit))
    return [_read(ws, one, one.run_id or "") for one in reversed(found) if isinstance(one, Artifact)]


# ---------------------------------------------------------------------------------------------------------- facts


def _facts(
    ws: Workspace,
    monitor: Monitor,
    seen: pl.DataFrame,
    span: tuple[datetime, datetime],
    reference: Reference,
    score_reference: Reference | None,
    reference_auc: float | None,
    revision: int | None,
    bins_name: str,
) -> dict[str, Any]:
    """All that the day's rows say, as JSON values."""
    import polars as pl

    begin, end = span
    today = seen.filter(pl.col("at") >= begin)
    fine = seen.filter(pl.col("error").is_null())
    ours = fine if revision is None else fine.filter(pl.col("revision") == revision)
    window = end - monitor.window_days * DAY
    answered = today["latency_s"].to_numpy() * 1000
    return {
        "rows": today.height,
        "p50_ms": float(np.quantile(answered, 0.5)) if today.height else None,
        "p95_ms": float(np.quantile(answered, 0.95)) if today.height else None,
        "error_share": today["error"].is_not_null().sum() / today.height if today.height else None,
        "columns": _input_drift(ws, monitor, seen.filter(pl.col("at") >= window), reference, bins_name),
        "score": _score_drift(monitor, ours.filter(pl.col("at") >= window), score_reference),
        **_proved(ws, monitor, fine, ours, end, reference_auc),
    }


def _input_drift(
    ws: Workspace, monitor: Monitor, seen: pl.DataFrame, reference: Reference, bins_name: str
) -> list[dict[str, Any]]:
    if seen.height < monitor.min_rows:
        return []
    bins, expected = reference
    days: dict[date, int] = dict(seen.group_by(seen["at"].dt.date().alias("day")).len().sort("day").iter_rows())
    found: Counts | None = None
    for day, rows in days.items():
        counts = _day_counts(ws, monitor.deployment, day, rows, bins, bins_name)
        found = counts if found is None else profile.merge(found, counts)
    assert found is not None
    return _drifts(monitor, expected, found)


_counted: dict[tuple[str, str, date, int, str], Counts] = {}


def _day_counts(ws: Workspace, deployment: str, day: date, rows: int, bins: Bins, bins_name: str) -> Counts:
    """The day's inputs over the bins; kept in this process, since a window of seven days asks for a day seven times."""
    name = (ws.url, deployment, day, rows, bins_name)
    if name not in _counted:
        begin = datetime.combine(day, time(), UTC)
        frame = log.predictions(ws, deployment, since=begin, until=begin + DAY, columns=["features"], pending=False)
        decoder = msgspec.json.Decoder(dict[str, Any])
        if len(_counted) > 64:
            _counted.pop(next(iter(_counted)))
        _counted[name] = profile.count_rows(bins, [decoder.decode(text) for text in frame["features"]])
    return _counted[name]


def _score_drift(monitor: Monitor, ours: pl.DataFrame, reference: Reference | None) -> dict[str, Any] | None:
    if reference is None or ours.height < monitor.min_rows:
        return None
    bins, expected = reference
    found = profile.count_rows(bins, [{"score": score} for score in ours["score"].to_list()])
    return _drifts(monitor, expected, found)[0]


def _drifts(monitor: Monitor, expected: Counts, found: Counts) -> list[dict[str, Any]]:
    options: dict[str, Any] = {} if monitor.min_effect is None else {"min_effect": monitor.min_effect}
    lines = drift(expected, found, test=monitor.drift_test, alpha=monitor.alpha, **options)
    return [
        {
            "column": line.column,
            "statistic": float(line.statistic),
            "p": float(line.p),
            "q": float(line.q),
            "effect": float(line.effect),
            "drifted": bool(line.drifted),
        }
        for line in lines
    ]


def _proved(
    ws: Workspace,
    monitor: Monitor,
    fine: pl.DataFrame,
    ours: pl.DataFrame,
    end: datetime,
    reference_auc: float | None,
) -> dict[str, Any]:
    """Performance over the window, and the share of answers whose truth is overdue."""
    import polars as pl

    nothing = {"performance": None, "missing_truth_share": None}
    begin = end - monitor.reach_days * DAY - timedelta(microseconds=1)  # a truth may be known at once
    if truth.newest(ws, monitor.deployment) is None or fine.height == 0:
        return nothing
    beside = truth.beside(ws.at(end), monitor.deployment, fine, begin, unknown=True)
    due = end - monitor.due_days * DAY
    old = beside.filter((pl.col("at") >= due - DAY) & (pl.col("at") < due))
    missing = old["value"].null_count() / old.height if old.height >= 20 else None
    known = beside.filter(
        pl.col("value").is_not_null()
        & (pl.col("at") >= end - monitor.performance_days * DAY)
        & pl.col("id").is_in(ours["id"].to_list())
    )
    if known.height < monitor.min_rows:
        return {**nothing, "missing_truth_share": missing}
    y, p = known["value"].to_numpy(), known["score"].to_numpy()
    found = performance.scored(y, p)
    if reference_auc is not None:
        fallen = performance.fallen(y, p, reference_auc)
        found |= {"drop": fallen["drop"], "p": fallen["p"], "reference_auc": reference_auc}
    return {"performance": found, "missing_truth_share": missing}


# ---------------------------------------------------------------------------------------------------------- alerts


def _findings(monitor: Monitor, end: datetime, facts: Mapping[str, Any]) -> list[Alert]:
    """What is out of bounds."""
    found: list[Alert] = []

    def see(what: str, text: str, **evidence: Any) -> None:
        found.append(Alert(monitor.deployment, what, end, text, evidence))

    p95, errors, missing = facts["p95_ms"], facts["error_share"], facts["missing_truth_share"]
    if p95 is not None and p95 > monitor.p95_ms:
        see("latency", f"p95 latency {p95:.1f} ms, allowed {monitor.p95_ms:g} ms", p95_ms=p95, allowed=monitor.p95_ms)
    if errors is not None and errors > monitor.max_error_share:
        see("errors", f"{errors:.1%} of answers failed, allowed {monitor.max_error_share:.1%}", share=errors)
    drifted = [line for line in facts["columns"] if line["drifted"]]
    if drifted:
        found.append(_input_alert(monitor, end, drifted))
    score = facts["score"]
    if score is not None and score["drifted"]:
        see("score drift", f"scores drifted (q {score['q']:.2g}, effect {score['effect']:.3f})", **score)
    proved = facts["performance"]
    if proved is not None:
        if proved.get("drop", 0.0) > monitor.min_drop and proved["p"] < monitor.performance_alpha:
            text = (
                f"AUC {proved['auc']:.3f} over {monitor.performance_days} days, {proved['reference_auc']:.3f} on test"
            )
            see("performance", f"{text} (p {proved['p']:.2g})", column="auc", **proved)
        bias = proved["predicted"] - proved["observed"]
        if abs(bias) > monitor.max_bias:
            text = f"mean prediction {proved['predicted']:.3f}, observed {proved['observed']:.3f}"
            see("performance", f"{text} over {monitor.performance_days} days", column="bias", bias=bias, **proved)
    if missing is not None and missing > monitor.max_missing_share:
        text = f"{missing:.0%} of answers have no truth {monitor.due_days} days later"
        see("missing truth", f"{text}, allowed {monitor.max_missing_share:.0%}", share=missing)
    return found


def _input_alert(monitor: Monitor, end: datetime, drifted: Sequence[Mapping[str, Any]]) -> Alert:
    """One alert for all columns that drifted, the one with the largest effect first."""
    lines = sorted(drifted, key=lambda line: -line["effect"])
    first = lines[0]
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    text = (
        f"input {first['column']}{more} drifted over {monitor.window_days} days "
        f"(q {first['q']:.2g}, effect {first['effect']:.3f})"
    )
    return Alert(monitor.deployment, "input drift", end, text, {"columns": lines})


def _raise_new(
    ws: Workspace, monitor: Monitor, end: datetime, revision: int | None, findings: Sequence[Alert]
) -> list[Alert]:
    """Raise what was not raised lately about this champion."""
    if not findings:
        return []
    since = end - monitor.quiet_days * DAY
    earlier = alerts(ws, monitor.deployment, since=since, until=end - timedelta(microseconds=1))
    told = {(one.what, column, one.evidence.get("revision")) for one in earlier for column in _columns(one.evidence)}
    new = []
    for alert in findings:
        fresh = [column for column in _columns(alert.evidence) if (alert.what, column, revision) not in told]
        if not fresh:
            continue
        lines = [line for line in alert.evidence.get("columns", ()) if line["column"] in fresh]
        told_now = _input_alert(monitor, end, lines) if lines else alert
        marked = replace(told_now, evidence={**told_now.evidence, "revision": revision})
        raise_alert(ws, marked)
        new.append(marked)
    return new


def _columns(evidence: Mapping[str, Any]) -> list[str | None]:
    """The columns that an alert speaks of; [None] for one that speaks of none."""
    return [line["column"] for line in evidence["columns"]] if "columns" in evidence else [evidence.get("column")]


# ---------------------------------------------------------------------------------------------------------- records


def _report_name(deployment: str) -> str:
    return f"{deployment}/day"


def _close(run: Recorder, monitor: Monitor, report: Mapping[str, Any]) -> None:
    numbers = {name: report[name] for name in ("rows", "p50_ms", "p95_ms", "error_share") if report[name] is not None}
    numbers |= {"drifted": sum(line["drifted"] for line in report["columns"]), "alerts": len(report["alerts"])}
    proved = report["performance"] or {}
    numbers |= {name: proved[name] for name in ("auc", "log_loss", "brier") if proved.get(name) is not None}
    run.result(numbers)
    meta = {
        "day": report["day"],
        "what": "day",
        "at": iso(datetime.combine(date.fromisoformat(report["day"]), time(), UTC)),
    }
    run.emit_json("report", _report_name(monitor.deployment), {"format": 1, **report}, meta=meta)


def _read(ws: Workspace, artifact: Artifact, run_id: str) -> DayReport:
    return _report(msgspec.json.decode(ws.store.get(artifact.digest)), run_id)


def _report(value: Mapping[str, Any], run_id: str) -> DayReport:
    fields = {name: value[name] for name in DayReport.__slots__ if name in value}
    return DayReport(**{**fields, "columns": tuple(value["columns"]), "alerts": tuple(value["alerts"]), "run": run_id})
