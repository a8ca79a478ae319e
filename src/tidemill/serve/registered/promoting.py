"""Moving an alias for a reason: what was asked of the version stands in the event; of two who move at once, one does.

Gates are functions of the candidate and of the version that the alias points at. Where one fails, the alias stays
where it is, and an event "refused" says why. An alias that is protected is moved through its gates by everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from tidemill.core.errors import BadInput, NotFound, Refused
from tidemill.core.ids import iso
from tidemill.core.types import Event, ModelVersion, Run
from tidemill.core.workspace import Workspace
from tidemill.serve import registry
from tidemill.serve.registered import states

REFUSED, APPROVED = "refused", "approved"  # kinds of events
WAYS: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda seen, bound: seen >= bound,
    ">": lambda seen, bound: seen > bound,
    "<=": lambda seen, bound: seen <= bound,
    "<": lambda seen, bound: seen < bound,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a gate saw. seen: in words."""

    gate: str
    passed: bool
    seen: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition on a candidate. way, bound: of a metric; against the current version where bound is None, whose
    metric plus `margin` is the bound then. what: "metric" or "approval"."""

    what: str
    metric: str = ""
    way: str = ""
    bound: float | None = None
    margin: float = 0.0


def metric(name: str, way: str, bound: float) -> Gate:
    """The candidate's score on its test rows: metric("auc", ">=", 0.75). Raises BadInput for an unknown way."""
    if way not in WAYS:
        raise BadInput(f"gate {name!r}: {way!r} compares nothing; use one of {', '.join(WAYS)}")
    return Gate("metric", name, way, float(bound))


def better(name: str, way: str = ">", *, by: float = 0.0) -> Gate:
    """Better than the version that the alias points at: better("log_loss", "<", by=0.001). The first passes."""
    return Gate("metric", metric(name, way, 0.0).metric, way, None, by)


def approval() -> Gate:
    """Approved by somebody other than whoever trained or registered it."""
    return Gate("approval")


def approve(ws: Workspace, name: str, version: int, *, note: str = "") -> Event:
    """Approve a version, as whoever acts. Raises NotFound."""
    found = registry.get(ws, name, version)
    body = {"version": found.version, "note": note, "at": iso(ws.now)}
    return ws.graph.record(_subject(found), APPROVED, body, actor=ws.settings.who)


def protect(ws: Workspace, name: str, alias: str, gates: Sequence[Gate]) -> Event:
    """From now on the alias moves through these gates only; none: it is free again."""
    key = states.resolved(ws, name)
    body = {"gates": [asdict(gate) for gate in gates], "at": iso(ws.now)}
    return ws.graph.record(f"model/{key}@{alias}", states.PROTECTED, body, actor=ws.settings.who)


def gates_of(ws: Workspace, name: str, alias: str) -> list[Gate]:
    """The gates that protect an alias."""
    said = ws.graph.events(f"model/{states.resolved(ws, name)}@{alias}", kind=states.PROTECTED)
    return [Gate(**gate) for gate in said[-1].body["gates"]] if said else []


def promote(
    ws: Workspace,
    name: str,
    version: int,
    *,
    alias: str = registry.CHAMPION,
    gates: Sequence[Gate] = (),
    why: str,
    expect: int | None = None,
) -> Event:
    """Point the alias at a version that passes these gates and those that protect the alias.

    Raises Refused, with what each failing gate saw, where one fails: the alias stays. Raises Conflict where the alias
    moved while the gates looked: of concurrent promotions one wins. expect: the number of the alias's last event (0:
    none), where the caller has decided upon it.
    """
    candidate = registry.get(ws, name, version)
    subject = f"model/{candidate.name}@{alias}"
    said = ws.graph.events(subject)  # before any gate looks: what is said meanwhile is seen as a conflict
    asked = [*gates_of(ws, name, alias), *gates]
    findings: list[Finding] = []
    if asked:
        moves = [event for event in said if event.kind == "alias"]
        at = moves[-1].body["version"] if moves else None
        current = None if at is None else registry.get(ws, name, int(at))
        findings = [_found(ws, gate, candidate, current) for gate in asked]
        if not all(each.passed for each in findings):
            body = {"version": version, "why": why, "at": iso(ws.now), "evidence": [asdict(each) for each in findings]}
            ws.graph.record(subject, REFUSED, body, actor=ws.settings.who)
            failed = "; ".join(f"{each.gate}: {each.seen}" for each in findings if not each.passed)
            raise Refused(f"{name}@{version} is not promoted to {alias!r}: {failed}")
        expect = (said[-1].seq if said else 0) if expect is None else expect
    evidence = [asdict(each) for each in findings]
    return registry.alias(ws, name, alias, version, why=why, evidence=evidence, expect=expect)


