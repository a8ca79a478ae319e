"""The engine that runs calls on a Ray cluster: extra "ray".

Ray places calls and carries bytes. On each node a Ray worker hands its call to a warm process of ours (worker.py), and
can end it with all that the call started; so deadlines, cancelling, errors and deaths are the same as in the pool.
Ray retries nothing: a lost worker or node is ServerFailed, and whoever submitted decides.

Nodes need this package and the user's modules. `ray://head:6379?working_dir=.` has Ray copy a folder to them.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

from tidemill.core.engine import Resources, Task
from tidemill.core.errors import BadInput, Cancelled, MissingExtra, ServerFailed, TidemillError
from tidemill.flow.engines.calls import failed, in_order, name_of, pack, require
from tidemill.flow.engines.pool import PoolEngine
from tidemill.flow.engines.tasks import Pending
from tidemill.flow.engines.worker import Order, search_path

T = TypeVar("T")
A = TypeVar("A")

LOOPBACK = "127.0.0.1"
_FRESH_S = 5.0  # how long the list of nodes counts as fresh: asking takes a millisecond
_PATIENCE_S = 1.0  # how long a cancelled call may take to end by itself before its Ray worker is killed
_node_pool: list[PoolEngine] = []


class _Job(Pending):
    """A call on the cluster."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ref: Any = None  # ray.ObjectRef, which has no types
        self.ending: TidemillError | None = None


class RayEngine:
    """Calls on a Ray cluster that this process is connected to. `ours`: end the connection with the engine."""

    def __init__(self, *, ours: bool) -> None:
        import ray

        self._ray = ray
        self._ours = ours
        self._lock = threading.Lock()
        self._jobs: set[_Job] = set()
        self._closed = False
        self._remote = ray.remote(perform_on_node)
        self._nodes: tuple[Resources, ...] = ()
        self._asked_at = -_FRESH_S
        self._heard_at = time.monotonic()

    def submit(
        self,
        function: Callable[[A], T],
        argument: A,
        *,
        needs: Resources | None = None,
        timeout_s: float | None = None,
        name: str = "",
    ) -> Task[T]:
        """Queue one call; raises BadInput if no node has what it asks for, or it does not pickle."""
        asked = needs or Resources(cpu=1.0)
        called = name_of(function, name)
        self._require(asked, called)
        call = pack(function, argument, called)
        if b"__main__" in call:  # the nodes have another one: send the function's code
            call = self._ray.cloudpickle.dumps((function, argument))  # type: ignore[no-untyped-call]
        job = _Job(called)
        with self._lock:
            if self._closed:
                raise BadInput(f"task {called!r}: this engine is closed; open another one")
            job.ref = self._remote.options(
                num_cpus=asked.cpu,
                num_gpus=asked.gpu,
                memory=asked.memory_bytes,
                max_retries=0,
                name=called,
            ).remote(call, timeout_s, called, search_path())
            self._jobs.add(job)
        job.ref.future().add_done_callback(lambda future: self._ended(job, future))
        return cast("Task[T]", job)

    def map(self, function: Callable[[A], T], arguments: Iterable[A], *, needs: Resources | None = None) -> Iterator[T]:
        """Results in order; at most four calls a core of the cluster are in flight, so memory stays bounded."""
        return in_order(self, function, arguments, needs=needs, at_once=max(2, int(4 * self.resources().cpu)))

    def cancel(self, task: Task[Any]) -> bool:
        """Take a call out of Ray's queue, or end it where it runs; False when it had ended."""
        job = cast("_Job", task)
        with self._lock:
            if job not in self._jobs or job.ending is not None:
                return False
            job.ending = Cancelled(f"task {job.name!r} was cancelled")
        self._cancel(job)
        return True

    def resources(self) -> Resources:
        """The sum over all nodes that are alive."""
        nodes = self._alive()
        memory = [node.memory_bytes for node in nodes if node.memory_bytes is not None]
        return Resources(sum(node.cpu for node in nodes), sum(node.gpu for node in nodes), sum(memory) or None)

    def heartbeat(self) -> float:
        """Seconds since the cluster was last heard; asks it."""
        with suppress(Exception):  # Ray raises many kinds, and none of them is news to who asks this
            self._asked_at = -_FRESH_S
            if self._alive():
                return 0.0
        return time.monotonic() - self._heard_at

    def close(self) -> None:
        """Cancel what has not ended; leave the cluster, and end it where "ray://local" started it."""
        with self._lock:
            was, self._closed = self._closed, True
            jobs = [job for job in self._jobs if job.ending is None]
            for job in jobs:
                job.ending = Cancelled(f"task {job.name!r} had not ended when its engine was closed")
        for job in jobs:
            self._cancel(job)
        for job in jobs:
            with suppress(Exception):
                job.reply(2 * _PATIENCE_S)
        if self._ours and not was:
            self._ray.shutdown()

    def _cancel(self, job: _Job) -> None:
        self._ray.cancel(job.ref, force=False)

        def insist() -> None:
            if not job.done() and self._ray.is_initialized():
                with suppress(Exception):
                    self._ray.cancel(job.ref, force=True)

        timer = threading.Timer(_PATIENCE_S, insist)
        timer.daemon = True
        timer.start()
        job.add_done_callback(lambda _: timer.cancel())

    def _ended(self, job: _Job, future: Any) -> None:
        with self._lock:
            self._jobs.discard(job)
            self._heard_at = time.monotonic()
        error = future.exception()
        if job.ending is not None:
            job.fail(job.ending)
        elif error is None:
            job.finish(future.result())
        else:
            self._asked_at = -_FRESH_S
            job.fail(
                ServerFailed(
                    f"a Ray worker or its node ended in the middle of task {job.name!r} "
                    f"({type(error).__name__}: {_first_line(error)}); if it ran out of memory, say what it needs "
                    "with memory=, then run it again"
                )
            )

    def _alive(self) -> tuple[Resources, ...]:
        if time.monotonic() - self._asked_at > _FRESH_S:
            found = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
            self._nodes = tuple(
                Resources(float(has.get("CPU", 0)), float(has.get("GPU", 0)), int(has.get("memory", 0)) or None)
                for has in found
            )
            self._asked_at = self._heard_at = time.monotonic()
        return self._nodes

    def _require(self, needs: Resources, name: str) -> None:
        """A call runs on one node: one of them must have it all, or Ray would let the call wait for ever."""
        refused: BadInput | None = None
        for node in sorted(self._alive(), reverse=True):
            try:
                return require(needs, node, name)
            except BadInput as error:
                refused = refused or error
        raise refused or BadInput(f"task {name!r}: no node of the Ray cluster is alive; start one with `ray start`")


