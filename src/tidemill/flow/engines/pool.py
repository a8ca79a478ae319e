"""The engine that runs calls in warm worker processes on this machine.

One thread of the engine listens to all workers, starts and buries them and watches the clock. A call goes from the
thread that submits it straight to an idle worker; a worker has one call in hand at most, so its death is one task's.
"""

from __future__ import annotations

import atexit
import math
import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar, cast
from weakref import WeakSet

from tidemill.core.engine import Resources, Task
from tidemill.core.errors import BadInput, Cancelled, ServerFailed, TidemillError, TimedOut
from tidemill.flow.engines.calls import in_order, name_of, pack, require
from tidemill.flow.engines.machine import machine
from tidemill.flow.engines.tasks import Pending
from tidemill.flow.engines.worker import READY, STALE, Order, Worker, main_of_parent, search_path, variables

T = TypeVar("T")
A = TypeVar("A")

_open: WeakSet[PoolEngine] = WeakSet()


class _Job(Pending):
    """A task, what it needs, and where it is."""

    def __init__(self, name: str, order: Order, needs: Resources, timeout_s: float | None) -> None:
        super().__init__(name)
        self.order = order
        self.needs = needs
        self.timeout_s = timeout_s
        self.gpus: tuple[int, ...] = ()
        self.worker: Worker | None = None
        self.deadline = math.inf
        self.ending: TidemillError | None = None
        self.over = False  # said under the lock, a moment before its waiters are told


