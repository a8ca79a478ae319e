"""Studies in the graph's log, read and written by any number of threads and processes.

A study begins with one writer, which holds the lease "study-sole/<id>": nobody else can come first, so it need not read
what it wrote nor ask for a number, and a trial costs one transaction, its end. Who comes second writes an event "share"
and waits until the lease is free; from then on every process reads before it answers, and whoever is first in the log
is first. An event "ops" holds operations (see studyops) in order.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from optuna.exceptions import DuplicatedStudyError
from optuna.study._study_direction import StudyDirection

from tidemill.core import locks
from tidemill.core.errors import Busy, TidemillError
from tidemill.core.ids import digest, new_id
from tidemill.core.types import Batch, NewEvent, Run
from tidemill.core.workspace import Workspace
from tidemill.train.tuning import studyops
from tidemill.train.tuning.studyops import Op, StudyState

STUDIES = "studies"  # subject of the events that say which studies there are
TRIALS = 1 << 24  # trials a study may have: a trial's id is the study's id times this, plus its number
FLUSH_S = 0.1
IDLE_TURNS = 50  # so many turns without work end the thread that writes, and give the study back
WAIT_S = 30.0


class StudyLog:
    """The studies of a workspace, for one process. What `now` wrote is durable, what `soon` did within FLUSH_S."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self._begin()

    def _begin(self) -> None:
        self.lock = threading.RLock()
        self.me, self._pid = new_id(), os.getpid()
        self._alive: locks.Lease | None = None
        self._soles: dict[int, locks.Lease] = {}
        self._shared: set[int] = set()  # studies that somebody has asked to share
        self._joined: set[int] = set()  # those of them whose one writer was seen to have given them back
        self._studies: dict[int, StudyState] = {}
        self._names: dict[str, int] = {}
        self._deleted: dict[str, int] = {}  # by name, how many studies of that name were deleted
        self._seen = 0
        self._pending: dict[int, list[Op]] = {}
        self._writer: threading.Thread | None = None

    # ------------------------------------------------------------------------------------------------ studies

    def create(self, name: str, directions: Sequence[StudyDirection]) -> int:
        """A new study's id. Raises DuplicatedStudyError where the name is taken."""
        mark = new_id()
        with self.lock:
            self.names()
            body = {"name": name, "directions": [direction.name for direction in directions], "mark": mark}
            # A key per name that is free once a study of that name was deleted: of two processes one gets it.
            key = f"{STUDIES}/{digest(name.encode())}/{self._deleted.get(name, 0)}"
            made = self.ws.graph.record(STUDIES, "created", body, actor=self.ws.settings.who, key=key)
            self.names()
        if made.body["mark"] != mark:
            raise DuplicatedStudyError(f"a study {name!r} is there already; load it, or give another name")
        return made.seq

    def delete(self, study_id: int) -> None:
        """Forget the study; its events and runs stay in the graph."""
        with self.lock:
            body = {"study": study_id, "name": self.study(study_id).name}
            self._forget(study_id)
            key = f"{STUDIES}/{study_id}/deleted"
            self.ws.graph.record(STUDIES, "deleted", body, actor=self.ws.settings.who, key=key)
            self.names()

    def names(self) -> dict[str, int]:
        """The ids of all studies, by name."""
        with self.lock:
            for event in self.ws.graph.events(STUDIES, after=self._seen):
                self._seen, name = event.seq, event.body["name"]
                if event.kind == "created":
                    directions = [StudyDirection[each] for each in event.body["directions"]]
                    self._studies[event.seq] = StudyState(event.seq, name, directions, event.seq * TRIALS)
                    self._names[name] = event.seq
                else:
                    self._studies.pop(event.body["study"], None)
                    self._names.pop(name, None)
                    self._deleted[name] = self._deleted.get(name, 0) + 1
            return dict(self._names)

    def study(self, study_id: int) -> StudyState:
        """The study as this process knows it. Raises KeyError for an unknown one."""
        if self._pid != os.getpid():  # a forked child is a process of its own
            self._begin()
        with self.lock:
            if study_id not in self._studies:
                self.names()
            if study_id not in self._studies:
                raise KeyError(f"no study {study_id}; known are {', '.join(map(str, list(self._studies)[:20]))}")
            return self._studies[study_id]

    # ------------------------------------------------------------------------------------------------ operations

    def read(self, study_id: int) -> StudyState:
        """The study after all that any process has written."""
        with self.lock:
            study = self.study(study_id)
            if study_id not in self._soles:
                self._catch_up(study)
            return study

    def soon(self, study: StudyState, op: Op) -> None:
        """Do an operation that only this process may do, and write it with the next that is written at once."""
        with self.lock:
            self._enter(study)
            studyops.apply(study, op, self.me)
            self._later(study.id, op)

    def now(self, study: StudyState, op: Op, *, runs: Sequence[Run] = ()) -> None:
        """Do an operation, durably, with the runs; afterwards the study says whether it was first."""
        with self.lock:
            self._enter(study)
            self._write(study.id, [op], runs)
            if study.id in self._soles:
                studyops.apply(study, op, self.me)
            else:
                self._catch_up(study)

    def create_trial(self, study: StudyState, op: Op) -> None:
        """Create a trial: at once where other processes may, else with its end or soon."""
        with self.lock:
            self._enter(study)
            if study.id not in self._soles:
                self.now(study, op)
                return
            studyops.apply(study, op, self.me)
            self._later(study.id, op)

    def flush(self) -> None:
        """Make durable all that was done so far."""
        with self.lock:
            for study_id in list(self._pending):
                self._write(study_id, [])

    def close(self) -> None:
        """Make all durable and give all leases back."""
        with self.lock:
            self.flush()
            for study_id in list(self._soles):
                self._give_back(study_id)
            if self._alive is not None:
                self._alive.release()
                self._alive = None

    def _enter(self, study: StudyState) -> None:
        """Be the one writer of the study, or one of many."""
        if self._alive is None:
            self._alive = locks.lease(self.ws, owner_lease(self.me))
        if study.id in self._soles or study.id in self._joined:
            return
        sole = locks.lease(self.ws, f"study-sole/{study.id}")
        self._catch_up(study)
        if sole is None:
            if study.id not in self._shared:
                self.ws.graph.write(Batch(events=[self._said(study.id, "share", {"by": self.me})]))
            self._wait_for(study)  # also where another asked: the writer may not have answered yet
            self._catch_up(study)
            self._joined.add(study.id)
        elif study.id in self._shared:
            sole.release()
            self._joined.add(study.id)
        else:
            self._soles[study.id] = sole
            self._work()

    def _wait_for(self, study: StudyState) -> None:
        until = time.monotonic() + WAIT_S
        while locks.is_held(self.ws, f"study-sole/{study.id}"):
            if time.monotonic() > until:
                raise Busy(
                    f"study {study.name!r} has a writer that does not answer for {WAIT_S:g} s; "
                    "wait until its trial is done, or end that process"
                )
            time.sleep(0.01)

    def _catch_up(self, study: StudyState) -> None:
        for event in self.ws.graph.events(f"study/{study.id}", after=study.seen):
            study.seen = event.seq
            if event.kind == "share":
                self._shared.add(study.id)
                continue
            by, mine = event.body["by"], event.body["by"] == self.me
            for op in event.body["ops"]:
                if not (mine and (event.body["sole"] or op[0] in studyops.OWNERS)):  # those are done already
                    studyops.apply(study, op, by)

    def _later(self, study_id: int, op: Op) -> None:
        self._pending.setdefault(study_id, []).append(op)
        self._work()

    def _write(self, study_id: int, ops: list[Op], runs: Sequence[Run] = ()) -> None:
        waiting = self._pending.get(study_id, [])
        if waiting or ops:
            body = {"by": self.me, "sole": study_id in self._soles, "ops": [*waiting, *ops]}
            self.ws.graph.write(Batch(runs=runs, events=[self._said(study_id, "ops", body)]))
            self._pending.pop(study_id, None)

    def _said(self, study_id: int, kind: str, body: dict[str, object]) -> NewEvent:
        return NewEvent(f"study/{study_id}", kind, body, self.ws.settings.who)

    # ------------------------------------------------------------------------------------------------ the writer

    def _work(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._turns, name="tidemill study log", daemon=True)
            self._writer.start()

    def _turns(self) -> None:
        """Write what waits for longer than a turn, and give a study back when another process asks for it."""
        idle = 0
        while True:
            with self.lock:
                before = {study_id: ops[0] for study_id, ops in self._pending.items()}
            time.sleep(FLUSH_S)
            with self.lock:
                idle = idle + 1 if not before and not self._pending else 0
                try:
                    for study_id in [key for key, ops in self._pending.items() if before.get(key) is ops[0]]:
                        self._write(study_id, [])
                    self._answer()
                except (TidemillError, OSError):
                    continue  # it stays pending: the next that is written at once writes it, or raises
                if idle >= IDLE_TURNS:
                    self._writer = None
                    for study_id in list(self._soles):
                        self._give_back(study_id)
                    return

    def _answer(self) -> None:
        """Give back what another process asks for, or has deleted."""
        self.names()
        for study_id in list(self._soles):
            if study_id not in self._studies:
                self._forget(study_id)
                continue
            self._catch_up(self._studies[study_id])
            if study_id in self._shared:
                self._write(study_id, [])
                self._give_back(study_id)

    def _give_back(self, study_id: int) -> None:
        lease = self._soles.pop(study_id, None)
        if lease is not None:
            lease.release()

    def _forget(self, study_id: int) -> None:
        self._pending.pop(study_id, None)
        self._give_back(study_id)


def owner_lease(owner: str) -> str:
    """What a process holds that owns trials; it is free when the process is gone."""
    return f"study-worker/{owner}"
