"""Optuna's storage over the graph: a study is a log of events, a trial that ended is a run "train.trial".

    study = optuna.create_study(storage=GraphStorage(ws), study_name="rates", load_if_exists=True)

A trial's end is durable when the call returns; its creation, parameters, attributes and reported values with its end,
or within 0.1 s. Any number of threads and processes may share a study. Before each trial, at most once a second, those
of processes that have died are queued again with the same parameters, up to three times.
"""

from __future__ import annotations

import copy
import json
import threading
import time
import weakref
from collections.abc import Container, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.storages import BaseStorage
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX
from optuna.study._frozen import FrozenStudy
from optuna.study._study_direction import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tidemill.core import locks
from tidemill.core.ids import new_id, utc_now
from tidemill.core.types import Run, Status
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.train.tuning import studyops
from tidemill.train.tuning.studylog import TRIALS, StudyLog, owner_lease
from tidemill.train.tuning.studyops import StudyState

LOOK_S = 1.0  # between looks for trials whose process has died


class GraphStorage(BaseStorage):
    """See the module. requeue: whether the trials of a process that died are queued again. runs: whether a trial that
    ends is recorded as a run; not where whoever does the trials records them.

    Pickled, it opens the workspace anew by its URL and settings. Raises KeyError for unknown studies and trials, and
    Optuna's own errors where its BaseStorage says so.
    """

    def __init__(self, ws: Workspace, *, requeue: bool = True, runs: bool = True) -> None:
        self.log = StudyLog(ws)
        self._requeue, self._runs = requeue, runs
        self._look = threading.Lock()
        self._looked_s = time.monotonic()
        self._free_since: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        self.log.flush()
        options = {"requeue": self._requeue, "runs": self._runs}
        return {"url": self.log.ws.url, "settings": self.log.ws.settings, "options": options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ws = open_workspace(state["url"], settings=state["settings"], create=False)
        self.__init__(ws, **state["options"])  # type: ignore[misc]  # a new one, on connections of its own
        weakref.finalize(self, _let_go, self.log)

    # ------------------------------------------------------------------------------------------------ studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """A new study's id. Raises DuplicatedStudyError where the name is taken."""
        return self.log.create(
            f"{DEFAULT_STUDY_NAME_PREFIX}{new_id()}" if study_name is None else study_name, directions
        )

    def delete_study(self, study_id: int) -> None:
        """Forget the study; its events and runs stay in the graph."""
        self.log.delete(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of the study."""
        self.log.now(self.log.study(study_id), ["study user", key, json.dumps(value)])

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute that Optuna keeps."""
        self.log.now(self.log.study(study_id), ["study system", key, json.dumps(value)])

    def get_study_id_from_name(self, study_name: str) -> int:
        """The id of the study of that name."""
        known = self.log.names()
        if study_name not in known:
            raise KeyError(f"no study {study_name!r}; known are {', '.join(sorted(known)[:20])}")
        return known[study_name]

    def get_study_name_from_id(self, study_id: int) -> str:
        """The study's name."""
        return self.log.study(study_id).name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Whether less or more is better, for each value."""
        return self.log.study(study_id).directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """The study's attributes."""
        return self.log.read(study_id).user

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """What Optuna keeps of the study."""
        return self.log.read(study_id).system

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies, oldest first."""
        read = [self.log.read(study_id) for study_id in sorted(self.log.names().values())]
        return [
            FrozenStudy(
                study_name=study.name,
                direction=None,
                directions=study.directions,
                user_attrs=copy.deepcopy(study.user),
                system_attrs=copy.deepcopy(study.system),
                study_id=study.id,
            )
            for study in read
        ]

    # ------------------------------------------------------------------------------------------------ trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """A new trial's id; it runs, or is as the template says."""
        made, mark = template_trial or _running(), new_id()
        with self.log.lock:
            study = self.log.study(study_id)
            self.log.create_trial(study, ["create", mark, studyops.created(made)])
            return study.first + study.created[mark]

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a parameter. Raises ValueError where the study has another distribution for it."""
        with self.log.lock:
            study, number = self._owned(trial_id)
            if param_name in study.spread:
                check_distribution_compatibility(study.spread[param_name], distribution)
            value = studyops.number(param_value_internal)
            self.log.soon(study, ["param", number, param_name, value, distribution_to_json(distribution)])

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Set what the trial reported at a step."""
        with self.log.lock:
            study, number = self._owned(trial_id)
            self.log.soon(study, ["report", number, int(step), studyops.number(intermediate_value)])

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of the trial."""
        with self.log.lock:
            study, number = self._owned(trial_id)
            self.log.soon(study, ["user", number, key, json.dumps(value)])

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute that Optuna keeps."""
        with self.log.lock:
            study, number = self._owned(trial_id)
            self.log.soon(study, ["system", number, key, json.dumps(value)])

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Start or end a trial; durable when it returns. False where another process was first to start it."""
        mark, now = new_id(), datetime.now().isoformat()
        with self.log.lock:
            study, number = self._owned(trial_id)
            given = None if values is None else [studyops.number(value) for value in values]
            if state.is_finished():
                runs = [_run_of(self.log.ws, study, number, state, values)] if self._runs else []
                self.log.now(study, ["end", number, state.name, given, now, mark], runs=runs)
                if study.enders.get(number) != mark:
                    self.check_trial_is_updatable(trial_id, study.trials[number].state)
                return True
            if state is TrialState.RUNNING and study.trials[number].state is TrialState.WAITING:
                self.log.now(study, ["start", number, now, mark])
                return study.starts.get(number) == mark
            if given is not None:
                self.log.now(study, ["values", number, given])
            return False

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial as it is now."""
        with self.log.lock:
            study, number = self._place(trial_id)
            return (study if self._is_mine(study, number) else self.log.read(study.id)).trials[number]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """All trials of the study, in order, or those in some states."""
        with self.log.lock:
            study = self.log.read(study_id)
            if states == (TrialState.WAITING,):  # asked before each trial
                if self._requeue and time.monotonic() - self._looked_s > LOOK_S:
                    self.requeue_stale(study_id)
                trials = [study.trials[number] for number in sorted(study.waiting)]
            else:
                trials = [trial for trial in study.trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def remove_session(self) -> None:
        """Make all durable: `optimize` calls it when one of its threads is done."""
        self.log.flush()

    def close(self) -> None:
        """Make all durable and give the leases back; trials of this storage that still run count as given up."""
        self.log.close()

    # ------------------------------------------------------------------------------------------------ inside

    def requeue_stale(self, study_id: int) -> list[int]:
        """Queue the trials again whose process has died; returns their numbers.

        With a graph in PostgreSQL a lease must be found free for `locks.grace_s` before its process counts as dead.
        """
        grace_s, now_s = locks.grace_s(self.log.ws), time.monotonic()
        stale: list[int] = []
        with self.log.lock:
            self._looked_s = now_s
            study = self.log.read(study_id)
            for trial in list(study.trials):
                owner = study.owners[trial.number]
                if trial.state is not TrialState.RUNNING or owner == self.log.me:
                    continue
                if locks.is_held(self.log.ws, owner_lease(owner)):
                    self._free_since.pop(owner, None)
                elif now_s - self._free_since.setdefault(owner, now_s) >= grace_s:
                    at = datetime.now().isoformat()
                    self.log.now(study, ["requeue", trial.number, owner, at, new_id()])
                    stale.append(trial.number)
        return stale

    def _place(self, trial_id: int) -> tuple[StudyState, int]:
        study_id, number = divmod(trial_id, TRIALS)
        study = self.log.study(study_id)
        if number >= len(study.trials):
            study = self.log.read(study_id)
        if number >= len(study.trials):
            raise KeyError(f"no trial {number} in study {study.name!r}; it has {len(study.trials)}")
        return study, number

    def _owned(self, trial_id: int) -> tuple[StudyState, int]:
        """The place of a trial that may still change."""
        study, number = self._place(trial_id)
        if not self._is_mine(study, number):
            study = self.log.read(study.id)
        self.check_trial_is_updatable(trial_id, study.trials[number].state)
        return study, number

    def _is_mine(self, study: StudyState, number: int) -> bool:
        return study.owners.get(number) == self.log.me and study.trials[number].state is TrialState.RUNNING


def _let_go(log: StudyLog) -> None:
    log.close()
    log.ws.close()


def _running() -> FrozenTrial:
    return create_trial(state=TrialState.RUNNING)


def _run_of(ws: Workspace, study: StudyState, number: int, state: TrialState, values: Sequence[float] | None) -> Run:
    """The run that this trial was."""
    trial = study.trials[number]
    status: dict[TrialState, Status] = {TrialState.COMPLETE: "done", TrialState.PRUNED: "cancelled"}
    names = ["value"] if len(study.directions) == 1 else [f"value_{place}" for place in range(len(values or ()))]
    now = utc_now()
    return Run(
        new_id(),
        "train.trial",
        study.name,
        status.get(state, "failed"),
        now if trial.datetime_start is None else trial.datetime_start.astimezone(now.tzinfo),
        now,
        params=trial.params,
        metrics=dict(zip(names, map(float, values or ()), strict=False)),
        tags={"study": str(study.id), "trial": str(number), "state": state.name.lower()},
        actor=ws.settings.who,
    )
