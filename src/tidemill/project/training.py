"""`mill.training`: training on more than one machine, and of PyTorch modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.project.engines import opened
from tidemill.project.policies import TRAINING, Policies

if TYPE_CHECKING:
    from tidemill.core.engine import Engine
    from tidemill.train.distributed import Merged
    from tidemill.train.torching import Trained


@dataclass(frozen=True, slots=True)
class Training:
    """Training that a single fit is not."""

    ws: Workspace

    def over_partitions(
        self,
        version: DatasetVersion,
        step: Callable[..., Any],
        merge: Callable[..., Any],
        *,
        parts: int,
        engine: str | Engine = "pool",
        columns: Sequence[str] | None = None,
        purpose: str = TRAINING,
        **options: Any,
    ) -> Merged:
        """`step` over each part of a version's rows on the engine, `merge` of what they gave, round by round.

        options: those of `train.distributed.over_partitions` (start, rounds, stop, params, needs, retries ...).
        """
        from tidemill.data.partitions import partitions
        from tidemill.flow.caching.keys import code_of
        from tidemill.train.distributed import over_partitions

        Policies(self.ws).require([version], purpose)
        shares = partitions(self.ws, version, parts, columns=columns)
        inputs = [(version.name, version)]
        with opened(engine) as workers:
            return over_partitions(self.ws, shares, step, merge, engine=workers, inputs=inputs, code=code_of, **options)

    def torch(
        self,
        build: Callable[..., Any],
        train: Callable[..., object],
        data: Any,
        *,
        inputs: Sequence[DatasetVersion] = (),
        purpose: str = TRAINING,
        **options: Any,
    ) -> Trained:
        """A PyTorch module, built and trained with checkpoints: a killed training goes on. Needs the extra "torch".

        options: those of `train.torching.fit_torch` (params, name, seed, device).
        """
        from tidemill.flow.caching.keys import code_of
        from tidemill.train.torching import fit_torch

        Policies(self.ws).require(list(inputs), purpose)
        named = [(version.name, version) for version in inputs]
        return fit_torch(self.ws, build, train, data, inputs=named, code=code_of, **options)
