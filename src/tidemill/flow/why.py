"""Why a step ran: which parts of its key differ from those of the nearest earlier run of that step.

`tidemill why clean` compares the newest run of the step with the one before it that is most alike: a map over 5,000
parts has 5,000 runs of one step, and the one whose input alone differs says nothing about the code that changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.core.errors import NotFound, nearest
from tidemill.core.types import Query, Run
from tidemill.core.workspace import Workspace
from tidemill.flow.states import STEP_KIND, parts_of, read

LOOKED_AT = 200  # earlier runs of the step


@dataclass(frozen=True, slots=True)
class Difference:
    """One part of a key: its name, and what it was and is; None where there was or is none. Digests are shortened."""

    part: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.part} is new"
        if self.new is None:
            return f"{self.part} is gone"
        return f"{self.part} changed: {_short(self.old)} -> {_short(self.new)}"


@dataclass(frozen=True, slots=True)
class Why:
    """See the module. run, before: ids of the runs compared; before is None where there was none with a key.

    text: one line for people. differences: none where the key is equal, or there is no key (reason says why).
    """

    step: str
    run: str
    node: str
    before: str | None
    differences: tuple[Difference, ...]
    reason: str

    @property
    def text(self) -> str:
        """One line for people."""
        if self.reason:
            return f"{self.node} ran: {self.reason}"
        return f"{self.node} ran: {'; '.join(map(str, self.differences))}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "step": self.step,
            "run": self.run,
            "node": self.node,
            "before": self.before,
            "reason": self.reason,
            "differences": [{"part": each.part, "old": each.old, "new": each.new} for each in self.differences],
            "text": self.text,
        }


def why(ws: Workspace, step: str, *, execution: str | None = None) -> Why:
    """Why a step ran and was not taken from the cache.

    step: a step's name ("clean"), or the node of an execution ("clean[3]"). execution: the id of that execution;
    default: the newest in which it ran. Raises NotFound where it never ran, or was taken from the cache there.
    """
    run = _run(ws, step, execution)
    node = str(run.params.get("node", run.name))
    told = str(run.params.get("why", ""))
    mine = parts_of(ws, run)
    if not mine:
        return Why(run.name, run.id, node, None, (), told or "it has no key")
    if run.key is None and told.startswith("cannot be keyed"):
        return Why(run.name, run.id, node, None, (), told)
    before = _nearest(ws, run, mine)
    if before is None:
        return Why(run.name, run.id, node, None, (), "no earlier run of it has a key")
    old, theirs = before
    differences = compare(theirs, mine)
    if differences:
        return Why(run.name, run.id, node, old.id, differences, "")
    if old.status != "done":
        return Why(run.name, run.id, node, old.id, (), f"run {old.id} with the same key ended as {old.status}")
    return Why(run.name, run.id, node, old.id, (), told or f"the result of run {old.id}, with the same key, is gone")


def compare(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Difference, ...]:
    """The parts that differ, by name: code first, then what it finds, then what it was given."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    order = ("code", "helper", "class", "global", "module", "package", "input", "parameter", "environment", "extra")
    found = [Difference(name, old.get(name), new.get(name)) for name in names]
    return tuple(sorted(found, key=lambda each: (_place(each.part, order), each.part)))


def _place(part: str, order: tuple[str, ...]) -> int:
    kind = part.partition(" ")[0]
    return order.index(kind) if kind in order else len(order)


def _run(ws: Workspace, step: str, execution: str | None) -> Run:
    name = step.partition("[")[0].partition("#")[0].rpartition("/")[2]
    before: str | None = None
    if execution is not None:
        state = read(ws, execution)
        nodes = [each for each in state.nodes if step in (each.node, each.step)]
        if not nodes:
            state.node(step)  # raises with the nearest name
        ran = [each for each in nodes if each.state != "cached" and each.run is not None]
        if not ran:
            raise NotFound(
                f"{step} was not run in execution {execution}: it is {nodes[0].state}"
                f"{f', made by run {nodes[0].run}' if nodes[0].run else ''}; ask `tidemill why {name}`"
            )
        found = ws.graph.get(str(ran[0].run))
        assert isinstance(found, Run)
        return found
    while page := ws.graph.find(Query("run", kind=STEP_KIND, name=name, before=before, limit=LOOKED_AT)):
        for each in page:
            if isinstance(each, Run) and step in (each.name, each.params.get("node")):
                return each
        before = page[-1].id
    known = sorted(
        {run.name for run in ws.graph.find(Query("run", kind=STEP_KIND, limit=1000)) if isinstance(run, Run)}
    )
    raise NotFound(f"no step {step!r} was run here.{nearest(step, known)} `tidemill flow runs` lists executions")


def _nearest(ws: Workspace, run: Run, mine: Mapping[str, str]) -> tuple[Run, dict[str, str]] | None:
    """Of the earlier runs of that step, of other executions before this one's, the one with the fewest differences."""
    best: tuple[int, Run, dict[str, str]] | None = None
    inside: tuple[int, Run, dict[str, str]] | None = None
    blobs: dict[str, dict[str, str]] = {}
    for each in ws.graph.find(Query("run", kind=STEP_KIND, name=run.name, before=run.id, limit=LOOKED_AT)):
        assert isinstance(each, Run)
        if "parts" not in each.params:
            continue
        name = str(each.params["parts"])
        if name not in blobs:
            blobs[name] = {part: value for part, value in parts_of(ws, each).items() if part not in _given(each)}
        theirs = {**blobs[name], **_given(each)}
        count = sum(theirs.get(part) != mine.get(part) for part in {**theirs, **mine})
        found = (count, each, theirs)
        if each.parent == run.parent:
            inside = found if inside is None or count < inside[0] else inside
        elif best is None or count < best[0]:
            best = found
    chosen = best or inside
    return None if chosen is None else chosen[1:]


def _given(run: Run) -> dict[str, str]:
    return dict(run.params.get("given", {}))


def _short(part: str) -> str:
    return part.removeprefix("= ") if len(part) < 64 else part[:8]
