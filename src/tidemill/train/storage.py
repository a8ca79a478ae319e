"""Optuna's storage over the graph: a study is a log of events, a trial that ended is a run "train.trial".

    study = optuna.create_study(storage=GraphStorage(ws), study_name="rates", load_if_exists=True)

What a call that creates, starts or ends a trial returned is durable; parameters, attributes and reported values follow
with the trial's end, or within 0.1 s. Any number of threads and processes may share a study: who is first in the
graph's log is first. A storage holds a lease while its process lives; trials of one that died are stale, and Optuna's
`optimize` queues them again, with the same parameters, up to three times.
"""

from __future__ import annotations

import copy
import json
import os
import threading
import time
from collections.abc import Callable, Container, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.storages._base import DEFAULT_STUDY_NAME_PREFIX
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.study._frozen import FrozenStudy
from optuna.study._study_direction import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tidemill.core import locks
from tidemill.core.errors import TidemillError
from tidemill.core.ids import digest, new_id, parse_time, utc_now
from tidemill.core.types import Batch, NewEvent, Run, Status
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.train import studylog
from tidemill.train.studylog import Op, StudyState

STUDIES = "studies"  # subject of the events that say which studies there are
TRIALS = 1 << 24  # trials a study may have: a trial's id is the study's id times this, plus its number
FLUSH_S = 0.1
IDLE = 50  # so many turns without work end the thread that writes
RETRIES = 3
RUN = "run"  # user attribute: the id of the run that did the trial, where somebody else recorded it


