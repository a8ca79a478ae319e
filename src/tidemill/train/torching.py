"""PyTorch trainings as recorded runs that go on where they were killed: extra "torch".

The user writes two plain functions: `build` makes the module, `train` is the loop. The loop asks `job` where to begin,
saves after as many steps as it likes, and logs. Between two saves nothing is changed about how PyTorch works.

    def build(width: int = 32) -> nn.Module: ...

    def train(module, data, job, rate: float = 1e-3):
        adam = torch.optim.Adam(module.parameters(), rate)
        for epoch in range(job.resume(module=module, optimizer=adam), 10):
            ...
            job.log("loss", loss, epoch)
            job.save(epoch + 1, module=module, optimizer=adam)
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill.core.errors import BadInput, Busy, nearest
from tidemill.core.locks import lease
from tidemill.core.recording import Recorder, done_before, environment, key_of, outputs_of, recorded
from tidemill.core.types import Artifact, Run, View
from tidemill.core.workspace import Workspace
from tidemill.train import states
from tidemill.train.fit import CodeOf, seeded, source_of
from tidemill.train.resuming import Checkpoints

RANDOM = "tidemill.random"


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained module and its records.

    module: on `device`. run: of kind "train.torch". weights: its state_dict as an artifact ("train.weights"; bytes as
    of tidemill.train.states). resumed_at: the step it went on from, 0 for a run from the start. cached: nothing was
    trained, an earlier run of the same code, inputs, parameters and seed had the weights.
    """

    module: Any  # torch.nn.Module
    run: Run
    weights: Artifact
    device: str
    resumed_at: int
    cached: bool


class Job:
    """What a training loop is handed beside its module and data. device: "cpu", "cuda" or "mps"; seed: of the run."""

    def __init__(self, run: Recorder, checkpoints: Checkpoints, device: str, seed: int) -> None:
        self._run = run
        self._checkpoints = checkpoints
        self.device = device
        self.seed = seed
        self.resumed_at = 0

    def resume(self, **parts: Any) -> int:
        """Load the newest checkpoint into these (module=..., optimizer=..., schedule=...); the step to begin with.

        Each part has a load_state_dict. The random generators of Python, NumPy and PyTorch go on as they were, so on
        a CPU the result is that of a run that was never killed, to the bit. 0 where there is no checkpoint. Raises
        BadInput where the checkpoint holds other parts.
        """
        found = self._checkpoints.newest()
        if found is None:
            return 0
        saved = set(found.state) - {RANDOM}
        if saved != set(parts):
            raise BadInput(
                f"the checkpoint at step {found.step} holds {', '.join(sorted(saved))}; resume() was given "
                f"{', '.join(sorted(parts)) or 'nothing'}: give it what save() was given"
            )
        for name, part in parts.items():
            part.load_state_dict(found.state[name])
        _put_random(found.state[RANDOM])
        self.resumed_at = found.step
        return found.step

    def save(self, step: int, **parts: Any) -> Artifact:
        """Keep these parts' state_dict()s after `step` steps, durably, with the random generators."""
        state = {name: part.state_dict() for name, part in parts.items()}
        return self._checkpoints.save(step, {**state, RANDOM: _random()})

    def log(self, name: str, value: float, step: int | None = None) -> None:
        """Log a metric of the run; without a step it is the run's result of that name."""
        self._run.log(name, float(value), step)


def fit_torch(
    ws: Workspace,
    build: Callable[..., Any],
    train: Callable[..., object],
    data: Any,
    *,
    inputs: Iterable[tuple[str, Artifact | View]] = (),
    params: Mapping[str, Any] | None = None,
    name: str | None = None,
    seed: int = 0,
    device: str = "auto",
    code: CodeOf = source_of,
) -> Trained:
    """Build a module and train it, recorded as a run "train.torch"; go on from its newest checkpoint, if there is one.

    build(**params) -> module; train(module, data, job, **params): each is given the parameters that it names. data: any
    value, handed on as it is; `inputs` are the (slot, record) pairs it came from, and stand for it in the cache key.
    device: "auto" is a GPU where there is one. Finished before under the same code, inputs, parameters, seed, device
    and environment: the weights are loaded, and nothing is trained.
    Raises BadInput for a parameter that neither function has, Busy where another process trains the same, MissingExtra.
    """
    torch = states.pytorch("a PyTorch training needs torch")
    given = dict(params or {})
    named = list(inputs)
    for_build, for_train = _shared_out(build, train, given)
    place = device_of(torch, device)
    codes = [code(build), code(train)]
    called = name or train.__name__
    key = key_of(
        "train.torch",
        [digest for digest, _ in codes],
        [item.digest for _, item in named],
        given,
        seed,
        place.partition(":")[0],
        environment(ws),
    )
    held = lease(ws, key)
    if held is None:
        raise Busy(f"training {called!r} with these inputs and parameters is going on in another process; wait for it")
    with held, seeded(seed), _seeded(torch, seed):
        before = done_before(ws, key)
        if before is not None:
            weights = dict(outputs_of(ws, before))["weights"]
            module = build(**for_build)
            module.load_state_dict(states.decode(ws.store.get(weights.digest)))
            return Trained(module.to(place), before, weights, place, 0, cached=True)
        text = "\n\n".join(text for _, text in codes)
        shown = {**given, "seed": seed, "device": place}
        with recorded(
            ws, "train.torch", called, inputs=named, params=shown, key=key, code=ws.store.put(text.encode())
        ) as run:
            job = Job(run, Checkpoints(run, key), place, seed)
            module = build(**for_build).to(place)
            train(module, data, job, **for_train)
            made = module.state_dict()
            weights = run.emit_bytes("train.weights", called, states.encode(made), meta={"key": key}, slot="weights")
            run.result({"parameters": sum(each.numel() for each in module.parameters())})
    return Trained(module, run.run, weights, place, job.resumed_at, cached=False)


def device_of(torch: Any, wanted: str) -> str:
    """The device to train on. "auto": the first GPU, else the CPU. Raises BadInput for one that is not there."""
    have = ["cpu"]
    if torch.cuda.is_available():
        have.append("cuda")
    if torch.backends.mps.is_available():
        have.append("mps")
    if wanted == "auto":
        return have[-1]
    if wanted.partition(":")[0] not in have:
        raise BadInput(f"device {wanted!r} is not there; this machine has {', '.join(have)}. Or say device='auto'")
    return wanted


def _shared_out(
    build: Callable[..., Any], train: Callable[..., object], given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of each function."""
    takes = [list(inspect.signature(build).parameters), list(inspect.signature(train).parameters)[3:]]
    known = list(dict.fromkeys(takes[0] + takes[1]))
    for name in given:
        if name not in known:
            raise BadInput(
                f"neither {build.__name__}() nor {train.__name__}() has a parameter {name!r}; "
                f"they have {', '.join(known) or 'none'}.{nearest(name, known)}"
            )
    return (
        {name: value for name, value in given.items() if name in takes[0]},
        {name: value for name, value in given.items() if name in takes[1]},
    )


@contextmanager
def _seeded(torch: Any, seed: int) -> Iterator[None]:
    """PyTorch's generators, seeded for the body and put back after it."""
    cpu = torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)


def _random() -> dict[str, Any]:
    """The state of all global random generators."""
    torch = states.pytorch("a checkpoint needs torch")
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _put_random(state: Mapping[str, Any]) -> None:
    torch = states.pytorch("a checkpoint needs torch")
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
