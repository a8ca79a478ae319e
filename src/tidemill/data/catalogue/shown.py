"""What a person is shown of data beside its rows: differences, profiles, conflicts, quarantined rows, answers.

As in `access.scan`, personal columns are masked for who has no role to see them, and the look is in the audit log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from tidemill.core.errors import NotFound
from tidemill.core.ids import iso
from tidemill.core.types import Artifact, DatasetVersion, Prediction
from tidemill.core.workspace import Workspace
from tidemill.data.catalogue import access, governance, policies
from tidemill.data.catalogue.tagging import tagged
from tidemill.data.catalogue.upstream import upstream
from tidemill.data.feature_store import features as feature_views
from tidemill.data.quality import contracts, profiles
from tidemill.data.quality.contract import Contract
from tidemill.data.versioning import diffs, layers, versions
from tidemill.data.versioning.branches import RowConflict

VALUES = ("min", "max", "mean", "std", "quantiles", "histogram", "top")  # of a profile's column: they tell values
TELLING = ("between", "one_of")  # rules whose words are values

_Hidden = dict[str, list[str]]


def diff(
    ws: Workspace, one: DatasetVersion, other: DatasetVersion, *, at_most: int = 100, purpose: str | None = None
) -> dict[str, Any]:
    """`diffs.diff`, as the settings' actor may see it: {..., "masked": columns}. purpose: as in `scan`."""
    policies.require(ws, [one, other], purpose)
    found = diffs.diff(ws, one, other, at_most=at_most)
    hidden = _hidden(ws, one) | _hidden(ws, other)
    _note(ws, other, hidden, "diff")
    if hidden:
        key = found["key"]
        for what in ("added", "removed"):
            found[what] = [access.mask_values(ws, row, hidden) for row in found[what]]
        for change in found["changed"]:
            change["key"] = access.mask_values(ws, {key: change["key"]}, hidden)[key]
            change["columns"] = {
                column: {side: access.mask_values(ws, {column: value}, hidden)[column] for side, value in both.items()}
                for column, both in change["columns"].items()
            }
    return found | {"masked": sorted(hidden)}


def profile(
    ws: Workspace,
    version: DatasetVersion,
    *,
    purpose: str | None = None,
    progress: profiles.Progress | None = None,
) -> dict[str, Any]:
    """`profiles.of` without what tells values of columns that the actor may not see. purpose: as in `scan`."""
    policies.require(ws, version, purpose)
    found = profiles.of(ws, version, progress=progress)
    hidden = _hidden(ws, version)
    _note(ws, version, hidden, "profile")
    columns: Mapping[str, Mapping[str, Any]] = found["columns"]
    shown = {  # in the order of the rows: a kept profile is sorted by name
        name: {fact: value for fact, value in columns[name].items() if name not in hidden or fact not in VALUES}
        for name in layers.schema(ws.tables, layers.content(version))
    }
    return found | {"columns": shown, "masked": sorted(hidden)}


def quarantined(ws: Workspace, name: str, *, purpose: str | None = None) -> pl.DataFrame:
    """`contracts.quarantined`, as the settings' actor may see it. purpose: as in `scan`."""
    rows = contracts.quarantined(ws, name)
    version = versions.find(ws, name)
    if version is None:  # nothing was let in yet, so nobody could tag a column
        return rows
    if rows.height:
        policies.require(ws, version, purpose)
    tagged = {column: tags for column, tags in governance.tags(ws, name).items() if governance.is_personal(tags)}
    hidden = {column: tags for column, tags in (_hidden(ws, version, tagged)).items() if column in rows.columns}
    _note(ws, version, hidden, "quarantine")
    return access.masked(ws, rows.lazy(), hidden).collect() if hidden else rows


def conflicts(ws: Workspace, name: str, found: Iterable[RowConflict]) -> list[dict[str, Any]]:
    """The conflicts of a merge as JSON, as the settings' actor may see them."""
    version = versions.get(ws, name)
    hidden = _hidden(ws, version)
    shown = []
    for each in found:
        key = access.mask_values(ws, {version.key: each.key}, hidden)[version.key]
        sides = {side: getattr(each, side) for side in ("base", "ours", "theirs")}
        if each.column in hidden:
            sides = {side: access.mask_values(ws, {each.column: sides[side]}, hidden)[each.column] for side in sides}
        shown.append(each.json() | sides | {"key": key})
    _note(ws, version, hidden, "merge")
    return shown


def keys(ws: Workspace, version: DatasetVersion, said: Iterable[Any]) -> list[Any]:
    """Values of the key of that version's rows, as the settings' actor may see them; no event is recorded."""
    hidden = _hidden(ws, version)
    return [access.mask_values(ws, {version.key: each}, hidden)[version.key] for each in said]


def suggest(ws: Workspace, version: DatasetVersion) -> Contract:
    """`contracts.suggest` without the rules that tell values of columns that the settings' actor may not see."""
    found, hidden = contracts.suggest(ws, version), _hidden(ws, version)
    kept = [each for each in found.checks if each.column not in hidden or each.kind not in TELLING]
    return replace(found, checks=tuple(kept))


