"""One node of an execution as it goes along: a call of a step, what it waits for, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tidemill.core.errors import Cancelled
from tidemill.core.ids import iso
from tidemill.core.locks import Lease
from tidemill.flow.steps import Step
from tidemill.flow.values import Output

State = Literal["waiting", "running", "done", "cached", "failed", "skipped", "parked", "cancelled"]
ENDED = ("done", "cached", "failed", "skipped", "cancelled")
GOOD = ("done", "cached")
MAX_TEXT = 4000


@dataclass(slots=True, eq=False)
class Node:
    """See the module. waits: how many nodes it waits for. source: the run that made its output. live: its value in
    a box, where that has no stored form, or nobody can change it. env: the variables that its key speaks of."""

    id: str
    step: Step[..., Any]
    arguments: Mapping[str, Any]
    deps: tuple[Node, ...] = ()
    waits: int = 0
    state: State = "waiting"
    attempt: int = 0
    key: str | None = None
    again: str = ""  # what a resumed execution knows it by, where it has no key
    why: str = ""
    output: Output | None = None
    live: tuple[Any, ...] = ()
    env: Mapping[str, str | None] = field(default_factory=dict)
    error: BaseException | None = None
    trace: str = ""
    fresh: bool = False  # computed anew, whatever is known of its key
    seen: bool = False  # the build function was told of its error
    started_at: datetime | None = None
    ended_at: datetime | None = None
    source: str | None = None
    artifact: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    code: str = ""  # digest of what its key says that its step reaches
    log: str | None = None
    printed: bool = False
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0
    lease: Lease | None = None
    task: Any = None
    then: list[Node] = field(default_factory=list)
    twins: list[Node] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ENDED

    def cause(self) -> Node:
        """The failed node for which this one was skipped; itself where it was not."""
        node = self
        while node.state == "skipped":
            node = next(each for each in node.deps if each.state not in GOOD)
        return node

    def release(self) -> None:
        """Give its key's lease back."""
        held, self.lease = self.lease, None
        if held is not None:
            with suppress(Exception):  # what cannot be given back goes with the process or its session
                held.release()

    def to_json(self) -> dict[str, Any]:
        """As the events tell of it; what is absent is nothing."""
        needs = self.step.options.needs
        made: dict[str, Any] = {
            "node": self.id,
            "step": self.step.name,
            "state": self.state,
            "deps": [each.id for each in self.deps],
            "key": self.key,
            "again": self.again,
            "why": self.why,
            "attempt": self.attempt,
            "run": self.source,
            "output": None if self.output is None else self.output.to_json(),
            "started_at": None if self.started_at is None else iso(self.started_at),
            "ended_at": None if self.ended_at is None else iso(self.ended_at),
            "log": self.log,
            "error": None if self.error is None else shown(self.error),
            "trace": clean(self.trace[-MAX_TEXT:]),
            "cpu_s": round(self.cpu_s, 4),
            "wall_s": round(self.wall_s, 4),
            "peak_bytes": self.peak_bytes,
        }
        if needs.cpu != 1.0 or needs.gpu or needs.memory_bytes:
            made["needs"] = [needs.cpu, needs.gpu, needs.memory_bytes]
        return {name: value for name, value in made.items() if value not in (None, "", 0, 0.0, [])}

    def __str__(self) -> str:
        return self.id


def counts(nodes: Iterable[Node]) -> dict[str, float]:
    """How many of them ended how."""
    return {state: float(count) for state, count in Counter(node.state for node in nodes).items()}


def unseen_error(nodes: Iterable[Node]) -> BaseException | None:
    """The error of the first of them that failed without the build function having been told; Cancelled for one that
    was cancelled."""
    for node in nodes:
        if node.state == "failed" and not node.seen:
            return node.error
        if node.state == "cancelled":
            return Cancelled(f"{node.id} was cancelled")
    return None


def shown(error: BaseException) -> str:
    """An error as one text."""
    try:
        text = str(error)
    except Exception as other:  # the user's __str__
        text = f"(its text cannot be made: {type(other).__name__})"
    return clean(f"{type(error).__name__}: {text}"[:MAX_TEXT])


def clean(text: str) -> str:
    """The text as every database takes it: without NUL and halves of surrogate pairs."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")
