"""A study as a log of operations in the graph: what each adds to its trials, and how they look after all of them.

Two kinds. Operations of order (create, start, end, attributes of the study) count in the order of the graph's log, so
that of two processes one is first: they are applied when they are read back. Operations of a trial's owner (parameters,
attributes, reported values) nobody else writes: the owner applies them at once.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.study._study_direction import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Op = list[Any]  # [kind, trial number, ...]: JSON values
RETRIES = 3  # times that a trial is queued again after its process died
OWNERS = frozenset({"param", "report", "user", "system"})


@dataclass(slots=True)
class StudyState:
    """A study after the operations read so far. owners: by trial number, the process that started it.

    first: id of trial 0. starts, enders: by trial number, the marks of what started and what ended it.
    """

    id: int
    name: str
    directions: list[StudyDirection]
    first: int
    seen: int = 0  # the newest event that is counted in
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)
    trials: list[FrozenTrial] = field(default_factory=list)
    owners: dict[int, str] = field(default_factory=dict)
    starts: dict[int, str] = field(default_factory=dict)
    enders: dict[int, str] = field(default_factory=dict)
    created: dict[str, int] = field(default_factory=dict)  # by the mark of its creation, a trial's number
    waiting: set[int] = field(default_factory=set)
    spread: dict[str, BaseDistribution] = field(default_factory=dict)


def apply(state: StudyState, op: Op, by: str) -> None:
    """Apply one operation of process `by`. A trial that ended stays as it is, as does a record that was given out."""
    kind = op[0]
    if kind == "create":
        _create(state, _trial(op[2]), by, op[1])
    elif kind == "requeue":
        _requeue(state, op)
    elif kind == "study user":
        state.user = {**state.user, op[1]: json.loads(op[2])}
    elif kind == "study system":
        state.system = {**state.system, op[1]: json.loads(op[2])}
    elif op[1] < len(state.trials) and not state.trials[op[1]].state.is_finished():
        _change(state, op, by)


def _create(state: StudyState, trial: FrozenTrial, by: str, mark: str) -> None:
    number = trial.number = len(state.trials)
    trial._trial_id = state.first + number
    state.trials.append(trial)
    state.created[mark] = number
    state.owners[number] = by
    state.spread = {**trial.distributions, **state.spread}
    if trial.state is TrialState.WAITING:
        state.waiting.add(number)


def _requeue(state: StudyState, op: Op) -> None:
    """Fail a trial whose owner is gone; a new one with its parameters waits for another, up to RETRIES times."""
    _, number, owner, at, mark = op
    stale = state.trials[number]
    if stale.state is not TrialState.RUNNING or state.owners[number] != owner:
        return  # another process was first
    _change(state, ["end", number, "FAIL", None, at, mark], owner)
    times = int(stale.system_attrs.get("requeued", 0))
    if times < RETRIES:
        again = copy.deepcopy(stale)
        again.state, again.datetime_start, again.intermediate_values = TrialState.WAITING, None, {}
        again.system_attrs |= {"requeued": times + 1, "requeued_from": number}
        _create(state, again, owner, mark)


def _change(state: StudyState, op: Op, by: str) -> None:
    kind, number = op[0], int(op[1])
    trial = copy.copy(state.trials[number])
    match kind:
        case "start":
            if trial.state is not TrialState.WAITING:
                return
            trial.state, trial.datetime_start = TrialState.RUNNING, _time(op[2])
            state.owners[number], state.starts[number] = by, op[3]
            state.waiting.discard(number)
        case "end":
            trial.state, trial.datetime_complete = TrialState[op[2]], _time(op[4])
            if op[3] is not None:
                trial.values = [float(value) for value in op[3]]
            state.enders[number] = op[5]
            state.waiting.discard(number)
        case "values":
            trial.values = [float(value) for value in op[2]]
        case "param":
            spread = json_to_distribution(op[4])
            state.spread.setdefault(op[2], spread)
            trial.params = {**trial.params, op[2]: spread.to_external_repr(float(op[3]))}
            trial.distributions = {**trial.distributions, op[2]: spread}
        case "report":
            trial.intermediate_values = {**trial.intermediate_values, op[2]: float(op[3])}
        case "user":
            trial.user_attrs = {**trial.user_attrs, op[2]: json.loads(op[3])}
        case "system":
            trial.system_attrs = {**trial.system_attrs, op[2]: json.loads(op[3])}
    state.trials[number] = trial


def created(trial: FrozenTrial) -> Mapping[str, Any]:
    """A new trial as JSON values."""
    return {
        "state": trial.state.name,
        "values": None if trial.values is None else [number(value) for value in trial.values],
        "start": _text(trial.datetime_start),
        "end": _text(trial.datetime_complete),
        "params": {
            name: [number(spread.to_internal_repr(trial.params[name])), distribution_to_json(spread)]
            for name, spread in trial.distributions.items()
        },
        "user": {name: json.dumps(value) for name, value in trial.user_attrs.items()},
        "system": {name: json.dumps(value) for name, value in trial.system_attrs.items()},
        "reports": [[step, number(value)] for step, value in trial.intermediate_values.items()],
    }


def number(value: float) -> float | str:
    """A float64 as JSON: NaN and the infinities, which JSON lacks, as text that float() reads.

    >>> number(float("-inf")), number(1.5)
    ('-inf', 1.5)
    """
    return float(value) if math.isfinite(value) else repr(float(value))


def _trial(made: Mapping[str, Any]) -> FrozenTrial:
    spreads = {name: json_to_distribution(spread) for name, (_, spread) in made["params"].items()}
    return FrozenTrial(
        number=0,
        trial_id=0,
        state=TrialState[made["state"]],
        value=None,
        values=None if made["values"] is None else [float(value) for value in made["values"]],
        datetime_start=_time(made["start"]),
        datetime_complete=_time(made["end"]),
        params={name: spreads[name].to_external_repr(float(inner)) for name, (inner, _) in made["params"].items()},
        distributions=spreads,
        user_attrs={name: json.loads(value) for name, value in made["user"].items()},
        system_attrs={name: json.loads(value) for name, value in made["system"].items()},
        intermediate_values={step: float(value) for step, value in made["reports"]},
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
