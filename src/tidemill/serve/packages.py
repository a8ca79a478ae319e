"""Packages: all that serving a model takes, in one signed manifest and the blobs that it names.

The manifest's first line is JSON ("format" first): digests of recipe, model, schema, golden rows and card; the second
line is an Ed25519 signature over exactly the bytes of the first. At load the signature, the blobs' digests and the
golden rows are checked: raw rows whose features must come out with the same bits, and scores within 1e-6, as when the
estimator was there. Any difference refuses to serve. Loading imports no DataFrame library and not the one that fitted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tidemill.core import extend
from tidemill.core.errors import BadInput, Corrupt, EmptyInput, NotFound, Refused, WrongFormat
from tidemill.core.recording import environment
from tidemill.core.workspace import Workspace
from tidemill.serve import golden, signing
from tidemill.serve.formats import FloatArray, ModelFormat, Scorer
from tidemill.serve.schema import Row, faults

if TYPE_CHECKING:
    import polars as pl

    from tidemill.core.recipe import Recipe

FORMAT = 1
CHECKED_ROWS = 2_000
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Package:
    """A loaded, verified package. columns: the raw input columns, name to "number", "text", "bool" or "time"."""

    digest: str
    manifest: Mapping[str, Any]
    columns: Mapping[str, str]
    names: tuple[str, ...]
    _row: Callable[[Row], list[float]] = field(repr=False)
    _scorer: Scorer = field(repr=False)

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the builder noted."""
        found: Mapping[str, Any] = self.manifest["meta"]
        return found

    def features(self, rows: Sequence[Row]) -> FloatArray:
        """The feature matrix of raw rows, shape (n, d); the rows are not checked."""
        row = self._row
        return np.array([row(values) for values in rows], dtype=np.float64).reshape(len(rows), len(self.names))

    def score_checked(self, rows: Sequence[Row]) -> list[float]:
        """Scores of rows that are known to fit the schema."""
        scores: list[float] = self._scorer(self.features(rows)).tolist()
        return scores

    def score(self, rows: Sequence[Row]) -> list[float]:
        """P(positive) of each raw row; raises BadInput naming the first row and column that do not fit."""
        found = faults(rows, self.columns)
        if found:
            raise BadInput(found[0].text() + (f" ({len(found)} faults in all)" if len(found) > 1 else ""))
        return self.score_checked(rows)


def build(
    ws: Workspace,
    *,
    recipe: Recipe,
    estimator: Any,  # Any: an estimator of whichever library the model format takes
    frame: pl.DataFrame,
    card: str,
    meta: Mapping[str, Any],
    model_format: str = "onnx",
) -> str:
    """Export, check, sign and store a package; returns the digest of its manifest. The same model gives the same one.

    recipe: fitted. frame: raw rows with the recipe's input columns; at most 256 become golden rows, and the exported
    model is compared with the estimator on at most 2,000. Raises BadInput for what cannot be exported, EmptyInput for
    a frame without rows, Refused where the exported model or the row form of the recipe differs from the original.
    """
    from tidemill.core import recipe as recipes

    if not len(frame):
        raise EmptyInput("a package needs rows to check itself with, the frame has none; give training or test rows")
    names = recipes.feature_names(recipe)
    columns = dict(recipes.needs(recipe))
    form: ModelFormat = extend.load("model_format", model_format)()
    model = form.export(estimator, len(names))
    sample = frame.select(list(columns))
    some = golden.spread(sample, CHECKED_ROWS)
    wanted = _estimated(estimator, recipes.batch(recipe, some))
    found = form.load(model)(recipes.batch(recipe, some))
    worst = float(np.max(np.abs(found - wanted)))
    if not worst <= TOLERANCE:
        raise Refused(
            f"the {model_format} form of {type(estimator).__name__} differs by {worst:.3g} from the original on "
            f"{len(some)} rows, allowed is {TOLERANCE:g}; report it, and use another estimator meanwhile"
        )
    chosen = golden.choose(sample)
    matrix = recipes.batch(recipe, chosen)
    blobs = {
        "recipe": as_json(recipes.to_json(recipe)),
        "model": model,
        "schema": as_json({"format": FORMAT, "columns": columns, "features": list(names)}),
        "golden": as_json(golden.to_json(chosen, matrix, _estimated(estimator, matrix))),
        "card": card.encode(),
    }
    name = seal(
        ws,
        {
            "format": FORMAT,
            "model_format": model_format,
            "estimator": type(estimator).__name__,
            "blobs": {part: ws.store.put(data) for part, data in blobs.items()},
            "environment": environment(ws),
            "meta": dict(meta),
        },
    )
    load(ws, name)  # what would not load must not be registered
    return name


