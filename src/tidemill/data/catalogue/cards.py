"""Dataset cards: what a dataset holds, where it came from and who may use it, in Markdown, made from records only.

Sources: Gebru et al., Datasheets for datasets, CACM 64 (2021); Pushkarna et al., Data cards, FAccT 2022.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tidemill.core.errors import NotFound
from tidemill.core.types import Artifact, DatasetVersion, Query
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue import governance, policies
from tidemill.data.catalogue.governance import Governance
from tidemill.data.catalogue.policies import Policy
from tidemill.data.catalogue.tagging import tagged
from tidemill.data.catalogue.upstream import upstream
from tidemill.data.quality import contracts, profiles
from tidemill.data.quality.contract import WRITTEN

VERSIONS = 10
REPORTS = 5
ALL = 100_000
MISSING = 0.2  # a column of which a larger share is missing is named among the limits

Facts = Mapping[str, Any]  # JSON values


def card(ws: Workspace, version: DatasetVersion) -> str:
    """The card of that version, Markdown: the same records give the same text.

    A profile is shown where one was computed (`profiles.of`); a contract and its reports where there are some. Values
    of rows are not shown: neither examples nor minima and maxima of columns.
    """
    known = governance.get(ws, version.name)
    tags = tagged(ws, version.artifact)
    profile = _profile(ws, version)
    parts = [
        f"# Dataset card: {version.name}",
        known.description or "Nobody has described it yet.",
        "## Facts",
        _bullets(_facts(version, known)),
        "## Columns",
        _columns(ws, version, tags, profile),
        "## Where it came from",
        _bullets(_sources(ws, version)),
        "## Checks",
        _bullets(_checks(ws, version)),
        "## Rules of use",
        _bullets(_rules(policies.get(ws, version.name), policies.held(ws, version.name), tags)),
        "## Versions",
        _versions(ws, version),
        "## Known uses",
        _bullets(_uses(ws, version)),
        "## Limits",
        _bullets(_limits(version, known, tags, profile)),
    ]
    return "\n\n".join(parts) + "\n"


def _profile(ws: Workspace, version: DatasetVersion) -> Facts | None:
    for each in ws.graph.find(Query("artifact", kind=profiles.KIND, name=version.name, limit=ALL)):
        if isinstance(each, Artifact) and each.meta.get("dataset") == version.id:
            try:
                found = json.loads(ws.store.get(each.digest))
            except NotFound:  # erased since
                return None
            return found if isinstance(found, dict) else None
    return None


def _facts(version: DatasetVersion, known: Governance) -> list[str]:
    lines = [
        f"version {version.version}, digest `{version.digest}`, {version.rows:,} rows, {len(version.columns)} columns",
        f"recorded {version.artifact.created_at:%Y-%m-%d %H:%M} UTC by run `{version.artifact.run_id}`",
        f"a row is identified by `{version.key}`",
    ]
    if version.event_time is not None:
        lines.append(f"`{version.event_time}` says when it happened")
    if version.known_time is not None:
        lines.append(f"`{version.known_time}` says from when on it could be known: joins in time go by both")
    lines += [f"{what}: {value}" for what, value in (("owner", known.owner), ("steward", known.steward)) if value]
    lines.append(f"licence: {known.licence or 'not said'}; classification: {known.classification or 'not said'}")
    return lines


def _columns(ws: Workspace, version: DatasetVersion, tags: Facts, profile: Facts | None) -> str:
    head = ["column", "type", "tags", "missing", "distinct"] if profile else ["column", "type", "tags"]
    rows = []
    for column, kind in datasets.scan(ws, version, verify=False).collect_schema().items():  # in the table's order
        cells = [
            f"`{column}`",
            WRITTEN.get(str(kind), str(kind)),
            ", ".join(tags.get(column, {}).get("tags", [])) or "–",
        ]
        if profile:
            facts = profile["columns"].get(column, {})
            missing, distinct = facts.get("missing_share"), facts.get("distinct")
            cells += [
                "–" if missing is None else f"{100 * missing:.3g} %",
                "–" if distinct is None else f"{distinct:,}",
            ]
        rows.append(cells)
    return _table(head, rows)


def _sources(ws: Workspace, version: DatasetVersion) -> list[str]:
    """What it was cleaned from, and the runs behind it that read a file or another dataset, newest first."""
    trail = ws.graph.trail(version.id, "down")
    others = {each.id: each for each in trail.artifacts if each.kind == datasets.KIND and each.name != version.name}
    read: dict[str, list[str]] = {}
    for edge in trail.edges:
        if edge.role == "in" and edge.artifact_id in others:
            read.setdefault(edge.run_id, []).append(others[edge.artifact_id].label)
    lines = []
    for run in sorted(trail.runs, key=lambda each: each.id, reverse=True):
        source = str(run.params.get("source") or "")
        told = [f"from {source}"] if source and source != "frame" else []
        told += [f"from {', '.join(sorted(read[run.id]))}"] if run.id in read else []
        if told:
            lines.append(f"{run.started_at:%Y-%m-%d}: {run.kind} {run.name} {' and '.join(told)}, by {run.actor}")
    cleaned = [
        f"cleaned from `{each}`"
        for each in sorted(
            upstream(ws, version.artifact).datasets - {version.name} - {one.name for one in others.values()}
        )
    ]
    return cleaned + _first(lines, VERSIONS) or ["frames given by a program; see the runs in `tidemill trace`"]


def _checks(ws: Workspace, version: DatasetVersion) -> list[str]:
    contract = contracts.get(ws, version.name)
    lines = ["no contract is set"] if contract is None else [f"contract: `{rule}`" for rule in contract.rules]
    reports = [
        each
        for name in (f"contract/{version.name}", f"checks/{version.name}")
        for each in ws.graph.find(Query("artifact", kind="report", name=name, limit=REPORTS))
        if isinstance(each, Artifact)
    ]
    for report in sorted(reports, key=lambda each: each.id, reverse=True)[:REPORTS]:
        lines.append(f"{report.created_at:%Y-%m-%d}: `{report.label}`, {_outcome(ws, report)}")
    return lines


def _outcome(ws: Workspace, report: Artifact) -> str:
    try:
        body = json.loads(ws.store.get(report.digest))
    except NotFound:
        return "erased since"
    results = body["results"] if isinstance(body, dict) else body
    failed = sum(1 for each in results if each.get("rows", each.get("failing", 0)))
    return f"{len(results)} rules, {failed} failed"


def _rules(policy: Policy, held: Sequence[str], tags: Facts) -> list[str]:
    permits = [each.text for _, each in sorted(policy.permits.items())]
    lines = [f"may be used for: {', '.join(permits) or 'nothing'}" if policy.limited else "any purpose is allowed"]
    if policy.keep_for is not None:
        lines.append(f"rows are kept for {policy.keep_for.days} days after their event time")
    lines += [f"under legal hold: {case}" for case in held]
    personal = [f"`{column}`" for column, each in tags.items() if governance.is_personal(each["tags"])]
    if personal:
        lines.append(f"personal: {', '.join(personal)}; masked for readers without the role `pii`")
    return lines


def _versions(ws: Workspace, version: DatasetVersion) -> str:
    """The line of versions that ends in this one, newest first."""
    before: list[DatasetVersion] = []
    by_id = {each.id: each for each in datasets.log(ws, version.name)}
    each: DatasetVersion | None = version
    while each is not None and len(before) < VERSIONS:
        before.append(each)
        each = by_id.get(str(each.artifact.meta.get("parent")))
    rows = [
        [
            str(one.version),
            f"{one.artifact.created_at:%Y-%m-%d}",
            f"{one.rows:,}",
            str(one.artifact.meta.get("step") or "–"),
            str(one.artifact.meta.get("message") or "–"),
        ]
        for one in before
    ]
    return _table(["version", "recorded", "rows", "step", "message"], rows)


def _uses(ws: Workspace, version: DatasetVersion) -> list[str]:
    """Models and deployments that came of this version."""
    made = [each for each in ws.graph.trail(version.id, "up").artifacts if each.kind in ("model", "deployment")]
    lines = []
    for artifact in sorted(made, key=lambda each: each.id):
        target = artifact.meta.get("target")
        lines.append(f"`{artifact.label}`{f', which estimates `{target}`' if target else ''}")
    return lines or ["no model was made of this version"]


def _limits(version: DatasetVersion, known: Governance, tags: Facts, profile: Facts | None) -> list[str]:
    lines = []
    if version.event_time is None:
        lines.append("no event time: rows cannot be joined in time, and retention cannot count from it")
    elif version.known_time is None:
        lines.append("no known time: a row counts as known when it happened, so what came late may leak into training")
    if not known.owner:
        lines.append("nobody answers for it")
    if not known.licence:
        lines.append("no licence is named: ask before it leaves the house")
    inherited = sorted({at for each in tags.values() for at in each["from"] if not at.startswith(f"{version.name}.")})
    if inherited:
        lines.append(f"personal data came in from {', '.join(f'`{each}`' for each in inherited)}")
    if profile:
        gaps = {c: f["missing_share"] for c, f in profile["columns"].items() if f.get("missing_share", 0) > MISSING}
        lines += [f"`{column}` is missing in {100 * share:.3g} % of rows" for column, share in sorted(gaps.items())]
    return lines or ["none are recorded"]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


def _first(lines: Sequence[str], n: int) -> list[str]:
    more = len(lines) - n
    return [*lines[:n], *([f"and {more} more"] if more > 0 else [])]
