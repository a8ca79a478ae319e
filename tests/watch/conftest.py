"""A workspace whose prediction log is written as a server writes it, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from logged import prediction_id

from tidemill.core.ids import iso, new_id, utc_now
from tidemill.core.segments import SegmentWriter
from tidemill.core.types import Artifact, Prediction
from tidemill.core.workspace import Workspace, open_workspace


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = open_workspace(tmp_path / "w.mill")
    yield opened
    opened.close()


@pytest.fixture
def model(ws: Workspace) -> Artifact:
    """A model and revisions 1 and 2 of deployment "d", as serve records them."""
    made = ws.graph.put(Artifact(new_id(), "model", "m", 0, "0" * 64, utc_now()))
    for number in (1, 2):
        meta = {"model": made.id, "package": f"{number}" * 64}
        ws.graph.put(Artifact(new_id(), "deployment", "d", 0, f"{number}" * 64, utc_now(), None, meta))
    return made


Answer = Callable[..., list[str]]


@pytest.fixture
def answer(ws: Workspace, model: Artifact) -> Answer:
    """Logs answers: answer(keys, at, score=, role=, revision=, ...) -> prediction ids."""

    def answer(
        keys: Sequence[str],
        at: datetime | Sequence[datetime],
        *,
        score: float | Sequence[float] = 0.5,
        role: str = "live",
        revision: int = 1,
        latency_s: float = 0.002,
        error: str | None = None,
        features: Sequence[dict[str, Any]] | None = None,
        logged_at: datetime | None = None,
    ) -> list[str]:
        times = [at] * len(keys) if isinstance(at, datetime) else at
        scores = np.broadcast_to(np.asarray(score, float), len(keys)).tolist()
        records = [
            Prediction(
                prediction_id(key),
                "d",
                revision,
                model.id,
                key,
                iso(times[n]),
                iso(logged_at or times[n]),
                role,  # type: ignore[arg-type]
                scores[n],
                {"x": 1.0} if features is None else features[n],
                latency_s,
                error,
            )
            for n, key in enumerate(keys)
        ]
        writer = SegmentWriter(ws.root / "predictions" / "d", fsync="never")
        writer.append([msgspec.json.encode(record) for record in records])
        writer.close()
        return [record.id for record in records]

    return answer
