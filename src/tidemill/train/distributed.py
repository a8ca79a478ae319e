"""Data-parallel training: a function over the partitions of a dataset version, on any engine, and a merge.

Sums of statistics (least squares, counts, k-means), gradients and averaged models all have this form: `step(frame,
state)` looks at one partition, `merge(partials, state)` makes the next state of all of them, again for so many rounds.
Partials are merged in the order of the partitions, whichever came first, so every engine gives the same bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tidemill.core.engine import Engine, Resources, Task
from tidemill.core.errors import BadInput, Busy, ServerFailed
from tidemill.core.locks import lease
from tidemill.core.recording import done_before, environment, key_of, outputs_of, recorded
from tidemill.core.types import Artifact, Run, View
from tidemill.core.workspace import Workspace
from tidemill.train import states
from tidemill.train.fit import CodeOf, source_of
from tidemill.train.resuming import Checkpoints

if TYPE_CHECKING:
    import polars as pl

Step = Callable[..., Any]
Merge = Callable[..., Any]
Stop = Callable[[Any, Any], bool]


class Partitions(Protocol):
    """Rows in parts, as a value that pickles: a worker reads its part itself. `data.partitions` makes them."""

    @property
    def digest(self) -> str:
        """Of all rows and of how they are parted."""
        ...

    def __len__(self) -> int: ...

    def read(self, number: int) -> pl.DataFrame:
        """The rows of one part."""
        ...


class Merged(NamedTuple):
    """The last state, and how it came to be.

    rounds: how many it took in all; resumed_at: after how many of them this run began (0: from the start). artifact:
    the state's record ("train.state"; bytes as of tidemill.train.states). cached: an earlier run of the same had it.
    """

    state: Any
    run: Run
    artifact: Artifact
    rounds: int
    resumed_at: int
    cached: bool


class _Share(NamedTuple):
    """A worker's share of a round."""

    parts: Partitions
    number: int
    step: Step
    state: Any
    params: Mapping[str, Any]


def over_partitions(
    ws: Workspace,
    parts: Partitions,
    step: Step,
    merge: Merge,
    *,
    engine: Engine,
    inputs: Iterable[tuple[str, Artifact | View]] = (),
    start: Any = None,
    rounds: int = 1,
    stop: Stop | None = None,
    params: Mapping[str, Any] | None = None,
    name: str | None = None,
    needs: Resources | None = None,
    timeout_s: float | None = None,
    retries: int = 2,
    code: CodeOf = source_of,
    progress: Callable[[int, int], None] | None = None,
) -> Merged:
    """Run `step` over all partitions and `merge` their results, round by round; recorded as one run "train.parallel".

    step(frame, state, **params) -> partial: at the top level of a module; what it returns pickles. merge(partials,
    state, **params) -> state: partials in order of the partitions; a state is plain values, NumPy arrays or PyTorch
    tensors, nested. start: the first state. stop(old, new): end before `rounds` are over. needs, timeout_s: of a step.
    retries: how often a step is run again whose worker or node died (ServerFailed); an error of the step itself is
    raised as it is. Each round's state is a checkpoint: after kill -9 the same call goes on from it. Finished before
    under the same code, partitions, start, parameters and environment: nothing is run.
    progress: called with rounds done and rounds at most. Raises Busy where another process does the same.
    """
    if rounds < 1:
        raise BadInput(f"{rounds} rounds train nothing; allowed are 1 and more")
    given = dict(params or {})
    codes = [code(each) for each in (step, merge, *([stop] if stop else []))]
    called = name or step.__name__
    key = key_of(
        "train.parallel",
        [digest for digest, _ in codes],
        parts.digest,
        states.digest_of(start),
        given,
        rounds,
        environment(ws),
    )
    held = lease(ws, key)
    if held is None:
        raise Busy(f"training {called!r} over these partitions is going on in another process; wait for it")
    with held:
        before = done_before(ws, key)
        if before is not None:
            made = dict(outputs_of(ws, before))["state"]
            state = states.decode(ws.store.get(made.digest))
            return Merged(state, before, made, int(before.metrics["rounds"]), 0, cached=True)
        text = "\n\n".join(text for _, text in codes)
        shown = {**given, "partitions": len(parts), "rounds": rounds}
        with recorded(
            ws, "train.parallel", called, inputs=inputs, params=shown, key=key, code=ws.store.put(text.encode())
        ) as run:
            checkpoints = Checkpoints(run, key)
            found = checkpoints.newest()
            done, state, over = (0, start, False) if found is None else (found.step, *found.state)
            began, again = done, 0
            while done < rounds and not over:
                shares = [_Share(parts, number, step, state, given) for number in range(len(parts))]
                partials, lost = _all(engine, shares, called, needs=needs, timeout_s=timeout_s, retries=retries)
                new = merge(partials, state, **given)
                over = stop is not None and bool(stop(state, new))
                state, done, again = new, done + 1, again + lost
                if done < rounds and not over:
                    checkpoints.save(done, (state, over))
                if progress is not None:
                    progress(done, rounds)
            made = run.emit_bytes("train.state", called, states.encode(state), meta={"key": key}, slot="state")
            run.result({"rounds": done, "partitions": len(parts), "lost_workers": again})
    return Merged(state, run.run, made, done, began, cached=False)


def perform_share(share: _Share) -> Any:
    """What a worker does."""
    return share.step(share.parts.read(share.number), share.state, **share.params)


def _all(
    engine: Engine,
    shares: Sequence[_Share],
    name: str,
    *,
    needs: Resources | None,
    timeout_s: float | None,
    retries: int,
) -> tuple[list[Any], int]:
    """The partials in order, and how many workers were lost on the way; at most two shares a core are in flight."""
    at_once = max(2, int(2 * engine.resources().cpu / max(needs.cpu if needs else 1.0, 1e-3)))
    partials: list[Any] = []
    waiting: deque[tuple[_Share, Task[Any]]] = deque()
    todo = iter(shares)
    lost = 0

    def submit(share: _Share) -> Task[Any]:
        return engine.submit(perform_share, share, needs=needs, timeout_s=timeout_s, name=f"{name}[{share.number}]")

    try:
        while True:
            while len(waiting) < at_once and (share := next(todo, None)) is not None:
                waiting.append((share, submit(share)))
            if not waiting:
                return partials, lost
            share, task = waiting[0]
            for left in range(retries, -1, -1):
                try:
                    partials.append(task.result())
                    break
                except ServerFailed:
                    if not left:
                        raise
                    lost += 1
                    task = submit(share)
                    waiting[0] = (share, task)
            waiting.popleft()
    finally:
        for _, task in waiting:
            engine.cancel(task)