def prediction(ws: Workspace, found: Prediction) -> Prediction:
    """An answer with the row key and the features masked that the settings' actor may not see; no event is recorded."""
    rows = _artifact(ws, found.model_id)
    rows = None if rows is None else _artifact(ws, str(rows.meta.get("rows", "")))
    keys = {} if rows is None else columns_of(ws, rows.id)
    tags = {tag for each in keys.values() for tag in each}
    features = access.mask_values(ws, found.features, columns_of(ws, found.model_id))
    row_key = access.mask_values(ws, {"": found.row_key}, {"": tags})[""] if tags else found.row_key
    return replace(found, features=features, row_key=row_key)


def model(
    ws: Workspace, model_id: str, *, card: str, slices: Iterable[Mapping[str, Any]]
) -> tuple[str, list[dict[str, Any]]]:
    """A model's card and slices without values of columns that the settings' actor may not see.

    Values stand in the names of features ("town=Hull") and in slices.
    """
    hidden = columns_of(ws, model_id)
    for column in sorted(hidden, key=len, reverse=True):
        name = re.escape(column)
        if "=" in column:
            card = card.replace(f"`{column}`", f"`{column.partition('=')[0]}={access.MASK}`")
        # one expression a place where a card says a slice's value: what is before it stays
        for place in (rf"(?m)^(\| {name} \| ).*?(?= \| \d)", rf"(?m)^(- Weakest slice by AUC: {name} = ).*(?= \()"):
            card = re.sub(place, lambda said: said[1] + access.MASK, card)
    shown = [{**each, "value": access.MASK} if each.get("column") in hidden else dict(each) for each in slices]
    return card, shown


def evaluation(ws: Workspace, report_id: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation's report without values of columns that the settings' actor may not see.

    Values stand in slices, as names of groups, and as classes of the target.
    """
    hidden = columns_of(ws, report_id)

    def told(column: str, value: Any) -> Any:
        return access.MASK if column in hidden else value

    def part(column: str, found: Mapping[str, Any]) -> dict[str, Any]:
        made = dict(found)
        for name in {"group", "reference"} & made.keys():
            made[name] = told(column, made[name])
        for name in {"groups", "gaps"} & made.keys():
            made[name] = [part(column, each) for each in made[name]]
        if "left_out" in made:
            made["left_out"] = [told(column, each) for each in made["left_out"]]
        if "classes" in made:
            made["classes"] = [part(column, each) for each in made["classes"]]
        if "class" in made:
            made["class"] = told(target, made["class"])
        return made

    target = str(report.get("target"))
    shown = dict(report)
    shown["classes"] = [told(target, each) for each in report.get("classes", [])]
    shown["by_class"] = [part("", each) for each in report.get("by_class", [])]
    shown["slices"] = [{**each, "value": told(each["column"], each["value"])} for each in report.get("slices", [])]
    if "weak" in report:
        found = [
            {**each, "where": [[column, told(column, value)] for column, value in each["where"]]}
            for each in report["weak"]["found"]
        ]
        shown["weak"] = {**report["weak"], "found": found}
    shown["fairness"] = [part(each["column"], each) for each in report.get("fairness", [])]
    return shown


def columns_of(ws: Workspace, artifact_id: str) -> _Hidden:
    """The columns of an artifact, and of the datasets that it came from, which the settings' actor may not see."""
    artifact = _artifact(ws, artifact_id)
    if artifact is None:
        return {}
    before = upstream(ws, artifact).artifacts.values() if artifact.kind == "model" else []
    hidden: _Hidden = {}
    for each in [*(one for one in before if one.kind == "dataset"), artifact]:
        for column, said in tagged(ws, each).items():
            if governance.is_personal(said["tags"]) and not all(_may_see(ws, at) for at in said["from"]):
                hidden[column] = sorted({*hidden.get(column, ()), *said["tags"]})
    return hidden


def features(ws: Workspace, view: str) -> _Hidden:
    """The features of a view that the settings' actor may not see, and their tags."""
    found = columns_of(ws, feature_views.find(ws, view).id)
    names = set(feature_views.get(ws, view).features)
    return {column: tags for column, tags in found.items() if column in names}


def _may_see(ws: Workspace, tagged_at: str) -> bool:
    """Whether the settings' actor sees what is tagged at "<dataset>.<column>"; both may have dots."""
    return any(
        access.sees_personal(ws, ws.settings.who, tagged_at[:dot])
        and tagged_at[dot + 1 :] in governance.tags(ws, tagged_at[:dot])
        for dot, letter in enumerate(tagged_at)
        if letter == "."
    )


def _artifact(ws: Workspace, artifact_id: str) -> Artifact | None:
    try:
        found = ws.graph.get(artifact_id)
    except NotFound:
        return None
    return found if isinstance(found, Artifact) else None


def _hidden(ws: Workspace, version: DatasetVersion, also: Mapping[str, list[str]] | None = None) -> _Hidden:
    if access.sees_personal(ws, ws.settings.who, version.name):
        return {}
    return dict(also or {}) | access.hidden_columns(ws, version)


def _note(ws: Workspace, version: DatasetVersion, hidden: Mapping[str, object], how: str) -> None:
    body = {"version": version.version, "id": version.id, "how": how, "masked": sorted(hidden), "at": iso(ws.now)}
    ws.graph.record(f"read/{version.name}", "read", body, actor=ws.settings.who)
