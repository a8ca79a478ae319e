"""The nodes of one execution on their way through an engine: what is ready, what is known already, what comes next.

Threads: the build function's thread adds nodes and waits; an engine's threads tell that a call ended; the dispatcher
takes that up, and what waits for a while (a retry, another's lease); the journal's writes. State changes under `_lock`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tidemill.core.engine import Engine, Task
from tidemill.core.errors import BadInput, Cancelled
from tidemill.core.ids import new_id, utc_now
from tidemill.core.locks import lease
from tidemill.core.types import Run
from tidemill.core.workspace import Workspace
from tidemill.flow import tasks, values
from tidemill.flow.engines.here import HereEngine
from tidemill.flow.executing import keying, memory
from tidemill.flow.executing.dispatching import Dispatcher
from tidemill.flow.executing.handover import Handover
from tidemill.flow.executing.journal import Ended, Journal
from tidemill.flow.executing.nodes import GOOD, Node, State, shown

Progress = Callable[[int, int, str], None]

LEASE_RETRY_S = 0.05
LEASE_RETRY_MOST_S = 1.0
CANCEL_POLL_S = 1.0
ANEW = "it was asked to be computed anew"
OTHER = "it ran under other code or globals than its key was made of: its result is not kept"
LOOK_S = 0.5  # how long a wait lasts that nobody ends
IN_FLIGHT = 64


class Running:
    """See the module."""

    def __init__(self, ws: Workspace, record: Run, engine: Engine, progress: Progress | None, *, resumed: bool) -> None:
        self.ws = ws
        self.record = record
        self.cancel_asked = False
        self._engine = engine
        self._inline = isinstance(engine, HereEngine)
        self._progress = progress
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._nodes: list[Node] = []
        self._read: dict[Node, None] = {}  # by the build function
        self._going = 0
        self._ended = 0
        self._by_key: dict[str, Node] = {}
        self._known = memory.Known(ws, record, resumed=resumed)
        self._in_flight = 0
        self._most = max(IN_FLIGHT, int(8 * engine.resources().cpu))
        self._queue: deque[Node] = deque()
        self._fault: BaseException | None = None
        self._closed = False
        self._values = Handover(ws, record.id)
        self.journal = Journal(ws, record, self._wake)
        self._dispatcher = Dispatcher(self._look_for_cancel, CANCEL_POLL_S, self._broke)

    # ------------------------------------------------------------------------------------------ the build's thread

    def add(self, node: Node) -> None:
        """A new node: it runs as soon as what it waits for is there."""
        with self._lock:
            self._stop_if_told()
            self._nodes.append(node)
            self._going += 1
            node.waits = sum(not dep.ended for dep in node.deps)
            node.fresh = self._known.is_fresh(node)
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
                self._stop_if_told()
                self._changed.wait(LOOK_S)
            if node.state not in GOOD:
                cause = node.cause()
                node.seen = cause.seen = True
                raise cause.error or Cancelled(f"{cause.id} was cancelled")
            self._read[node] = None
        return self._values.read(node, path)

    def wait_all(self) -> None:
        """Until every node ended."""
        with self._changed:
            while self._going:
                self._raise_fault()
                self._changed.wait(LOOK_S)

    def nodes(self) -> list[Node]:
        """Those that there are by now."""
        with self._lock:
            return list(self._nodes)

    def artifacts_read(self) -> dict[str, str]:
        """The artifacts of the nodes whose values the build function read, by node; after a flush."""
        self.journal.find_artifacts(list(self._read))
        return {node.id: node.artifact for node in self._read if node.artifact is not None}

    def cancel(self, by: str) -> None:
        """End what runs, start nothing more."""
        with self._lock:
            if self.cancel_asked:
                return
            self.cancel_asked = True
            self._queue.clear()
            left = [(node, node.task) for node in self._nodes if not node.ended]
            self._going = len(left)  # an interrupt may have come in the middle of counting
        for node, task in left:
            if task is None:
                self._end(node, "cancelled", why=f"cancelled by {by}")
            else:
                self._engine.cancel(task)  # it comes back as cancelled, or done where it was quicker

    def close(self) -> None:
        """End what runs still, let go of threads and leases."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            going = [node.task for node in self._nodes if node.task is not None]
        for task in going:
            with suppress(Exception):  # an engine that is closed, or broken, has ended it
                self._engine.cancel(task)
        self._dispatcher.close()
        self.journal.close()
        for node in self._nodes:
            node.release()

    # ------------------------------------------------------------------------------------------ from ready to ended

    def _go(self, ready: list[Node]) -> None:
        """Take ready nodes as far as they go at once, and those that become ready by it."""
        work = deque(ready)
        while work and not self._broken:
            node = work.popleft()
            if node.ended:
                continue
            if self.cancel_asked:
                work.extend(self._end(node, "cancelled", why="cancelled"))
            elif any(dep.state not in GOOD for dep in node.deps):
                cause = next(dep for dep in node.deps if dep.state not in GOOD)
                work.extend(self._end(node, "skipped", why=f"{cause.cause().id} failed"))
            else:
                work.extend(self._tried(node, self._ready))

    def _go_on(self, node: Node, step: Callable[[Node], list[Node]]) -> None:
        """The node has waited for a while: what comes next for it."""
        if node.ended or self._broken:
            return
        if self.cancel_asked:
            self._go([node])
        else:
            self._go(self._tried(node, step))

    def _tried(self, node: Node, step: Callable[[Node], list[Node]]) -> list[Node]:
        try:
            return step(node)
        except Exception as error:  # a key, a value, the database: the node's own trouble
            return self._failed(node, error, "")

    def _ready(self, node: Node) -> list[Node]:
        if not node.again:
            keying.key(node, self._values.part_digest)
            before = self._known.before(node)
            if before is not None:
                return self._have(node, before, "done", tell=not self._known.stands(node))
        if node.fresh:
            node.why = node.why or ANEW
        if node.key is None:
            return self._submit(node)
        found = self._known.of_newest(node)
        if found is not None:
            return self._have(node, found, "cached")
        with self._lock:
            first = self._by_key.get(node.key, node)
            if first is not node and not first.ended and first.fresh >= node.fresh:
                first.twins.append(node)
                return []
            if first.output is None or first.source is None or (node.fresh and not first.fresh):
                self._by_key[node.key] = node
                first = node
        if first is not node and first.output is not None:
            node.live = first.live
            return self._have(node, memory.Found(first.output, str(first.source)), "cached")
        return self._leased(node)

    def _leased(self, node: Node, pause_s: float = LEASE_RETRY_S) -> list[Node]:
        """Hold the key, look whether somebody has its output, else compute it."""
        assert node.key is not None
        if node.lease is None:
            node.lease = lease(self.ws, f"step/{node.key}")
            if node.lease is None:
                longer = partial(self._leased, pause_s=min(LEASE_RETRY_MOST_S, 1.5 * pause_s))
                self._dispatcher.later(pause_s, partial(self._go_on, node, longer))
                return []
        found = self._known.of_any(node)
        if found is not None:
            return self._have(node, found, "cached")
        return self._submit(node)

    def _submit(self, node: Node) -> list[Node]:
        if self._inline and node.step.options.timeout_s is None:
            if not self._starts(node):
                return []
            return self._took(node, tasks.perform(self._values.spec(node, here=True), self.ws))
        with self._lock:
            self._queue.append(node)
        return self._fill()

    def _fill(self) -> list[Node]:
        """Hand queued nodes to the engine while there is room; returns the nodes that are ready by what fails."""
        ready: list[Node] = []
        while True:
            with self._lock:
                if not self._queue or self._in_flight >= self._most:
                    return ready
                node = self._queue.popleft()
                if not self._starts(node):
                    continue
                self._in_flight += 1
            try:
                self._hand_out(node)
            except BaseException as error:
                with self._lock:
                    self._in_flight -= 1
                if not isinstance(error, Exception):
                    raise
                ready += self._failed(node, error, "", again=not isinstance(error, BadInput))

    def _hand_out(self, node: Node) -> None:
        options = node.step.options
        spec = self._values.spec(node, here=False)
        self.journal.node(node)
        task = self._engine.submit(tasks.perform, spec, needs=options.needs, timeout_s=options.timeout_s, name=node.id)
        node.task = task
        task.add_done_callback(lambda _: self._dispatcher.call(partial(self._came_back, node, task)))
        if self.cancel_asked or self._closed:
            self._engine.cancel(task)

    def _starts(self, node: Node) -> bool:
        """False for a node that was cancelled meanwhile."""
        with self._lock:
            if not node.ended:
                node.state, node.attempt = "running", node.attempt + 1
                node.started_at = node.started_at or utc_now()
            return not node.ended

    def _came_back(self, node: Node, task: Task[tasks.TaskResult]) -> None:
        with self._lock:
            self._in_flight -= 1
            node.task = None
        try:
            ready = self._took(node, task.result())
        except Cancelled as error:
            ready = self._end(node, "cancelled", why=str(error))
        except Exception as error:  # what the engine says: timed out, worker died
            ready = self._failed(node, error, "")
        self._go(ready + self._fill())

    def _took(self, node: Node, result: tasks.TaskResult) -> list[Node]:
        if node.ended:
            return []
        node.cpu_s += result.cpu_s
        node.wall_s += result.wall_s
        node.peak_bytes = max(node.peak_bytes, result.peak_bytes)
        node.printed = node.printed or result.printed
        if result.error is not None:
            return self._failed(node, result.error, result.trace)
        if result.packed is None:
            node.why = node.why or f"its result cannot be stored: no format takes {type(result.live[0]).__name__}"
            node.key = None
        if result.other and node.key is not None:
            with self._lock:  # what waits for the same key runs by itself
                if self._by_key.get(node.key) is node:
                    del self._by_key[node.key]
            node.key, node.why = None, OTHER
        self._values.took(node, result.packed, result.live)
        return self._end(node, "done", packed=result.packed)

    def _failed(self, node: Node, error: BaseException, trace: str, *, again: bool = True) -> list[Node]:
        with self._lock:
            if node.ended:
                return []
            node.error, node.trace = error, trace
            if not again or self.cancel_asked or not 0 < node.attempt <= node.step.options.retries:
                return self._end(node, "failed")
            node.state = "waiting"
            node.why = f"try {node.attempt} failed: {shown(error)}"[:300]
            self.journal.node(node)
        self._dispatcher.later(node.step.options.pause_s(node.attempt), partial(self._go_on, node, self._submit))
        return []

    def _have(self, node: Node, found: memory.Found, state: State, *, tell: bool = True) -> list[Node]:
        """The node's output is known: nothing is run."""
        node.output, node.source, node.why = found.output, found.run, ""
        return self._end(node, state, tell=tell)

    def _end(
        self, node: Node, state: State, *, why: str = "", packed: values.Packed | None = None, tell: bool = True
    ) -> list[Node]:
        """The node has ended; returns the nodes that are ready by it."""
        with self._lock:
            if node.ended:
                return []
            node.ended_at, node.why = utc_now(), why or node.why
            if state == "done":
                node.error, node.trace = None, ""
            if node.started_at is not None:
                node.source = new_id()
            node.state = state
            self._going -= 1
            self._ended += 1
            ready = []
            for each in node.then:
                each.waits -= 1
                if each.waits == 0:
                    ready.append(each)
            ready += node.twins  # they look again, and find it, or run themselves
            node.then, node.twins = [], []
            # Under the lock: who takes its output is told after it.
            if node.started_at is not None:
                log = tasks.log_path(self.ws, self.record.id, node.id) if node.printed else None
                self.journal.ended(Ended(node, packed, log, partial(self._durable, node)))
            else:
                node.release()
                node.arguments = {}
                if tell:
                    self.journal.node(node)
            ended, known = self._ended, len(self._nodes)
            self._changed.notify_all()
        self._show(ended, known, f"{node.id} {state}")
        return ready

    def _durable(self, node: Node) -> None:
        """Its record is durable: what was kept until then goes."""
        if node.output is not None:
            self._values.stored(node.output)
        node.arguments = {}
        node.release()

    def _show(self, ended: int, known: int, text: str) -> None:
        if self._progress is not None:
            try:
                self._progress(ended, known, text)
            except Exception:  # whoever watched has gone; the work goes on
                self._progress = None

    # ------------------------------------------------------------------------------------------ what ends it early

    @property
    def _broken(self) -> bool:
        """Whether nothing more can be done: what is recorded stays for a resumed execution."""
        return self._closed or self._fault is not None or self.journal.error is not None

    def _broke(self, error: BaseException) -> None:
        self._fault = self._fault or error
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _raise_fault(self) -> None:
        fault = self.journal.error or self._fault
        if fault is not None:
            raise fault
        if self._closed:
            raise BadInput(f"execution {self.record.id} is over; take the values of its steps while it runs")

    def _stop_if_told(self) -> None:
        self._raise_fault()
        if self.cancel_asked:
            raise Cancelled(f"execution {self.record.id} was cancelled")

    def _look_for_cancel(self) -> None:
        try:
            asked = self.ws.graph.events(f"flow/{self.record.id}", kind="cancel", last=1)
        except Exception:  # a database that is busy or away is asked again; the journal says when it stays so
            return
        if asked:
            self.cancel(str(asked[0].body.get("by", asked[0].actor)))
