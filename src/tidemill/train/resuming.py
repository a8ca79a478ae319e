"""Checkpoints of a training: durable when saved, found again by the next run of the same key."""

from __future__ import annotations

from typing import Any, NamedTuple

from tidemill.core.recording import Recorder
from tidemill.core.types import Artifact, Query
from tidemill.train import states

KIND = "train.checkpoint"


class Checkpoint(NamedTuple):
    """A state after so many steps, and its record."""

    step: int
    state: Any  # what was saved: see tidemill.train.states
    artifact: Artifact


class Checkpoints:
    """The checkpoints of one run; `key`: its cache key, by which a later run of the same work finds them.

    A checkpoint is an artifact of kind "train.checkpoint" (meta: step, key). A run that goes on from one has it as an
    input in slot "resumed", and takes over the metrics logged up to it.
    """

    def __init__(self, run: Recorder, key: str) -> None:
        self._run = run
        self.key = key
        self.name = f"{run.run.name}/{key[:16]}"

    def save(self, step: int, state: Any) -> Artifact:
        """Keep the state after `step` steps; when this returns it survives kill -9."""
        return self._run.emit_bytes(
            KIND, self.name, states.encode(state), meta={"step": step, "key": self.key}, slot=f"step {step}"
        )

    def newest(self) -> Checkpoint | None:
        """The last one that any run of this key saved, or None; linked as what this run goes on from."""
        graph, run = self._run.ws.graph, self._run
        for found in graph.find(Query("artifact", kind=KIND, name=self.name, limit=1)):
            assert isinstance(found, Artifact)
            state = states.decode(run.ws.store.get(found.digest))
            step = int(found.meta["step"])
            if found.run_id not in (None, run.run.id):
                assert found.run_id is not None
                run.use(found, slot="resumed")
                before = [point for point in graph.series(found.run_id) if point.step <= step]
                graph.log(run.run.id, before)
            return Checkpoint(step, state, found)
        return None