def perform_on_node(call: bytes, timeout_s: float | None, name: str, path: tuple[str, ...]) -> bytes:
    """What a Ray worker does with a call: have its warm process perform it; the packed outcome.

    path: where the submitter finds modules; what of it this node has comes after what it finds itself.
    """
    import ray

    if not _node_pool:
        _node_pool.append(PoolEngine(1))
    pool = _node_pool[0]
    gpus = tuple(int(each) for each in ray.get_gpu_ids() if str(each).isdigit())
    own = search_path()
    also = tuple(entry for entry in path if entry not in own and Path(entry).exists())
    try:
        task = pool.submit_packed(Order(call, own + also, gpus=gpus or None), timeout_s=timeout_s, name=name)
        while True:
            try:
                # in turns: Ray's interrupt is seen between two of them only
                return task.reply(0.1)
            except TimeoutError as error:
                if task.done():
                    return failed(cast("Exception", error))
    except TidemillError as error:
        return failed(error)
    except BaseException:  # cancelled: anywhere, also when the call runs and `task` is not yet ours to name
        _node_pool.clear()
        pool.close()
        raise


def open_engine(url: str = "ray") -> RayEngine:
    """The engine "ray": a cluster that runs already.

    "ray": the cluster of this machine, or of RAY_ADDRESS. "ray://host:6379": by its head's address. "ray://local": one
    of this process alone, on 127.0.0.1, ended with the engine; "ray://local?cpus=2" says how many cores. Raises
    MissingExtra without Ray, BadInput where there is no cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    parts = urlsplit(url if "://" in url else "ray://")
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    unknown = set(options) - {"cpus", "working_dir"}
    if unknown:
        raise BadInput(f"engine {url!r}: no option {min(unknown)!r}; known are cpus, working_dir")
    local = parts.netloc == "local"
    if local and "ray" not in sys.modules:
        # Ray's name for it; on Linux too it makes its servers listen on 127.0.0.1 only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(f"engine {url!r} needs Ray: pip install 'tidemill[ray]'") from error
    if ray.is_initialized():
        return RayEngine(ours=False)
    settings: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": LOOPBACK} if local else {}
    if local and "cpus" in options:
        settings["num_cpus"] = int(options["cpus"])
    if "working_dir" in options:
        settings["runtime_env"] = {"working_dir": str(Path(options["working_dir"]).resolve())}
    try:
        if parts.netloc and not local:
            _knock(parts.hostname or "", parts.port)
        ray.init(
            address="local" if local else (parts.netloc or "auto"),
            log_to_driver=False,
            configure_logging=False,
            **settings,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise BadInput(
            f"engine {url!r}: no Ray cluster answers ({_first_line(error)}); start one with "
            f"`ray start --head --node-ip-address={LOOPBACK}`, name one by ray://host:6379, "
            "or have one for this process by ray://local"
        ) from error
    return RayEngine(ours=True)


def _knock(host: str, port: int | None) -> None:
    """Raise OSError where nobody listens: Ray itself would try for minutes."""
    if port is None:
        raise OSError("the address names no port")
    socket.create_connection((host, port), timeout=5).close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
