"""From a fit to a registered model: scored on the test rows, described, packaged, signed; all of it recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.core import profile
from tidemill.core.errors import NotEnoughRows
from tidemill.core.ids import iso
from tidemill.core.recording import done_before, key_of, outputs_of, recorded
from tidemill.core.rowhash import as_text, rows_digest
from tidemill.core.scores import SCORES, all_scores, calibration
from tidemill.core.types import Artifact, DatasetVersion, ModelVersion, Query
from tidemill.core.workspace import Workspace
from tidemill.serve import packages, registry
from tidemill.train.fit import Fitted, predict
from tidemill.train.looks import digest_of, look
from tidemill.train.scoring.cards import card
from tidemill.train.scoring.evaluating import newest
from tidemill.train.scoring.slices import by_slice

if TYPE_CHECKING:
    import polars as pl


def evaluate(
    ws: Workspace,
    fitted: Fitted,
    name: str,
    *,
    test: pl.DataFrame,
    inputs: Sequence[DatasetVersion],
    slices: Sequence[str] = (),
) -> tuple[Artifact, Mapping[str, Any]]:
    """Score a fit on test rows as a run "train.evaluate"; its report holds scores, slices, calibration, the constant
    prior beside them, and the score's frozen bins with their counts. Returns the artifact and its content."""
    import numpy as np
    import polars as pl

    if test.height == 0:
        raise NotEnoughRows(f"no test rows for model {name!r}; widen the time range, or wait for more labels")
    y, p = test[fitted.target].cast(pl.Float64).to_numpy(), predict(fitted, test)
    key = key_of("train.evaluate", 1, fitted.run, as_text(rows_digest(test)), list(slices))
    before = done_before(ws, key)
    if before is not None:
        (kept,) = [artifact for slot, artifact in outputs_of(ws, before) if slot == "report"]
        found: dict[str, Any] = json.loads(ws.store.get(kept.digest))
        # JSON sorts names; the card lists scores in their own order, and the same card is the same package.
        for part in ("metrics", "baseline"):
            known = [name for name in SCORES if name in found[part]]
            found[part] = {name: found[part][name] for name in dict.fromkeys([*known, *found[part]])}
        return kept, found
    scores = pl.DataFrame({"score": p})
    bins = profile.bins_of(scores)
    looks = len(ws.graph.find(Query("run", kind="train.evaluate", name=name, limit=100_000))) + 1
    report: dict[str, Any] = {
        "format": 1,
        "rows": test.height,
        "looks": looks,
        "metrics": all_scores(y, p),
        "baseline": all_scores(y, np.full(len(y), float(y.mean()))),
        "slices": by_slice(test, y, p, slices),
        "calibration": calibration(y, p),
        "score_profile": {
            "bins": profile.bins_to_json(bins),
            "counts": profile.counts_to_json(profile.count(bins, scores)),
        },
    }
    used: list[tuple[str, Artifact | DatasetVersion]] = [("recipe", fitted.recipe_artifact)]
    used += [(version.name, version) for version in inputs]
    params = {"fit": fitted.fit_name, **fitted.params}
    with recorded(ws, "train.evaluate", name, inputs=used, params=params, key=key) as run:
        digest = digest_of(test, key=fitted.key, target=fitted.target)
        look(ws, digest, rows=test.height, what="registration", models=[fitted.run], run=run.run.id, score="log_loss")
        made = run.emit_json("report", f"evaluation/{name}", report, meta={"what": "evaluation"}, slot="report")
        run.result({**report["metrics"], "rows": test.height, "looks": looks})
    return made, report


def register_fitted(
    ws: Workspace,
    fitted: Fitted,
    name: str,
    *,
    test: pl.DataFrame,
    inputs: Sequence[DatasetVersion],
    slices: Sequence[str] = (),
) -> ModelVersion:
    """Evaluate, write the card, package, sign and register: the model's next version.

    The card tells the newest evaluation of the fit (`mill.evaluate`), if there is one.
    test: labelled rows that the fit has not seen. The package's golden rows are taken from them. The same fit and rows
    again give the same version.
    """
    report, found = evaluate(ws, fitted, name, test=test, inputs=inputs, slices=slices)
    evaluation = newest(ws, fitted.run, unregistered=True)
    looks = "once" if found["looks"] == 1 else f"{found['looks']} times"
    text = card(
        fitted,
        name=name,
        metrics=found["metrics"],
        test_rows=test.height,
        test_data=[version.artifact.label for version in inputs],
        slices=found["slices"],
        calibration=found["calibration"],
        baseline=found["baseline"],
        limits=[f"The test rows were looked at {looks} for models of this name."],
        evaluation=None if evaluation is None else evaluation.report,
    )
    package = packages.build(
        ws, recipe=fitted.recipe, estimator=fitted.estimator, frame=test, card=text, meta={"model": name}
    )
    meta = {
        "recipe": fitted.recipe_artifact.id,
        "profile": fitted.profile.id,
        "rows": fitted.rows.id,
        "report": report.id,
        "score_profile": found["score_profile"],
        "fit": fitted.fit_name,
        "params": dict(fitted.params),
        "metrics": found["metrics"],
        "target": fitted.target,
        "data_time": fitted.data_time,
        "test_from": fitted.data_time if fitted.time is None else iso(_earliest(test, fitted.time)),
        "train_rows": int(fitted.rows.meta["rows"]),
        "run": fitted.run,
    }
    made_of = [
        ("recipe", fitted.recipe_artifact),
        ("profile", fitted.profile),
        ("rows", fitted.rows),
        ("evaluation", report),
    ]
    return registry.register(ws, name, package=package, meta=meta, inputs=made_of)


def _earliest(rows: pl.DataFrame, column: str) -> datetime:
    found = rows[column].min()
    assert isinstance(found, datetime)
    return found