class PoolEngine:
    """Up to `workers` cores' worth of processes, started on need, kept warm, replaced when one dies.

    have: what tasks may ask for in all; default: `workers` cores, and the GPUs and memory of this machine. Tasks with
    whole GPUs get them by CUDA_VISIBLE_DEVICES, each GPU to one task at a time.
    """

    def __init__(self, workers: int, *, have: Resources | None = None) -> None:
        if workers < 1:
            raise BadInput(f"a pool of {workers} workers runs nothing; write pool://1 or more")
        self._have = have or machine()._replace(cpu=float(workers))
        self._most = 4 * workers  # processes: tasks may ask for parts of a core
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._workers: dict[Worker, _Job | None] = {}
        self._idle: list[Worker] = []
        self._cpu = self._have.cpu
        self._gpus = list(range(int(self._have.gpu)))
        self._memory: float = math.inf if self._have.memory_bytes is None else self._have.memory_bytes
        self._wake_at = math.inf
        self._heard_at = time.monotonic()
        self._closed = False
        self._owner = os.getpid()
        self._thread: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._ear, self._bell = os.pipe()
        os.set_blocking(self._bell, False)

    def submit(
        self,
        function: Callable[[A], T],
        argument: A,
        *,
        needs: Resources | None = None,
        timeout_s: float | None = None,
        name: str = "",
    ) -> Task[T]:
        """Start one call, or queue it; raises BadInput if it asks for more than there is or does not pickle."""
        called = name_of(function, name)
        call = pack(function, argument, called)
        order = Order(call, search_path(), main_of_parent() if b"__main__" in call else None, variables())
        return cast("Task[T]", self.submit_packed(order, needs=needs, timeout_s=timeout_s, name=called))

    def submit_packed(
        self, order: Order, *, needs: Resources | None = None, timeout_s: float | None = None, name: str
    ) -> Pending:
        """The same for a call that came packed, as it does to a node of a cluster."""
        asked = needs or Resources(cpu=1.0)
        require(asked, self._have, name)
        job = _Job(name, order, asked, timeout_s)
        with self._lock:
            if self._closed:
                raise BadInput(f"task {name!r}: this engine is closed; open another one")
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="tidemill pool", daemon=True)
                self._selector.register(self._ear, selectors.EVENT_READ)
                self._thread.start()
                _open.add(self)
            self._waiting.append(job)
            given = self._assign()
            if self._wanted() > 0:
                self._ring()
        _hand_out(given)
        return job

    def map(self, function: Callable[[A], T], arguments: Iterable[A], *, needs: Resources | None = None) -> Iterator[T]:
        """Results in order; at most four calls a core are in flight, so memory stays bounded."""
        return in_order(self, function, arguments, needs=needs, at_once=max(2, int(4 * self._have.cpu)))

    def cancel(self, task: Task[Any]) -> bool:
        """Take a waiting task out of the queue, or kill the worker of one that runs; False when it had ended."""
        job = cast("_Job", task)
        told = Cancelled(f"task {job.name!r} was cancelled")
        with self._lock:
            if job.over or job.ending is not None:
                return False
            job.ending = told
            if job.worker is not None:
                job.worker.kill()
                return True
            self._waiting.remove(job)
        job.fail(told)
        return True

    def resources(self) -> Resources:
        """As many cores as workers, the GPUs and the memory of this machine."""
        return self._have

    def heartbeat(self) -> float:
        """Seconds since a worker was last heard; 0 while all of their processes are alive."""
        with self._lock:
            alive = all(worker.process.returncode is None for worker in self._workers)
        return 0.0 if alive else time.monotonic() - self._heard_at

    def close(self) -> None:
        """End the workers; what waits or runs raises Cancelled."""
        if os.getpid() != self._owner:  # a fork of the process whose workers these are
            return
        with self._lock:
            was, self._closed = self._closed, True
            if was:
                return
            told = list(self._waiting)
            for job in told:
                job.ending = Cancelled(f"task {job.name!r} had not started when its engine was closed")
            self._waiting.clear()
            for worker, given in self._workers.items():
                if given is not None and given.ending is None:
                    given.ending = Cancelled(f"task {given.name!r} was running when its engine was closed")
                worker.kill()
            self._ring()
            thread = self._thread
        for job in told:
            assert job.ending is not None
            job.fail(job.ending)
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        elif thread is None:
            self._let_go()

    # Below, "under the lock" is said by who calls: submit and the listening thread.

    def _assign(self) -> list[tuple[Worker, _Job]]:
        """Pair waiting tasks, first come first served, with idle workers while there is room for them."""
        given: list[tuple[Worker, _Job]] = []
        while self._waiting and self._idle and self._fits(self._waiting[0].needs):
            job = self._waiting[0]
            count = math.ceil(job.needs.gpu)
            gpus = tuple(self._gpus[:count])
            worker = self._idle_with(gpus)
            if worker is None:
                self._idle.pop(0).kill()  # its GPUs are not these, and CUDA does not let go within a process
                self._ring()
                break
            self._waiting.popleft()
            if gpus:
                worker.gpus = gpus
                job.order = job.order._replace(gpus=gpus)
            self._cpu -= job.needs.cpu
            self._memory -= job.needs.memory_bytes or 0
            del self._gpus[:count]
            job.gpus = gpus
            job.worker = worker
            if job.timeout_s is not None:
                job.deadline = time.monotonic() + job.timeout_s
                if job.deadline < self._wake_at:
                    self._ring()
            self._workers[worker] = job
            given.append((worker, job))
        return given

    def _idle_with(self, gpus: tuple[int, ...]) -> Worker | None:
        # the one that worked last: its caches are warm
        for at in range(len(self._idle) - 1, -1, -1):
            if not gpus or self._idle[at].gpus in (None, gpus):
                return self._idle.pop(at)
        return None

    def _fits(self, needs: Resources) -> bool:
        return (
            needs.cpu <= self._cpu + 1e-9
            and math.ceil(needs.gpu) <= len(self._gpus)
            and (needs.memory_bytes or 0) <= self._memory
        )

    def _wanted(self) -> int:
        """How many processes to start for those that wait and for whom there is room."""
        starting = sum(1 for worker in self._workers if not worker.ready)
        cpu, memory, gpus, wanted = self._cpu, self._memory, len(self._gpus), 0
        for job in self._waiting:
            cpu -= job.needs.cpu
            memory -= job.needs.memory_bytes or 0
            gpus -= math.ceil(job.needs.gpu)
            if cpu < -1e-9 or memory < 0 or gpus < 0:
                break
            wanted += 1
            if wanted >= self._most:
                break
        return min(wanted - len(self._idle) - starting, self._most - len(self._workers))

    def _free(self, job: _Job) -> None:
        self._cpu += job.needs.cpu
        self._memory += job.needs.memory_bytes or 0
        self._gpus = sorted([*self._gpus, *job.gpus])
        job.worker = None
        job.gpus = ()
        job.deadline = math.inf

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # a full pipe rings already
            os.write(self._bell, b".")

    def _listen(self) -> None:
        """The engine's thread."""
        try:
            self._serve()
        except BaseException as error:
            # nobody else would tell those who wait
            with self._lock:
                self._closed = True
                lost = [job for job in (*self._waiting, *self._workers.values()) if job is not None]
                self._waiting.clear()
                for worker in self._workers:
                    worker.kill()
            for job in lost:
                job.fail(ServerFailed(f"the pool ended in the middle of task {job.name!r}: {error}; open another one"))
            raise

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._wake_at = min((job.deadline for job in self._workers.values() if job), default=math.inf)
                pause_s = None if self._wake_at == math.inf else max(0.0, self._wake_at - time.monotonic())
            heard = {key.data for key, _ in self._selector.select(pause_s)}
            if None in heard:
                heard.discard(None)
                os.read(self._ear, 65536)
            ended: list[Callable[[], None]] = []
            for worker in heard:
                self._hear(worker, ended)
            with self._lock:
                self._expire()
                finished = self._closed and not self._workers
                given: list[tuple[Worker, _Job]] = []
                if not self._closed:
                    for _ in range(self._wanted()):
                        self._start(ended)
                    given = self._assign()
            _hand_out(given)
            for tell in ended:
                tell()
            if finished:
                self._let_go()
                return

    def _start(self, ended: list[Callable[[], None]]) -> None:
        try:
            worker = Worker()
        except OSError as error:
            if not self._workers and self._waiting:  # else those that are there go on, and it is tried again
                self._ring()
                job = self._waiting.popleft()
                job.over = True
                told = ServerFailed(
                    f"no worker process can be started for task {job.name!r}: {error.strerror}; free some"
                )
                ended.append(lambda: job.fail(told))
            return
        self._workers[worker] = None
        for source in (worker.connection, worker.sentinel):
            if source is not None:
                self._selector.register(source, selectors.EVENT_READ, worker)

    def _hear(self, worker: Worker, ended: list[Callable[[], None]]) -> None:
        """Take in what a worker sent, or its end."""
        try:
            reply = worker.connection.recv_bytes() if worker.connection.poll() else None
        except (EOFError, OSError):
            reply = None
        with self._lock:
            if worker not in self._workers:
                return
            self._heard_at = time.monotonic()
            job = self._workers[worker]
            if reply == READY:
                worker.ready = True
                self._idle.append(worker)
            elif reply == STALE and job is not None and job.ending is None:
                self._free(job)
                self._waiting.appendleft(job)
                self._workers[worker] = None
                worker.kill()
            elif reply is not None and reply != STALE:
                if job is not None and job.ending is None:
                    self._free(job)
                    self._workers[worker] = None
                    self._idle.append(worker)
                    job.over = True
                    ended.append(lambda: job.finish(reply))
            else:
                self._bury(worker, job, ended)

    def _bury(self, worker: Worker, job: _Job | None, ended: list[Callable[[], None]]) -> None:
        del self._workers[worker]
        if worker in self._idle:
            self._idle.remove(worker)
        for source in (worker.connection, worker.sentinel):
            if source is not None:
                self._selector.unregister(source)
        code = worker.bury()
        if job is None and not worker.ready and self._waiting and not self._closed:
            job = self._waiting.popleft()  # else a worker that cannot start would be started for ever
        elif job is not None:
            self._free(job)
        if job is not None:
            job.over = True
            error = job.ending or ServerFailed(
                f"a worker process ended ({_how(code)}) in the middle of task {job.name!r}; "
                "if it ran out of memory, give the task less data or the engine fewer workers, then run it again"
            )
            ended.append(lambda: job.fail(error))

    def _expire(self) -> None:
        now = time.monotonic()
        for worker, job in self._workers.items():
            if job is not None and job.ending is None and job.deadline <= now:
                job.ending = TimedOut(
                    f"task {job.name!r} ran longer than its {job.timeout_s:g} s and was ended "
                    "with all that it had started; give it more time, or less to do"
                )
                job.deadline = math.inf
                worker.kill()

    def _let_go(self) -> None:
        self._selector.close()
        os.close(self._ear)
        os.close(self._bell)


def _hand_out(given: list[tuple[Worker, _Job]]) -> None:
    """Send the calls: without the lock, since a large one takes its time."""
    for worker, job in given:
        worker.give(job.order)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"exit code {code}, {signal.Signals(-code).name}"
    return f"exit code {code}"


@atexit.register
def _close_all() -> None:
    """Workers would end by themselves; this way their tasks' waiting threads learn of it."""
    for engine in list(_open):
        engine.close()


def open_engine(url: str = "") -> PoolEngine:
    """The engine "pool", or "pool://4" for four workers; default: one a core."""
    count = url.partition("://")[2]
    if count and not count.isdigit():
        raise BadInput(f"engine {url!r}: {count!r} is no number of workers; write pool://4")
    return PoolEngine(int(count) if count else int(machine().cpu))
