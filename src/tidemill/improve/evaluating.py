"""A registered model as what an evaluation takes: its package answers, verified, and nothing is unpickled."""

from __future__ import annotations

import json

from tidemill.core import extend
from tidemill.core import recipe as recipes
from tidemill.core.errors import BadInput
from tidemill.core.types import ModelVersion
from tidemill.core.workspace import Workspace
from tidemill.serve import packages
from tidemill.serve.formats import ModelFormat
from tidemill.train.scoring.evaluating import Subject


def of_model(ws: Workspace, model: ModelVersion) -> Subject:
    """A registered version: its recipe on whole columns, its exported form on their matrix.

    Raises what `packages.load` raises (signature, golden rows), BadInput for a model that was registered without a fit.
    """
    meta = model.artifact.meta
    if "run" not in meta or "target" not in meta:
        raise BadInput(f"{model.artifact.label} names no fit it came from; register it with mill.register(fitted, ...)")
    package = packages.load(ws, model.package)
    blobs = package.manifest["blobs"]
    form: ModelFormat = extend.load("model_format", package.manifest["model_format"])()
    return Subject(
        name=model.name,
        fit_run=str(meta["run"]),
        identity=package.digest,
        recipe=recipes.from_json(json.loads(ws.store.get(blobs["recipe"]))),
        target=str(meta["target"]),
        answer=form.load(ws.store.get(blobs["model"])),
        used=(("model", model),),
        model=model.artifact.label,
    )
