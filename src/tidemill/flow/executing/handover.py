"""The values of an execution's nodes on their way: to steps in this process or another, and to the build function.

Each step gets a value of its own, made from its stored form, so a step that changes its argument in place changes
nobody else's, on every engine. What cannot be changed is handed on as it is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from tidemill.core.workspace import Workspace
from tidemill.flow import tasks, values
from tidemill.flow.executing.nodes import Node
from tidemill.flow.refs import Ref, node_of, path_of, replaced
from tidemill.flow.values import Output, Packed

KEPT = 8  # values that the build function has read
KEPT_BYTES = 256_000_000


class Handover:
    """The values of one execution's nodes. Any method from any thread."""

    def __init__(self, ws: Workspace, run_id: str) -> None:
        self._ws = ws
        self._run_id = run_id
        self._logs = tasks.logs_of(ws, run_id)
        self._place = tasks.place_of(ws)
        self._lock = threading.Lock()
        self._pending: dict[str, bytes] = {}
        self._tables = _Kept()
        self._read = _Kept()
        self._wholes = _Kept()  # nobody's: parts are copied out of them
        self._everywhere = not tasks.in_memory(ws)

    def took(self, node: Node, packed: Packed | None, live: tuple[Any, ...]) -> None:
        """A step gave this value; live: the value itself, where it ran here, or has no stored form."""
        if packed is None:
            node.live = live
            return
        node.output = packed.output
        if packed.data is not None:
            with self._lock:
                self._pending[packed.output.digest] = packed.data
        if not live:
            return
        if values.unchanging(live[0]):
            node.live = live
        elif values.is_table(live[0]):
            with self._lock:
                self._tables.put(packed.output, live[0].clone())

    def stored(self, output: Output) -> None:
        """The store has its bytes now."""
        with self._lock:
            self._pending.pop(output.digest, None)

    def spec(self, node: Node, *, here: bool) -> tasks.TaskSpec:
        """The node's next try as a task. here: in this process."""
        return tasks.TaskSpec(
            node.step,
            {name: self._argument(each, here=here) for name, each in node.arguments.items()},
            None if here else self._place,
            self._run_id,
            node.id,
            node.attempt,
            f"{self._logs}/{tasks.log_name(node.id)}",
            node.env,
            node.code if node.key is not None else "",
        )

    def _argument(self, given: Any, *, here: bool) -> Any:
        """An argument as a task takes it: in this process as values, for another one as descriptions."""

        def one(leaf: Any) -> Any:
            if isinstance(leaf, Ref):
                node, path = node_of(leaf), path_of(leaf)
                if here or node.output is None:
                    return tasks.Live(self._fresh(node, path))
                return tasks.Given(node.output, path, self._bytes(node.output))
            return tasks.Live(values.own(leaf)) if here and type(leaf) is not tasks.Secret else leaf

        return replaced(given, one)

    def read(self, node: Node, path: tuple[Any, ...]) -> Any:
        """For the build function: the same object each time, and no step's."""
        if node.live and (node.output is None or values.unchanging(node.live[0])):
            return values.part(node.live[0], path)
        assert node.output is not None
        with self._lock:
            found = self._read.get(node.output)
        if found is None:
            found = (self._loaded(node.output),)
            with self._lock:
                self._read.put(node.output, found[0])
        return values.part(found[0], path)

    def _fresh(self, node: Node, path: tuple[Any, ...]) -> Any:
        if node.live:
            part = values.part(node.live[0], path)
            return part if node.output is not None else values.own(part)
        assert node.output is not None
        return values.own(self._part(node.output, path)) if path else self._loaded(node.output)

    def part_digest(self, node: Node, path: tuple[Any, ...]) -> str | None:
        """The digest of a part of the node's value: what a step that gets only this part is keyed by.

        None where the part has no stored form.
        """
        assert node.output is not None
        packed = values.pack(self._part(node.output, path))
        return None if packed is None else packed.output.digest

    def _part(self, output: Output, path: tuple[Any, ...]) -> Any:
        """A part of a value that is loaded once for all its parts: a map over thousands takes each element of one."""
        with self._lock:
            found = self._wholes.get(output)
        if found is None:
            found = (self._loaded(output),)
            with self._lock:
                self._wholes.put(output, found[0])
        return values.part(found[0], path)

    def _loaded(self, output: Output) -> Any:
        with self._lock:
            found = self._tables.get(output)
            data = self._pending.get(output.digest)
        return found[0].clone() if found is not None else values.load(output, self._ws, data)

    def _bytes(self, output: Output) -> bytes | None:
        """What another process needs besides the description."""
        with self._lock:
            data = self._pending.get(output.digest)
        if data is None and output.blob is not None and not self._everywhere:
            return self._ws.store.get(output.blob)
        return data


class _Kept:
    """The values used last, as many as there is room for; the newest always."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._size_bytes = 0

    def get(self, output: Output) -> tuple[Any] | None:
        found = self._values.get(output.digest)
        if found is None:
            return None
        self._values.move_to_end(output.digest)
        return (found[0],)

    def put(self, output: Output, value: Any) -> None:
        if output.digest in self._values:
            return
        self._values[output.digest] = (value, output.size_bytes)
        self._size_bytes += output.size_bytes
        while len(self._values) > 1 and (len(self._values) > KEPT or self._size_bytes > KEPT_BYTES):
            _, (_, size_bytes) = self._values.popitem(last=False)
            self._size_bytes -= size_bytes
