"""Tags follow columns: from datasets into what was made of them, features, models and prediction logs.

Walks the graph down from an artifact and carries tags up again, column by column:

    dataset       a column of the same name in a dataset that it was made or cleaned from; what people said about itself
    feature-view  its features, by the definition (prefix + column of the source), and the columns that name an entity
    recipe        each raw column that it needs, and each feature that a step made of one ("email=a@b.example")
    rows          the column of row ids
    model         its recipe's raw columns and features, and the target
    deployment    its model's
    predictions   "row_key", and "features.<column>" for each raw column of the models that answered its rows

A column that an as-of join named by a prefix counts as the longest column whose name it ends with, where no input has a
column of its own name: rows are named so by `Rows.as_of(prefix=)`, and a tag too many does less harm than one too few.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tidemill.core import recipe as recipes
from tidemill.core.errors import NotFound
from tidemill.core.recipe import Recipe
from tidemill.core.recipe.operations import operation
from tidemill.core.types import Artifact
from tidemill.core.workspace import Workspace
from tidemill.data.catalogue import governance
from tidemill.data.catalogue.upstream import Upstream, upstream

Tagged = dict[str, dict[str, list[str]]]
_Found = dict[str, dict[str, set[str]]]  # column -> tag -> where it was given, "dataset.column"

TARGET = "target"


def tagged(ws: Workspace, artifact: Artifact) -> Tagged:
    """Each column of the artifact that has tags: {"tags": [...], "from": ["<dataset>.<column>", ...]}, sorted.

    Names of columns are those of the artifact, see above. "from" names the datasets where a person gave the tags.
    """
    found = _Walk(ws, upstream(ws, artifact)).tags_of(artifact)
    return {
        column: {"tags": sorted(each), "from": sorted(set().union(*each.values()))}
        for column, each in sorted(found.items())
        if each
    }


class _Walk:
    """What an artifact came from, and the tags known so far of each part of it."""

    def __init__(self, ws: Workspace, came_from: Upstream) -> None:
        self.ws = ws
        self.artifacts = came_from.artifacts
        self.inputs = came_from.inputs
        self.known: dict[str, _Found] = {}
        self.said: dict[str, governance.Governance] = {}
        self.read: dict[str, dict[str, Any]] = {}

    def tags_of(self, artifact: Artifact) -> _Found:
        """Tags only grow from round to round, so the rounds end; one is enough where artifacts come in order."""
        in_order = sorted(self.artifacts.values(), key=lambda each: (each.created_at, each.id))
        again = True
        while again:
            again = False
            for each in in_order:
                found = self._of(each)
                again = again or found != self.known.get(each.id, {})
                self.known[each.id] = found
        return self.known.get(artifact.id, {})

    def _of(self, artifact: Artifact) -> _Found:
        return _BY_KIND.get(artifact.kind, _same_names)(self, artifact)

    def governance(self, dataset: str) -> governance.Governance:
        """What people said about the dataset, asked once."""
        if dataset not in self.said:
            self.said[dataset] = governance.get(self.ws, dataset)
        return self.said[dataset]

    def inputs_of(self, artifact: Artifact) -> list[Artifact]:
        """What it was made of."""
        return [self.artifacts[each] for each in self.inputs.get(artifact.id, ())]

    def carried(self, columns: Iterable[str], sources: Iterable[Artifact]) -> _Found:
        """The tags that these columns have by the columns of the sources that they came from."""
        datasets = [each for each in sources if each.id in self.known]
        return {column: found for column in columns if (found := self._from(column, datasets))}

    def _from(self, column: str, sources: list[Artifact]) -> dict[str, set[str]]:
        have = [(each, _columns(each, self.known[each.id])) for each in sources]
        exact = [self.known[each.id].get(column, {}) for each, names in have if column in names]
        if exact:
            return _union(exact)
        ends = [name for _, names in have for name in names if name and column.endswith(name)]
        longest = max(ends, key=len, default=None)
        return {} if longest is None else _union([self.known[each.id].get(longest, {}) for each, _ in have])

    def json_of(self, artifact: Artifact) -> dict[str, Any]:
        """The JSON object in the store, read once; empty where it was erased."""
        if artifact.digest not in self.read:
            try:
                loaded = json.loads(self.ws.store.get(artifact.digest))
            except NotFound:
                loaded = {}
            self.read[artifact.digest] = loaded if isinstance(loaded, dict) else {}
        return self.read[artifact.digest]

    def needs(self, recipe: Artifact) -> list[str]:
        """The raw columns that a recipe needs: of its record, which stays when its bytes are erased."""
        if "needs" in recipe.meta:
            return list(recipe.meta["needs"])
        body = self.json_of(recipe)
        return list(recipes.needs(recipes.from_json(body))) if body else []

    def one(self, artifact_id: object) -> Artifact | None:
        """The artifact of that id, if it is on the trail."""
        return self.artifacts.get(str(artifact_id))


def _dataset(walk: _Walk, artifact: Artifact) -> _Found:
    said = walk.governance(artifact.name)
    columns = list(artifact.meta.get("columns") or {})
    found = walk.carried(columns, walk.inputs_of(artifact))
    for column in columns:
        mine = {tag: {f"{artifact.name}.{column}"} for tag in said.tags.get(column, ())}
        passed_on = {tag: at for tag, at in found.get(column, {}).items() if tag not in said.rejected.get(column, ())}
        found[column] = _union([passed_on, mine])
    return {column: each for column, each in found.items() if each}


def _same_names(walk: _Walk, artifact: Artifact) -> _Found:
    columns = artifact.meta.get("columns")
    return walk.carried(list(columns), walk.inputs_of(artifact)) if isinstance(columns, Mapping | list) else {}


def _view(walk: _Walk, artifact: Artifact) -> _Found:
    """A feature view names datasets, which change; its tags are those of their columns now."""
    found: _Found = {}
    for source in walk.json_of(artifact).get("sources", []):
        said = walk.governance(str(source.get("dataset")))
        by = list(source.get("by") or ())
        names = [(column, f"{source.get('prefix') or ''}{column}") for column in source.get("columns") or ()]
        for column, name in [*names, *zip(source.get("on") or by, by, strict=False)]:
            given = {tag: {f"{said.dataset}.{column}"} for tag in said.tags.get(column, ())}
            found[name] = _union([found.get(name, {}), given])
    return {column: each for column, each in found.items() if each}


def _recipe(walk: _Walk, artifact: Artifact) -> _Found:
    found = walk.carried(walk.needs(artifact), walk.inputs_of(artifact))
    body = walk.json_of(artifact)
    for feature, raw in (origins(recipes.from_json(body)) if body else {}).items():
        given = _union([found.get(column, {}) for column in raw])
        if given:
            found[feature] = _union([found.get(feature, {}), given])
    return found


def _rows(walk: _Walk, artifact: Artifact) -> _Found:
    return walk.carried([str(artifact.meta["key"])] if "key" in artifact.meta else [], walk.inputs_of(artifact))


def _profile(walk: _Walk, artifact: Artifact) -> _Found:
    columns = walk.json_of(artifact).get("bins", {}).get("columns", {})
    return walk.carried(list(columns), walk.inputs_of(artifact))


def _model(walk: _Walk, artifact: Artifact) -> _Found:
    recipe = walk.one(artifact.meta.get("recipe"))
    if recipe is None:
        return {}
    target = [str(artifact.meta[TARGET])] if TARGET in artifact.meta else []
    by_target = walk.carried(target, walk.inputs_of(recipe))
    return _merged([walk.known.get(recipe.id, {}), by_target])


def _deployment(walk: _Walk, artifact: Artifact) -> _Found:
    model = walk.one(artifact.meta.get("model"))
    return {} if model is None else walk.known.get(model.id, {})


def _predictions(walk: _Walk, artifact: Artifact) -> _Found:
    """Each artifact of the log stands for the rows that one compaction added: those that its models answered."""
    parts: list[_Found] = []
    for model in (each for each in walk.inputs_of(artifact) if each.kind == "model"):
        recipe, rows = walk.one(model.meta.get("recipe")), walk.one(model.meta.get("rows"))
        if recipe is not None:
            known = walk.known.get(recipe.id, {})
            parts.append({f"features.{column}": known[column] for column in walk.needs(recipe) if column in known})
        if rows is not None:
            parts.append({"row_key": _union(walk.known.get(rows.id, {}).values())})
    return _merged(parts)


_BY_KIND: Mapping[str, Callable[[_Walk, Artifact], _Found]] = {
    "dataset": _dataset,
    "feature-view": _view,
    "recipe": _recipe,
    "rows": _rows,
    "profile": _profile,
    "model": _model,
    "deployment": _deployment,
    "predictions": _predictions,
}


def origins(fitted: Recipe) -> dict[str, set[str]]:
    """The raw columns behind each column that a fitted recipe makes, on the way or as a feature."""
    found: dict[str, set[str]] = {}
    for step in fitted.steps:
        for column, state in zip(step.columns, step.states or (), strict=True):
            behind = found.get(column, {column})
            for name in operation(step.operation).makes(column, step.options, state):
                found[name] = found.get(name, set()) | behind
    return found


def _columns(artifact: Artifact, known: _Found) -> set[str]:
    columns = artifact.meta.get("columns")
    return {*known, *(columns if isinstance(columns, Mapping | list) else ())}


def _union(parts: Iterable[Mapping[str, set[str]]]) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for part in parts:
        for tag, at in part.items():
            out[tag] = out.get(tag, set()) | at
    return out


def _merged(parts: Iterable[_Found]) -> _Found:
    out: _Found = {}
    for part in parts:
        for column, each in part.items():
            out[column] = _union([out.get(column, {}), each])
    return out
