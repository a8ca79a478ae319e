"""Datasets: the list, one dataset, and what is known of it: profile, card, contract, what differs between versions.

Rows and values are shown as the reader may see them (catalogue.access): who has no role sees personal columns masked.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.views.shaping import Shown, artifact_line, plain, run_line
from tidemill.core.errors import Refused
from tidemill.core.types import DatasetVersion, Query, Run
from tidemill.project import Project

FIRST_ROWS = 8
USES = 20
SHOWN_DIFF = 100


def datasets(project: Project) -> Shown:
    """All datasets by name, each with its newest version, its owner and classification."""
    from tidemill.data.catalogue import governance

    newest: dict[str, DatasetVersion] = {}
    for found in project.ws.graph.find(Query("artifact", kind="dataset", limit=1_000_000)):
        if not isinstance(found, Run):
            newest.setdefault(found.name, DatasetVersion(found))
    said = {name: governance.get(project.ws, name) for name in newest}
    return {
        "datasets": [
            {**_line(newest[name]), "owner": said[name].owner, "classification": said[name].classification}
            for name in sorted(newest)
        ]
    }


def dataset(project: Project, name: str, *, version: str | None = None, purpose: str | None = None) -> Shown:
    """One dataset at a version (number, tag, branch or digest; the newest by default) and all its versions.

    Raises NotFound naming the nearest dataset, or the versions there are.
    """
    from tidemill.data import datasets as stored
    from tidemill.data.catalogue import governance, policies
    from tidemill.data.filesets import files
    from tidemill.data.quality import contracts, quarantine
    from tidemill.data.versioning import branches

    ws = project.ws
    found = stored.resolve(ws, name, version)
    name = found.name
    labels: dict[int, list[str]] = {}
    for tag, number in stored.tags(ws, name).items():
        labels.setdefault(number, []).append(tag)
    readers = {edge.run_id for edge in ws.graph.edges([found.id]) if edge.role == "in"}
    said, policy, contract = governance.get(ws, name), policies.get(ws, name), contracts.get(ws, name)
    return {
        **_line(found),
        "key": found.key,
        "event_time": found.event_time,
        "known_time": found.known_time,
        **_first_rows(project, found, purpose),
        **_asked(project, found, purpose),
        "is_files": files.is_files(found),
        "versions": [{**_line(each), "tags": labels.get(each.version, [])} for each in stored.log(ws, name)],
        "branches": {label: head.version for label, head in branches.branches(ws, name).items()},
        "governance": {key: value for key, value in said.body().items() if key not in ("format", "rejected", "tags")},
        "policy": {
            "purposes": [each.text for each in policy.permits.values()] if policy.limited else None,
            "keep_days": None if policy.keep_for is None else policy.keep_for.total_seconds() / 86400,
            "held": list(policies.held(ws, name)),
        },
        "rules": None if contract is None else len(contract.rules),
        "quarantined": quarantine.rows_of(ws, name).height if name in quarantine.names(ws) else 0,
        "used_by": [run_line(_run(project, run_id)) for run_id in sorted(readers, reverse=True)[:USES]],
        "uses": len(readers),
    }


def profile(project: Project, name: str, *, version: str | None = None, purpose: str | None = None) -> Shown:
    """The distribution of each column; of personal columns only types and counts for who may not see them.

    Raises Refused for a purpose that is not allowed, as the other views of what is in a dataset do.
    """
    from tidemill.data import datasets as stored
    from tidemill.data.catalogue import access, policies
    from tidemill.data.quality import profiles

    found = stored.resolve(project.ws, name, version)
    policies.require(project.ws, found, purpose)
    facts = profiles.of(project.ws, found)
    hidden = _hidden(project, found)
    kept = ("type", "kind", "missing", "missing_share", "distinct")
    columns = {
        column: {
            "masked": column in hidden,
            **({k: v for k, v in each.items() if k in kept} if column in hidden else each),
        }
        for column, each in facts["columns"].items()
    }
    return {**_line(found), "mask": access.MASK, "columns": plain(columns), **_asked(project, found, purpose)}


def card(project: Project, name: str, *, version: str | None = None) -> Shown:
    """The dataset card, Markdown."""
    from tidemill.data import datasets as stored
    from tidemill.data.catalogue import cards

    found = stored.resolve(project.ws, name, version)
    return {**_line(found), "card": cards.card(project.ws, found)}


def diff(
    project: Project, name: str, *, old: str | None = None, new: str | None = None, purpose: str | None = None
) -> Shown:
    """What differs between two versions; by default between the newest and the one before it.

    Raises Refused for a purpose that is not allowed: these are rows.
    """
    from tidemill.data import datasets as stored
    from tidemill.data.catalogue import policies
    from tidemill.data.versioning import diffs

    ws = project.ws
    later = stored.resolve(ws, name, new)
    name = later.name
    versions = [_line(each) for each in stored.log(ws, name)]
    parent = later.artifact.meta.get("parent")
    before = next((each["version"] for each in versions if each["id"] == parent), later.version)
    earlier = stored.resolve(ws, name, old or before)
    policies.require(ws, [earlier, later], purpose)
    found = diffs.diff(ws, earlier, later, at_most=SHOWN_DIFF)
    hidden = _hidden(project, later) | _hidden(project, earlier)
    if hidden:
        found = _without(found, hidden)
    return {**found, "versions": versions, "masked": sorted(hidden), **_asked(project, later, purpose)}


def contract(project: Project, name: str, *, purpose: str | None = None) -> Shown:
    """The dataset's contract and its history, the newest report, and what waits in quarantine.

    The rows are left out, and `refused` says why, for a purpose that is not allowed.
    """
    from tidemill.data import datasets as stored
    from tidemill.data.catalogue import access, governance, policies
    from tidemill.data.quality import contracts, quarantine

    ws = project.ws
    newest = stored.get(ws, name)
    held = contracts.get(ws, name)
    waiting = contracts.quarantined(ws, name)
    hidden = _hidden(project, newest)
    if not access.sees_personal(ws, ws.settings.who, name):  # rows may have columns that no version has any more
        hidden |= {column for column, tags in governance.tags(ws, name).items() if governance.is_personal(tags)}
    waiting = waiting.drop([column for column in hidden if column in waiting.columns])
    waiting = waiting.select(quarantine.reading_order(waiting, newest.key))
    refused = None
    try:
        if waiting.height:
            policies.require(ws, newest, purpose)
    except Refused as error:
        refused = str(error)
    return {
        "refused": refused,
        **_asked(project, newest, purpose),
        "name": name,
        "label": newest.artifact.label,
        "rules": [] if held is None else held.rules,
        "set_by": None if held is None else held.by,
        "history": [
            {"seq": each.seq, "at": plain(each.at), "by": each.by, "rules": len(each.rules)}
            for each in contracts.history(ws, name)
        ],
        "reports": [
            {**run_line(each)}
            for each in ws.graph.find(Query("run", kind="data.check", name=name, limit=10))
            if isinstance(each, Run)
        ],
        "quarantined": waiting.height,
        "columns": waiting.columns,
        "rows": [[plain(value) for value in row] for row in waiting.head(0 if refused else 50).iter_rows()],
        "masked": sorted(hidden),
    }


def images(
    project: Project, name: str, *, version: str | None = None, purpose: str | None = None, page: int = 1
) -> Shown:
    """The files of a dataset of files, pictures first, 48 a page."""
    import polars as pl

    from tidemill.data import datasets as stored
    from tidemill.data.catalogue import access
    from tidemill.data.filesets import files

    found = stored.resolve(project.ws, name, version)
    files.require_files(found)
    per_page = 48
    is_picture = pl.col("media_type").str.starts_with("image/").fill_null(value=False)
    rows = (
        access.scan(project.ws, found, purpose=purpose)
        .sort(~is_picture, found.key)
        .slice((page - 1) * per_page, per_page)
        .collect()
    )
    return {
        **_line(found),
        **_asked(project, found, purpose),
        "page": page,
        "pages": max(1, -(-found.rows // per_page)),
        "files": [{str(k): plain(v) for k, v in row.items()} for row in rows.iter_rows(named=True)],
    }


def file_of(
    project: Project, name: str, path: str, *, version: str | None = None, purpose: str | None = None
) -> tuple[str, bytes]:
    """The media type and the bytes of one file. Raises NotFound naming the nearest path, Refused by a policy.

    The page of files records the look; a file of it is no further event.
    """
    import polars as pl

    from tidemill.data import datasets as stored
    from tidemill.data.catalogue import policies
    from tidemill.data.filesets import files

    found = stored.resolve(project.ws, name, version)
    files.require_files(found)
    policies.require(project.ws, found, purpose)
    content = files.read(project.ws, found, path)
    rows = stored.scan(project.ws, found, columns=[found.key, "media_type"], verify=False)
    return str(rows.filter(pl.col(found.key) == path).collect()["media_type"][0]), content


def _asked(project: Project, version: DatasetVersion, purpose: str | None) -> Shown:
    """What it is looked at for, and whether that must be said."""
    from tidemill.data.catalogue import policies

    return {"purpose": purpose, "limited": policies.limited(project.ws, version)}


def _first_rows(project: Project, version: DatasetVersion, purpose: str | None) -> Shown:
    """The columns with their tags, and the first rows, masked where the reader has no role; each look is recorded."""
    import polars as pl

    from tidemill.data.catalogue import access
    from tidemill.data.catalogue.tagging import tagged

    tags = {column: each["tags"] for column, each in tagged(project.ws, version.artifact).items()}
    try:
        first = access.scan(project.ws, version, purpose=purpose).head(FIRST_ROWS).collect()
        first = first.select(version.key, pl.exclude(version.key))  # what names a row is seen without scrolling
    except Refused as refused:
        return {"columns": dict(version.columns), "tags": tags, "first_rows": [], "refused": str(refused)}
    return {
        "columns": {column: version.columns[column] for column in first.columns},
        "tags": tags,
        "first_rows": [[plain(value) for value in row] for row in first.iter_rows()],
        "refused": None,
    }


def _hidden(project: Project, version: DatasetVersion) -> set[str]:
    from tidemill.data.catalogue import access

    if access.sees_personal(project.ws, project.ws.settings.who, version.name):
        return set()
    return set(access.hidden_columns(project.ws, version))


def _without(found: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    """The same difference with the values of these columns left out."""
    from tidemill.data.catalogue.access import MASK

    def masked(row: dict[str, Any]) -> dict[str, Any]:
        return {name: MASK if name in hidden else value for name, value in row.items()}

    key = MASK if found["key"] in hidden else None
    return {
        **found,
        "added": [masked(row) for row in found["added"]],
        "removed": [masked(row) for row in found["removed"]],
        "changed": [
            {
                "key": key or each["key"],
                "columns": {
                    name: {"old": MASK, "new": MASK} if name in hidden else values
                    for name, values in each["columns"].items()
                },
            }
            for each in found["changed"]
        ],
    }


def _line(version: DatasetVersion) -> Shown:
    meta = version.artifact.meta
    return {
        **artifact_line(version),
        "rows": version.rows,
        "added": meta.get("added"),
        "message": meta.get("message") or "",
        "n_columns": len(version.columns),
        "branch": meta.get("branch") or "main",
    }


def _run(project: Project, run_id: str) -> Run:
    found = project.ws.graph.get(run_id)
    assert isinstance(found, Run)
    return found