def seal(ws: Workspace, manifest: Mapping[str, Any]) -> str:
    """Sign a manifest whose blobs are stored, store it, and return its digest."""
    data = as_json(manifest)
    public_key, signature = signing.sign(ws, data)
    return ws.store.put(data + b"\n" + as_json({"algorithm": "ed25519", "key": public_key, "signature": signature}))


def load(ws: Workspace, digest: str) -> Package:
    """The package of that manifest digest, verified.

    Raises NotFound for an unknown digest, Refused where signature or golden rows say no, Corrupt for damaged bytes,
    WrongFormat for a package of a newer format.
    """
    from tidemill.core import recipe as recipes

    manifest = read_manifest(ws, digest)
    blobs = manifest["blobs"]
    schema = json.loads(ws.store.get(blobs["schema"]))
    recipe = recipes.from_json(json.loads(ws.store.get(blobs["recipe"])))
    form: ModelFormat = extend.load("model_format", manifest["model_format"])()
    package = Package(
        digest,
        manifest,
        schema["columns"],
        tuple(schema["features"]),
        recipes.row(recipe),
        form.load(ws.store.get(blobs["model"])),
    )
    rows, features, scores = golden.of_json(json.loads(ws.store.get(blobs["golden"])))
    _replay(package, rows, features, scores)
    return package


def read_manifest(ws: Workspace, digest: str) -> Mapping[str, Any]:
    """The manifest of a package with its signature verified; the blobs it names are not read."""
    what = f"package {digest[:12]}"
    try:
        data = ws.store.get(digest)
    except NotFound as error:
        raise NotFound(f"no {what} in the store; see `tidemill model list`") from error
    manifest, _, seal_line = data.partition(b"\n")
    try:
        head: dict[str, Any] = json.loads(manifest)
        seal = json.loads(seal_line)
        version = int(head["format"])
        public_key, signature = str(seal["key"]), str(seal["signature"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            f"{what} is no package: its manifest cannot be read; build and register the model again"
        ) from error
    if version > FORMAT:
        raise WrongFormat(f"{what} has format {version}, this tidemill reads up to {FORMAT}: pip install -U tidemill")
    signing.verify(ws, manifest, public_key=public_key, signature=signature, what=what)
    return head


def blobs(ws: Workspace, digest: str) -> set[str]:
    """The digests of all blobs that a package is made of, its manifest included: what a sweep must keep."""
    manifest = read_manifest(ws, digest)
    return {digest, manifest["environment"], *manifest["blobs"].values()}


def card(ws: Workspace, digest: str) -> str:
    """The model card of a package, Markdown."""
    return ws.store.get(read_manifest(ws, digest)["blobs"]["card"]).decode()


def _replay(package: Package, rows: Sequence[Row], features: FloatArray, scores: FloatArray) -> None:
    what = f"package {package.digest[:12]}"
    wrong = faults(rows, package.columns)
    if wrong:
        raise Refused(f"{what} refuses to serve: its golden rows do not fit its schema: {wrong[0].text()}")
    found = package.features(rows)
    if found.shape != features.shape:
        raise Refused(
            f"{what} refuses to serve: its recipe gives {found.shape[1]} features, {features.shape[1]} are recorded; "
            "rebuild the model with this version of tidemill"
        )
    alike = (found.view(np.uint64) == features.view(np.uint64)) | (np.isnan(found) & np.isnan(features))
    if not alike.all():
        row, column = (int(place) for place in np.argwhere(~alike)[0])
        raise Refused(
            f"{what} refuses to serve: golden row {row} gives {package.names[column]} = {float(found[row, column])!r}, "
            f"recorded is {float(features[row, column])!r}; rebuild the model with this version of tidemill"
        )
    again = package._scorer(found)
    off = np.abs(again - scores)
    if not np.all(off <= TOLERANCE):
        row = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        raise Refused(
            f"{what} refuses to serve: golden row {row} scores {float(again[row])!r}, recorded is "
            f"{float(scores[row])!r}, allowed {TOLERANCE:g} beside it; rebuild the model with this version of tidemill"
        )


def _estimated(estimator: Any, matrix: FloatArray) -> FloatArray:
    scores = estimator.predict_proba(matrix)[:, 1] if hasattr(estimator, "classes_") else estimator.predict(matrix)
    return np.asarray(scores, dtype=np.float64).reshape(-1)


def as_json(value: Any) -> bytes:  # Any: a JSON value
    """A part of a package as bytes: the order of its keys stays, the format first."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