def rollback(ws: Workspace, name: str, *, alias: str = registry.CHAMPION, why: str) -> Event:
    """Point the alias at the version that it pointed at before the one of now. Raises NotFound where there is none."""
    moves = registry.moves(ws, name, alias)
    here = moves[-1].body["version"] if moves else None
    there = {each.version for each in registry.models(ws, name)}
    for event in reversed(moves):
        at = event.body["version"]
        if at in there and at != here:
            evidence = [{"rolled_back": here, "of_event": moves[-1].seq}]
            return registry.alias(ws, name, alias, int(at), why=why, evidence=evidence)
    raise NotFound(
        f"alias {alias!r} of model {name!r} pointed at no other version before; `tidemill model list` lists them"
    )


def _found(ws: Workspace, gate: Gate, candidate: ModelVersion, current: ModelVersion | None) -> Finding:
    if gate.what == "approval":
        return _approved(ws, candidate)
    name = f"{gate.metric} {gate.way} {gate.bound:g}" if gate.bound is not None else f"{gate.metric} {gate.way} current"
    seen = _metrics(ws, candidate).get(gate.metric)
    if seen is None:
        return Finding(name, False, f"{candidate.artifact.label} has no metric {gate.metric!r}")
    bound = gate.bound
    if bound is None:
        if current is None:
            return Finding(name, True, f"{seen:g}, and there is no current version")
        had = _metrics(ws, current).get(gate.metric)
        if had is None:
            return Finding(name, False, f"{seen:g}, but {current.artifact.label} has no such metric to compare with")
        bound = had + gate.margin if gate.way.startswith(">") else had - gate.margin
    return Finding(name, WAYS[gate.way](seen, bound), f"{seen:g} {gate.way} {bound:g}")


def _approved(ws: Workspace, candidate: ModelVersion) -> Finding:
    said = ws.graph.events(_subject(candidate), kind=APPROVED)
    makers = _makers(ws, candidate)
    others = [event.actor for event in said if event.actor not in makers]
    if others:
        return Finding("approval", True, f"by {', '.join(dict.fromkeys(others))}")
    if said:
        return Finding("approval", False, f"by {said[-1].actor} alone, who made it; somebody else has to")
    return Finding("approval", False, "by nobody yet")


def _makers(ws: Workspace, candidate: ModelVersion) -> set[str]:
    """Who trained and who registered it."""
    found = set()
    for run_id in (candidate.artifact.run_id, candidate.artifact.meta.get("run")):
        try:
            run = ws.graph.get(str(run_id or ""))
        except (NotFound, BadInput):
            continue
        if isinstance(run, Run):
            found.add(run.actor)
    return found


def _metrics(ws: Workspace, version: ModelVersion) -> dict[str, float]:
    """Its scores at registration; else the last metrics of the run that made it."""
    if version.metrics:
        return {key: float(value) for key, value in version.metrics.items()}
    run_id = str(version.artifact.meta.get("run") or "")
    return {point.key: point.value for point in ws.graph.series(run_id)} if run_id else {}


def _subject(version: ModelVersion) -> str:
    return f"model/{version.name}@{version.version}"
