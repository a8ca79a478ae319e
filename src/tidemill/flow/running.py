"""The nodes of one execution on their way through an engine: what is ready, what is known already, what comes next.

Threads: the build function's thread adds nodes and waits; an engine's threads tell that a call ended; one thread of the
execution takes that up, and what waits for a while (a retry, another's lease). State changes under `_lock`.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tidemill.core.engine import Engine
from tidemill.core.errors import Cancelled, TidemillError
from tidemill.core.ids import new_id, utc_now
from tidemill.core.locks import lease
from tidemill.core.types import Batch, NewEvent, Query, Run, Status
from tidemill.core.workspace import Workspace
from tidemill.flow import approvals, keying, memory, tasks, values
from tidemill.flow.engines.here import HereEngine
from tidemill.flow.journal import Journal
from tidemill.flow.nodes import GOOD, Node, State, shown
from tidemill.flow.refs import Ref, node_of, path_of, replaced
from tidemill.flow.values import Output

Progress = Callable[[int, int, str], None]

STEP_KIND = "flow.step"
LEASE_RETRY_S = 0.05
CANCEL_POLL_S = 1.0
LONGEST_PAUSE_S = 300.0
KEPT_VALUES = 8
IN_FLIGHT = 64


class Running:
    """See the module."""

    def __init__(self, ws: Workspace, record: Run, engine: Engine, progress: Progress | None, *, resumed: bool) -> None:
        self.ws = ws
        self.record = record
        self.journal = Journal(ws, record.id, record.name)
        self.cancel_asked = False
        self._engine = engine
        self._inline = isinstance(engine, HereEngine)
        self._progress = progress
        self._logs = tasks.logs_of(ws, record.id)
        self._builder = threading.get_ident()
        self._read: dict[Node, None] = {}
        self._place = tasks.place_of(ws)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._nodes: list[Node] = []
        self._going = 0
        self._ended = 0
        self._by_key: dict[str, Node] = {}
        self._known = memory.of_pipeline(ws, record.name)
        self._done = memory.of_execution(ws, record.id) if resumed else memory.Remembered({}, {})
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._in_flight = 0
        self._most = max(IN_FLIGHT, int(8 * engine.resources().cpu))
        self._submittable: deque[Node] = deque()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._thread = threading.Thread(target=self._serve, name="tidemill flow", daemon=True)
        self._closing = False
        self._thread.start()

    # ------------------------------------------------------------------------------------------ the build's thread

    def add(self, node: Node) -> None:
        """A new node: it runs as soon as what it waits for is there."""
        self._stop_if_cancelled()
        with self._lock:
            self._nodes.append(node)
            self._going += 1
            node.waits = sum(not dep.ended for dep in node.deps)
            for dep in node.deps:
                if not dep.ended:
                    dep.then.append(node)
            ready = node.waits == 0
        if ready:
            self._go([node])
        else:
            self.journal.node(node, soon=False)

    def value_of(self, node: Node, path: tuple[Any, ...] = ()) -> Any:
        """Wait for the node's value; raises its error, or that of the node for which it was skipped."""
        with self._changed:
            while not node.ended:
                self._stop_if_cancelled()
                self._changed.wait(0.5)
        if node.state not in GOOD:
            cause = node.cause()
            with self._lock:
                for each in (node, cause):
                    each.seen = True
            raise cause.error or Cancelled(f"{cause.id} was cancelled")
        if threading.get_ident() == self._builder:
            self._read[node] = None
        if node.live:
            return values.part(node.live[0], path)
        assert node.output is not None
        return values.part(self._load(node), path)

    def wait_all(self) -> None:
        """Until every node ended."""
        with self._changed:
            while self._going:
                if self.journal.error is not None:
                    raise self.journal.error
                self._changed.wait(0.5)

    def unseen_error(self) -> BaseException | None:
        """The error of the first node that failed without the build function having been told."""
        with self._lock:
            for node in self._nodes:
                if node.state == "failed" and not node.seen:
                    return node.error
                if node.state == "cancelled":
                    return Cancelled(f"execution {self.record.id} was cancelled")
        return None

    def artifacts_read(self) -> dict[str, str]:
        """The artifacts of the nodes whose values the build function read, by node; after a flush."""
        self.journal.find_artifacts(list(self._read))
        return {node.id: node.artifact for node in self._read if node.artifact is not None}

    def counts(self) -> dict[str, float]:
        """How many nodes ended how."""
        with self._lock:
            made: dict[str, float] = {}
            for node in self._nodes:
                made[node.state] = made.get(node.state, 0.0) + 1
        return made

    def park(self, parked: approvals.Parked) -> None:
        """Record the question, durably, unless it stands already."""
        self.journal.flush()
        if parked.approval not in approvals.of_run(self.ws, self.record.id):
            body = approvals.parked_body(parked, utc_now())
            event = NewEvent(f"flow/{self.record.id}", "parked", body, actor=self.record.actor)
            self.ws.graph.write(Batch(events=[event]))

    def cancel(self, by: str) -> None:
        """End what runs, start nothing more."""
        with self._lock:
            if self.cancel_asked:
                return
            self.cancel_asked = True
            running = [node for node in self._nodes if not node.ended]
            self._submittable.clear()
        for node in running:
            if node.task is not None and not node.task.done():
                self._engine.cancel(node.task)
            else:
                self._end(node, "cancelled", why=f"cancelled by {by}")

    def close(self) -> None:
        """Let go of threads and leases."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()
        self.journal.close()
        for node in self._nodes:
            if node.lease is not None:
                node.lease.release()

    # ------------------------------------------------------------------------------------------ from ready to ended

    def _go(self, ready: list[Node]) -> None:
        """Take ready nodes as far as they go at once, and those that become ready by it."""
        work = deque(ready)
        while work:
            node = work.popleft()
            if self.cancel_asked:
                work.extend(self._end(node, "cancelled", why="cancelled"))
            elif any(dep.state not in GOOD for dep in node.deps):
                cause = next(dep for dep in node.deps if dep.state not in GOOD)
                work.extend(self._end(node, "skipped", why=f"{cause.cause().id} failed"))
            elif not node.ended:
                try:
                    work.extend(self._ready(node))
                except Exception as error:  # a key, a value, the database: the node's own trouble
                    work.extend(self._failed(node, error, ""))

    def _ready(self, node: Node) -> list[Node]:
        if node.key is None and not node.why and not node.again:
            keying.key(node)
            found = self._done.find(node)
            if found is not None and values.is_there(found.output, self.ws):
                return self._have(node, found, "done", "")
        if node.key is None:
            return self._submit(node)
        found = self._known.by_key.get(node.key)
        if found is not None and values.is_there(found.output, self.ws):
            return self._have(node, found, "cached", "")
        with self._lock:
            first = self._by_key.setdefault(node.key, node)
            if first is not node and first.state not in ("failed", "skipped", "cancelled"):
                if not first.ended:
                    first.twins.append(node)
                    return []
                assert first.output is not None
                assert first.source is not None
                node.live, node.data = first.live, first.data
                return self._have(node, memory.Found(first.output, first.source), "cached", "")
            self._by_key[node.key] = node
        return self._leased(node)

    def _leased(self, node: Node) -> list[Node]:
        """Hold the key, look whether somebody has its output, else compute it."""
        assert node.key is not None
        if node.lease is None:
            node.lease = lease(self.ws, f"step/{node.key}")
            if node.lease is None:
                self._later(LEASE_RETRY_S, lambda: self._go_on(node, self._leased))
                return []
        for run in self.ws.graph.find(Query("run", keys=(node.key,), status="done", limit=1)):
            assert isinstance(run, Run)
            if "output" in run.params:
                output = Output.of_json(run.params["output"])
                if values.is_there(output, self.ws):
                    return self._have(node, memory.Found(output, run.id), "cached", "")
        return self._submit(node)

    def _go_on(self, node: Node, step: Callable[[Node], list[Node]]) -> None:
        if node.ended:
            return
        if self.cancel_asked:
            self._go(self._end(node, "cancelled", why="cancelled"))
            return
        try:
            self._go(step(node))
        except Exception as error:
            self._go(self._failed(node, error, ""))

    def _submit(self, node: Node) -> list[Node]:
        options = node.step.options
        here = self._inline and options.timeout_s is None
        if not here:
            with self._lock:
                if self._in_flight >= self._most:
                    self._submittable.append(node)
                    return []
                self._in_flight += 1
        node.state, node.attempt = "running", node.attempt + 1
        node.started_at = node.started_at or utc_now()
        log = f"{self._logs}/{tasks.log_name(node.id)}"
        arguments = {name: self._argument(each, here) for name, each in node.arguments.items()}
        spec = tasks.TaskSpec(
            node.step, arguments, None if here else self._place, self.record.id, node.id, node.attempt, log
        )
        if here:
            return self._took(node, tasks.perform(spec, self.ws))
        self.journal.node(node)
        try:
            task = self._engine.submit(
                tasks.perform, spec, needs=options.needs, timeout_s=options.timeout_s, name=node.id
            )
        except Exception:
            with self._lock:
                self._in_flight -= 1
            raise
        node.task = task
        task.add_done_callback(lambda _: self._inbox.put(lambda: self._came_back(node, task)))
        if self.cancel_asked:
            self._engine.cancel(task)
        return []

    def _came_back(self, node: Node, task: Any) -> None:
        with self._lock:
            self._in_flight -= 1
            more = self._submittable.popleft() if self._submittable else None
        node.task = None
        try:
            ready = self._took(node, task.result())
        except Cancelled as error:
            ready = self._end(node, "cancelled", why=str(error))
        except Exception as error:  # what the engine says: timed out, worker died, cannot be pickled
            ready = self._failed(node, error, "")
        self._go(ready)
        if more is not None:
            self._go_on(more, self._submit)

    def _took(self, node: Node, result: tasks.TaskResult) -> list[Node]:
        node.cpu_s += result.cpu_s
        node.wall_s += result.wall_s
        node.peak_bytes = max(node.peak_bytes, result.peak_bytes)
        if result.printed:
            self._keep_log(node)
        if result.error is not None:
            return self._failed(node, result.error, result.trace)
        if result.packed is not None:
            node.output, node.data = result.packed.output, result.packed.data
        else:
            node.why = node.why or f"its result cannot be stored: no format takes {type(result.live[0]).__name__}"
            node.key = None
        if result.live and (node.output is None or node.output.inline or node.output.format == values.RECORD):
            node.live = result.live
        elif result.live and node.output is not None:
            self._keep(node.output.digest, result.live[0])
        return self._end(node, "done", packed=result.packed)

    def _failed(self, node: Node, error: BaseException, trace: str) -> list[Node]:
        options = node.step.options
        node.error, node.trace = error, trace
        if node.attempt and node.attempt <= options.retries and not self.cancel_asked:
            longest = min(LONGEST_PAUSE_S, options.backoff_s * 2 ** (node.attempt - 1))
            pause_s = random.uniform(0, longest)  # noqa: S311  jitter, no secret
            node.state = "waiting"
            node.why = f"try {node.attempt} failed: {shown(error)}"[:300]
            self.journal.node(node)
            self._later(pause_s, lambda: self._go_on(node, self._submit))
            return []
        return self._end(node, "failed")

    def _have(self, node: Node, found: memory.Found, state: State, why: str) -> list[Node]:
        """The node's output is known: nothing is run."""
        node.output, node.source, node.why = found.output, found.run, why
        if node.lease is not None:
            node.lease.release()
            node.lease = None
        return self._end(node, state)

    def _end(self, node: Node, state: State, *, why: str = "", packed: values.Packed | None = None) -> list[Node]:
        """The node has ended; returns the nodes that are ready by it."""
        with self._lock:
            if node.ended:
                return []
            ran = node.started_at is not None
            node.state, node.ended_at = state, utc_now()
            node.why = why or node.why
            if state == "done":
                node.error, node.trace = None, ""
            run = self._run_of(node) if ran and state in ("done", "failed", "cancelled") else None
            self._going -= 1
            self._ended += 1
            ready = []
            for each in node.then:
                each.waits -= 1
                if each.waits == 0:
                    ready.append(each)
            ready += node.twins  # they look again, and find it, or run themselves
            node.then, node.twins = [], []
            ended, known = self._ended, len(self._nodes)
            self._changed.notify_all()
        if run is not None:
            node.source = run.id
            self.journal.ended(node, run, packed, lambda: self._durable(node))
        else:
            self.journal.node(node)
        if self._progress is not None:
            self._progress(ended, known, f"{node.id} {state}")
        return ready

    def _durable(self, node: Node) -> None:
        node.data = None if node.output is not None and node.output.blob else node.data
        if node.lease is not None:
            node.lease.release()
            node.lease = None

    def _run_of(self, node: Node) -> Run:
        status: Status = "done" if node.state == "done" else "cancelled" if node.state == "cancelled" else "failed"
        params: dict[str, Any] = {"node": node.id, **keying.recorded(self.ws, node)}
        if node.log is not None:
            params["log"] = node.log
        if node.why:
            params["why"] = node.why
        assert isinstance(node.started_at, datetime)
        return Run(
            id=new_id(),
            kind=STEP_KIND,
            name=node.step.name,
            status=status,
            started_at=node.started_at,
            ended_at=node.ended_at,
            key=node.key if status == "done" else None,
            params=params,
            code=keying.code(self.ws, node),
            environment=self.record.environment,
            parent=self.record.id,
            actor=self.record.actor,
            error=None if node.error is None else shown(node.error),
            cpu_s=round(node.cpu_s, 4),
        )

    # ------------------------------------------------------------------------------------------ values

    def _argument(self, given: Any, here: bool) -> Any:
        def one(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return leaf
            node, path = node_of(leaf), path_of(leaf)
            if here or node.output is None:
                return tasks.Live(self.value_of(node, path))
            return tasks.Given(node.output, path, None if node.output.blob else node.data)

        return replaced(given, one)

    def _load(self, node: Node) -> Any:
        assert node.output is not None
        name = node.output.digest
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        made = values.load(node.output, self.ws, None if node.output.blob else node.data)
        self._keep(name, made)
        return made

    def _keep(self, name: str, value: Any) -> None:
        with self._lock:
            self._kept[name] = value
            while len(self._kept) > KEPT_VALUES:
                self._kept.popitem(last=False)

    def _keep_log(self, node: Node) -> None:
        log = tasks.log_path(self.ws, self.record.id, node.id)
        try:
            node.log = self.ws.store.put(log.read_bytes()[-1_000_000:])
        except FileNotFoundError:
            node.log = None  # it ran on another machine

    # ------------------------------------------------------------------------------------------ the execution's thread

    def _serve(self) -> None:
        next_look = time.monotonic() + CANCEL_POLL_S
        while True:
            now = time.monotonic()
            if now >= next_look:
                self._look_for_cancel()
                next_look = now + CANCEL_POLL_S
            due = self._timers[0][0] if self._timers else next_look
            try:
                call = self._inbox.get(timeout=max(0.0, min(due, next_look) - now))
            except queue.Empty:
                call = self._due()
                if call is None:
                    continue
            if call is None:
                return
            call()

    def _due(self) -> Callable[[], None] | None:
        with self._lock:
            if self._timers and self._timers[0][0] <= time.monotonic():
                return heapq.heappop(self._timers)[2]
        return None

    def _later(self, pause_s: float, call: Callable[[], None]) -> None:
        with self._lock:
            heapq.heappush(self._timers, (time.monotonic() + pause_s, next(self._order), call))
        self._inbox.put(_nothing)  # wakes the thread: the next timer may be this one

    def _look_for_cancel(self) -> None:
        try:
            asked = self.ws.graph.events(f"flow/{self.record.id}", kind="cancel", last=1)
        except TidemillError:
            return  # a busy database is asked again
        if asked:
            self.cancel(str(asked[0].body.get("by", asked[0].actor)))

    def _stop_if_cancelled(self) -> None:
        if self.journal.error is not None:
            raise self.journal.error
        if self.cancel_asked:
            raise Cancelled(f"execution {self.record.id} was cancelled")


def _nothing() -> None:
    """Nothing."""