class GraphStorage(BaseStorage, BaseHeartbeat):
    """See the module. requeue: whether `optimize` queues the trials of a process that died again."""

    def __init__(self, ws: Workspace, *, requeue: bool = True) -> None:
        self._ws = ws
        self._requeue = requeue
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._me, self._pid = new_id(), os.getpid()
        self._lease: locks.Lease | None = None
        self._studies: dict[int, StudyState] = {}
        self._names: dict[str, int] = {}
        self._deleted: dict[str, int] = {}  # by name, how many studies of that name were deleted
        self._seen = 0
        self._pending: dict[int, list[Op]] = {}  # by study: operations of trials that this process owns
        self._flusher: threading.Thread | None = None
        self._free_since: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        return {"url": self._ws.url, "settings": self._ws.settings, "requeue": self._requeue}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._ws = open_workspace(state["url"], settings=state["settings"], create=False)
        self._requeue = state["requeue"]
        self._begin()

    # ------------------------------------------------------------------------------------------------ studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """A new study's id. Raises DuplicatedStudyError where the name is taken."""
        mark = new_id()
        name = f"{DEFAULT_STUDY_NAME_PREFIX}{mark}" if study_name is None else study_name
        with self._lock:
            self._read_studies()
            body = {"name": name, "directions": [direction.name for direction in directions], "mark": mark}
            # A key per name that is free once a study of that name was deleted: of two processes one gets it.
            key = f"{STUDIES}/{digest(name.encode())}/{self._deleted.get(name, 0)}"
            made = self._ws.graph.record(STUDIES, "created", body, actor=self._ws.settings.who, key=key)
            self._read_studies()
        if made.body["mark"] != mark:
            raise DuplicatedStudyError(f"a study {name!r} is there already; load it, or give another name")
        return made.seq

    def delete_study(self, study_id: int) -> None:
        """Forget the study; its events and runs stay in the graph."""
        with self._lock:
            name = self._study(study_id).name
            self._pending.pop(study_id, None)
            self._ws.graph.record(
                STUDIES,
                "deleted",
                {"study": study_id, "name": name},
                actor=self._ws.settings.who,
                key=f"{STUDIES}/{study_id}/deleted",
            )
            self._read_studies()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of the study."""
        self._set_study(study_id, ["study user", key, _json(value)])

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute that Optuna keeps."""
        self._set_study(study_id, ["study system", key, _json(value)])

    def get_study_id_from_name(self, study_name: str) -> int:
        """The id of the study of that name."""
        with self._lock:
            self._read_studies()
            if study_name not in self._names:
                raise KeyError(f"no study {study_name!r}; known are {', '.join(sorted(self._names)[:20])}")
            return self._names[study_name]

    def get_study_name_from_id(self, study_id: int) -> str:
        """The study's name."""
        return self._study(study_id).name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Whether less or more is better, for each value."""
        return self._study(study_id).directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """The study's attributes."""
        return self._read(study_id).user

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """What Optuna keeps of the study."""
        return self._read(study_id).system

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies."""
        with self._lock:
            self._read_studies()
            read = [self._read(study_id) for study_id in list(self._studies)]
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
        made = template_trial or create_trial(state=TrialState.RUNNING)
        mark = new_id()
        with self._lock:
            self._study(study_id)
            self._hold()
            body = studylog.created(made)
            self._write(study_id, [["create", mark, body]], runs=[])
            return study_id * TRIALS + self._read(study_id).created[mark]

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a parameter. Raises ValueError where the study has another distribution for it."""
        with self._lock:
            study, number = self._owned(trial_id)
            if param_name in study.spread:
                check_distribution_compatibility(study.spread[param_name], distribution)
            value = studylog.number(param_value_internal)
            self._soon(study, ["param", number, param_name, value, distribution_to_json(distribution)])

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Set what the trial reported at a step."""
        with self._lock:
            study, number = self._owned(trial_id)
            self._soon(study, ["report", number, int(step), studylog.number(intermediate_value)])

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of the trial."""
        with self._lock:
            study, number = self._owned(trial_id)
            self._soon(study, ["user", number, key, _json(value)])

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute that Optuna keeps."""
        with self._lock:
            study, number = self._owned(trial_id)
            self._soon(study, ["system", number, key, _json(value)])

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Start or end a trial; durable when it returns. False where another process was first to start it."""
        mark = new_id()
        with self._lock:
            study, number = self._owned(trial_id)
            now = datetime.now().isoformat()
            given = None if values is None else [studylog.number(value) for value in values]
            if state.is_finished():
                ended = ["end", number, state.name, given, now, mark]
                self._write(study.id, [ended], runs=self._run_of(study, number, state, values))
                if self._read(study.id).enders.get(number) != mark:
                    self.check_trial_is_updatable(trial_id, self._read(study.id).trials[number].state)
                return True
            if state is not TrialState.RUNNING or study.trials[number].state is not TrialState.WAITING:
                if given is not None:
                    self._write(study.id, [["values", number, given]], runs=[])
                return False
            self._hold()
            self._write(study.id, [["start", number, now, self._me, mark]], runs=[])
            return self._read(study.id).owners[number] == self._me

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial as it is now."""
        with self._lock:
            study, number = self._place(trial_id)
            mine = study.owners.get(number) == self._me and study.trials[number].state is TrialState.RUNNING
            return (study if mine else self._read(study.id)).trials[number]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """All trials of the study, in order, or those in some states."""
        with self._lock:
            study = self._read(study_id)
            if states == (TrialState.WAITING,):  # asked before each trial
                trials = [study.trials[number] for number in sorted(study.waiting)]
            else:
                trials = [trial for trial in study.trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    # ------------------------------------------------------------------------------------------------ liveness

    def record_heartbeat(self, trial_id: int) -> None:  # noqa: ARG002  one lease stands for all trials of a process
        """Hold this storage's lease: it is free when the process is gone."""
        with self._lock:
            self._hold()

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """The trials that run by their state, and whose owner is gone (with a graph in PostgreSQL: for a while)."""
        grace_s, now_s = locks.grace_s(self._ws), time.monotonic()
        stale: list[int] = []
        with self._lock:
            study = self._read(study_id)
            for trial in study.trials:
                if trial.state is not TrialState.RUNNING:
                    continue
                owner = study.owners[trial.number]
                if owner == self._me or locks.is_held(self._ws, _lease(owner)):
                    self._free_since.pop(owner, None)
                elif now_s - self._free_since.setdefault(owner, now_s) >= grace_s:
                    stale.append(trial._trial_id)
        return stale

    def get_heartbeat_interval(self) -> int | None:
        """Seconds between heartbeats; they are cheap, since the lease is held anyway."""
        return 10 if self._requeue else None

    def get_heartbeat_stale_trial_callback(self) -> Callable[[optuna.Study, FrozenTrial], None] | None:
        """What queues a stale trial again."""
        return _requeue if self._requeue else None

    # ------------------------------------------------------------------------------------------------ the log

    def flush(self) -> None:
        """Make durable all that was set so far."""
        with self._lock:
            for study_id in list(self._pending):
                self._write(study_id, [], runs=[])

    def remove_session(self) -> None:
        """Make all durable and give the lease back."""
        self.flush()
        with self._lock:
            if self._lease is not None:
                self._lease.release()
                self._lease = None

    def _read_studies(self) -> None:
        for event in self._ws.graph.events(STUDIES, after=self._seen):
            self._seen = event.seq
            name = event.body["name"]
            if event.kind == "created":
                directions = [StudyDirection[each] for each in event.body["directions"]]
                self._studies[event.seq] = StudyState(event.seq, name, directions)
                self._names[name] = event.seq
            else:
                self._studies.pop(event.body["study"], None)
                self._names.pop(name, None)
                self._deleted[name] = self._deleted.get(name, 0) + 1

    def _study(self, study_id: int) -> StudyState:
        with self._lock:
            if self._pid != os.getpid():  # a forked child is a process of its own
                self._begin()
            if study_id not in self._studies:
                self._read_studies()
            if study_id not in self._studies:
                raise KeyError(f"no study {study_id}; known are {', '.join(map(str, list(self._studies)[:20]))}")
            return self._studies[study_id]

    def _read(self, study_id: int) -> StudyState:
        """The study after all that any process has written."""
        with self._lock:
            study = self._study(study_id)
            for event in self._ws.graph.events(_subject(study_id), after=study.seen):
                study.seen = event.seq
                by = event.body["by"]
                studylog.read(study, event.body["ops"], by, mine=by == self._me, trial_id=study_id * TRIALS)
            return study

    def _place(self, trial_id: int) -> tuple[StudyState, int]:
        study_id, number = divmod(trial_id, TRIALS)
        study = self._study(study_id)
        if number >= len(study.trials):
            study = self._read(study_id)
        if number >= len(study.trials):
            raise KeyError(f"no trial {number} in study {study.name!r}; it has {len(study.trials)}")
        return study, number

    def _owned(self, trial_id: int) -> tuple[StudyState, int]:
        """The place of a trial that may still change."""
        study, number = self._place(trial_id)
        if study.owners.get(number) != self._me:
            study = self._read(study.id)
        self.check_trial_is_updatable(trial_id, study.trials[number].state)
        return study, number

    def _set_study(self, study_id: int, op: Op) -> None:
        with self._lock:
            self._study(study_id)
            self._write(study_id, [op], runs=[])

    def _soon(self, study: StudyState, op: Op) -> None:
        studylog.apply(study, op, self._me, study.id * TRIALS)
        self._pending.setdefault(study.id, []).append(op)
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_late, name="tidemill study log", daemon=True)
            self._flusher.start()

    def _flush_late(self) -> None:
        """Write what a trial leaves unwritten for longer than FLUSH_S; ends after a while without work."""
        idle = 0
        while idle < IDLE:
            with self._lock:
                before = {study_id: ops[0] for study_id, ops in self._pending.items()}
                idle = 0 if before else idle + 1
            time.sleep(FLUSH_S)
            with self._lock:
                try:
                    for study_id in [key for key, ops in self._pending.items() if before.get(key) is ops[0]]:
                        self._write(study_id, [], runs=[])
                except (TidemillError, OSError):
                    idle = IDLE  # it stays pending: the trial's end writes it, and raises where it still cannot
        with self._lock:
            self._flusher = None

    def _write(self, study_id: int, ops: list[Op], *, runs: Sequence[Run]) -> None:
        waiting = self._pending.get(study_id, [])
        body = {"by": self._me, "ops": [*waiting, *ops]}
        said = NewEvent(_subject(study_id), "ops", body, self._ws.settings.who)
        self._ws.graph.write(Batch(runs=runs, events=[said]))
        self._pending.pop(study_id, None)

    def _hold(self) -> None:
        if self._lease is None:
            self._lease = locks.lease(self._ws, _lease(self._me))

    def _run_of(
        self, study: StudyState, number: int, state: TrialState, values: Sequence[float] | None
    ) -> Sequence[Run]:
        """The run that this trial was, unless whoever did it recorded one."""
        trial = study.trials[number]
        if RUN in trial.user_attrs:
            return ()
        status: dict[TrialState, Status] = {TrialState.COMPLETE: "done", TrialState.PRUNED: "cancelled"}
        began = utc_now() if trial.datetime_start is None else parse_time(trial.datetime_start.astimezone().isoformat())
        names = ["value"] if len(study.directions) == 1 else [f"value_{place}" for place in range(len(values or ()))]
        return (
            Run(
                new_id(),
                "train.trial",
                study.name,
                status.get(state, "failed"),
                began,
                utc_now(),
                params=trial.params,
                metrics=dict(zip(names, map(float, values or ()), strict=False)),
                tags={"study": str(study.id), "trial": str(number), "state": state.name.lower()},
                actor=self._ws.settings.who,
            ),
        )


def _requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    before = int(trial.system_attrs.get("requeued", 0))
    if before < RETRIES:
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=trial.user_attrs,
                system_attrs={**trial.system_attrs, "requeued": before + 1, "requeued_from": trial.number},
            )
        )


def _subject(study_id: int) -> str:
    return f"study/{study_id}"


def _lease(owner: str) -> str:
    return f"study-worker/{owner}"


def _json(value: Any) -> str:
    return json.dumps(value)
