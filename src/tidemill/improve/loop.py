"""The loop: watch, rebuild, compare, shadow, canary, promote or reject, roll back. A state machine on events.

    idle --trigger--> shadow --better--> canary --as good--> probation --no worse--> idle
                        |                  |                     |
                        +---- rejected ----+                     +---- rolled back

Each tick is at one moment of the workspace's clock and idempotent: what it decides is an event of subject
"loop/<deployment>" with a key of that moment, the state is the last one, and a tick that was killed is done again to
the same end. The model is compared once, on rows that it was not trained on: those held out at its making and those
of its time in the shadow, paired row by row with the champion's answers and clustered by day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from tidemill.core.errors import BadInput, NotEnoughRows
from tidemill.core.ids import iso, parse_time
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, Deployment, Event, ModelVersion, Traffic, View
from tidemill.core.workspace import Workspace
from tidemill.improve.challenge import Evidence, compare
from tidemill.improve.triggers import due
from tidemill.improve.watching import watch_day
from tidemill.serve import deploy, registry
from tidemill.train.scoring.compare import LEAST_GROUPS
from tidemill.watch import log
from tidemill.watch.alerts import alerts
from tidemill.watch.monitor import Monitor

Phase = Literal["idle", "shadow", "canary", "probation"]
Named = tuple[str, Artifact | View]
OVERRULED = "overruled"


@dataclass(frozen=True, slots=True)
class Better:
    """The rule of promotion: better on the same rows by a paired test. See `better`."""

    alpha: float = 0.05
    score: str = "log_loss"


def better(*, alpha: float = 0.05, score: str = "log_loss") -> Better:
    """Promote only what is significantly better: two-sided paired test at `alpha` of "log_loss", "brier" or "auc"."""
    return Better(alpha, score)


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """A loop: what to rebuild with, when, and how carefully to roll out.

    build: makes a model of what is known at a moment. on_alerts: kinds of alert that trigger a rebuild (drifted inputs
    are told, but without decay they are no reason); monthly: so does a month's truth, truth_days after the month's end;
    cooldown_days: not sooner after the last rebuild. approve "human": a promotion waits for `approve`.
    """

    deployment: str
    build: Callable[[datetime], ModelVersion]
    monitor: Monitor
    promote: Better = Better()
    approve: Literal["auto", "human"] = "auto"
    on_alerts: tuple[str, ...] = ("performance", "score drift")
    monthly: bool = True
    truth_days: int = 2
    cooldown_days: int = 14
    shadow_days: int = 6
    canary_days: int = 2
    canary_share: float = 0.1
    probation_days: int = 10

    def __post_init__(self) -> None:
        if self.probation_days < LEAST_GROUPS:
            raise BadInput(
                f"probation_days is {self.probation_days}; two models are compared by days, on at least {LEAST_GROUPS}"
            )


@dataclass(frozen=True, slots=True)
class Decision:
    """One step of the loop, as it was recorded."""

    kind: str
    at: datetime
    text: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """Where the loop stands. challenger and champion are revisions; since: when this phase began."""

    phase: Phase
    since: datetime | None
    champion: int
    challenger: int | None = None
    held_from: datetime | None = None
    rebuilt_at: datetime | None = None
    waiting: bool = False


def subject(deployment: str) -> str:
    """Of the loop's events."""
    return f"loop/{deployment}"


def ticked(ws: Workspace, deployment: str, now: datetime) -> bool:
    """Whether the tick of that moment is done."""
    last = ws.graph.events(subject(deployment), kind="ticked", last=1)
    return bool(last) and str(last[0].body["at"]) >= iso(now)


def decisions(ws: Workspace, deployment: str) -> list[Decision]:
    """All that the loop decided, oldest first."""
    return [_decision(event) for event in ws.graph.events(subject(deployment)) if event.kind != "ticked"]


def approve(ws: Workspace, deployment: str, *, who: str, why: str = "") -> Event:
    """A person's yes to the promotion that waits."""
    return ws.graph.record(subject(deployment), "approved", {"at": iso(ws.now), "text": why or "approved"}, actor=who)


def tick(ws: Workspace, spec: LoopSpec, now: datetime) -> list[Decision]:
    """Take in what was answered and proved until `now`, check the day that ends, and take at most one step."""
    if ticked(ws, spec.deployment, now):
        return []
    ws = ws.at(now)
    name = spec.deployment
    last, state = _last(ws, name), state_of(ws, name)
    moved = ws.graph.events(f"deployment/{name}", kind="traffic", last=1)[0]
    log.compact(ws, name)
    made: list[Decision] = []
    if last is not None and moved.seq < last.seq and last.kind != OVERRULED:
        _set(ws, spec, state, str(last.body["text"]))  # a tick that was killed may have decided without acting
    if last is None or str(last.body["at"]) != iso(now):  # else it was killed after its decision, the day is checked
        watch_day(ws, spec.monitor, now - timedelta(days=1), _model(ws, name, state.champion), state.champion)
        by_hand = last is not None and moved.seq > last.seq and Traffic.of(moved.body) != _traffic(spec, state)
        made = [_overruled(ws, spec, state, now, moved)] if by_hand else _step(ws, spec, state, now)
    raised = [one.text for one in alerts(ws, name, since=now, until=now)]
    ws.graph.record(subject(name), "ticked", {"at": iso(now), "alerts": raised}, key=f"{subject(name)}/{iso(now)}")
    return made


def state_of(ws: Workspace, deployment: str) -> State:
    """The state that the last decision left; idle with the deployed champion before the first."""
    last = _last(ws, deployment)
    if last is not None:
        kept = dict(last.body["state"])
        times = {each: kept[each] and parse_time(kept[each]) for each in ("since", "held_from", "rebuilt_at")}
        return State(**{**kept, **times})
    first = ws.graph.events(f"deployment/{deployment}", kind="traffic")
    return State("idle", None, Traffic.of(first[-1].body).champion)


# ------------------------------------------------------------------------------------------------------------ steps


def _step(ws: Workspace, spec: LoopSpec, state: State, now: datetime) -> list[Decision]:
    waited = timedelta(0) if state.since is None else now - state.since
    if state.phase == "idle":
        why = due(ws, spec, state.rebuilt_at, now)
        return [] if why is None else [_rebuild(ws, spec, state, now, why)]
    if state.phase == "shadow" and waited >= timedelta(days=spec.shadow_days):
        return [_judge(ws, spec, state, now)]
    if state.phase == "canary" and waited >= timedelta(days=spec.canary_days):
        return _finish_canary(ws, spec, state, now)
    if state.phase == "probation" and waited >= timedelta(days=spec.probation_days):
        return [_end_probation(ws, spec, state, now)]
    return []


def _overruled(ws: Workspace, spec: LoopSpec, state: State, now: datetime, moved: Event) -> Decision:
    """Somebody else moved the traffic: it stays as he set it, and the loop begins anew from his champion."""
    idle = State("idle", now, Traffic.of(moved.body).champion, None, None, state.rebuilt_at)
    text = f"{moved.actor} moved the traffic ({moved.body.get('why', 'no reason given')}): the loop begins anew"
    return _record(ws, spec, idle, now, OVERRULED, text, {"traffic": Traffic.of(moved.body).body()})


def _rebuild(ws: Workspace, spec: LoopSpec, state: State, now: datetime, why: str) -> Decision:
    champion = _model(ws, spec.deployment, state.champion)
    with recorded(ws, "improve.rebuild", spec.deployment, inputs=[("champion", champion)], params={"why": why}) as run:
        model = spec.build(now)
        run.link_output(model.artifact, "model")
    if model.digest == champion.digest:
        kept = replace(state, rebuilt_at=now)
        return _record(ws, spec, kept, now, "unchanged", f"{why}: the rebuilt model is the champion", {})
    revision = deploy.add_revision(ws, spec.deployment, model).revision
    held = parse_time(str(model.artifact.meta["test_from"]))
    new = State("shadow", now, state.champion, revision, held, now)
    return _record(ws, spec, new, now, "shadow", f"{why}: {model.artifact.label} rebuilt, in the shadow", {})


def _judge(ws: Workspace, spec: LoopSpec, state: State, now: datetime) -> Decision:
    evidence = _compare(ws, spec, state, now, "improve.challenge")
    new = State("canary", now, state.champion, state.challenger, state.held_from, state.rebuilt_at)
    if evidence is not None and evidence.paired.better:
        text = f"better ({evidence.text}): answers {spec.canary_share:.0%}"
        return _record(ws, spec, new, now, "canary", text, evidence.as_json())
    said = "too few labelled rows" if evidence is None else evidence.text
    return _reject(ws, spec, state, now, f"not better ({said})", {} if evidence is None else evidence.as_json())


def _finish_canary(ws: Workspace, spec: LoopSpec, state: State, now: datetime) -> list[Decision]:
    assert state.since is not None
    seen = log.predictions(
        ws,
        spec.deployment,
        since=state.since,
        until=now,
        roles=("canary",),
        columns=["error", "latency_s"],
        pending=False,
    )
    failed = seen["error"].is_not_null().sum()
    slow = float(seen["latency_s"].quantile(0.95) or 0.0) * 1000 if seen.height else 0.0
    facts = {"answers": seen.height, "errors": int(failed), "p95_ms": slow}
    if failed > spec.monitor.max_error_share * max(seen.height, 1):
        return [_reject(ws, spec, state, now, f"{failed} of {seen.height} answers of the canary failed", facts)]
    evidence = _compare(ws, spec, state, now, "improve.canary")
    if evidence is None or evidence.paired.worse:
        said = "too few labelled rows" if evidence is None else evidence.text
        return [_reject(ws, spec, state, now, f"worse as canary ({said})", facts)]
    if spec.approve == "human" and not _approved(ws, spec.deployment, state.since):
        if state.waiting:
            return []
        text = f"waits for a person to approve ({evidence.text})"
        return [_record(ws, spec, replace(state, waiting=True), now, "waiting", text, evidence.as_json())]
    return [_promote(ws, spec, state, now, evidence)]


def _promote(ws: Workspace, spec: LoopSpec, state: State, now: datetime, evidence: Evidence) -> Decision:
    assert state.challenger is not None
    model = _model(ws, spec.deployment, state.challenger)
    before = _model(ws, spec.deployment, state.champion)
    inputs: list[Named] = [("challenger", model), ("champion", before), ("evidence", evidence.report)]
    with recorded(ws, "improve.promote", spec.deployment, inputs=inputs):
        registry.alias(
            ws,
            model.name,
            registry.CHAMPION,
            model.version,
            why=evidence.text,
            key=f"alias/{spec.deployment}/{iso(now)}",
        )
    new = State("probation", now, state.challenger, state.champion, now, state.rebuilt_at)
    text = f"{model.artifact.label} takes over from {before.artifact.label} ({evidence.text})"
    return _record(ws, spec, new, now, "promoted", text, evidence.as_json())


def _end_probation(ws: Workspace, spec: LoopSpec, state: State, now: datetime) -> Decision:
    """The former champion went on in the shadow; is the new one worse than it?"""
    assert state.challenger is not None
    evidence = _compare(ws, spec, state, now, "improve.probation")
    after = State("idle", now, state.champion, None, None, state.rebuilt_at)
    if evidence is None or not evidence.paired.better:
        said = "too few labelled rows" if evidence is None else evidence.text
        return _record(ws, spec, after, now, "kept", f"no worse than the one before ({said})", {})
    former = _model(ws, spec.deployment, state.challenger)
    failed = _model(ws, spec.deployment, state.champion)
    inputs: list[Named] = [("back_to", former), ("from", failed), ("evidence", evidence.report)]
    with recorded(ws, "improve.rollback", spec.deployment, inputs=inputs):
        registry.alias(
            ws,
            former.name,
            registry.CHAMPION,
            former.version,
            why=evidence.text,
            key=f"alias/{spec.deployment}/{iso(now)}",
        )
    back = replace(after, champion=state.challenger)
    text = f"{failed.artifact.label} proved worse: back to {former.artifact.label} ({evidence.text})"
    return _record(ws, spec, back, now, "rolled back", text, evidence.as_json())


def _reject(
    ws: Workspace, spec: LoopSpec, state: State, now: datetime, text: str, facts: Mapping[str, Any]
) -> Decision:
    assert state.challenger is not None
    model = _model(ws, spec.deployment, state.challenger)
    with recorded(ws, "improve.reject", spec.deployment, inputs=[("challenger", model)], params={"why": text}):
        pass
    idle = State("idle", now, state.champion, None, None, state.rebuilt_at)
    return _record(ws, spec, idle, now, "rejected", f"{model.artifact.label} {text}", facts)


# ----------------------------------------------------------------------------------------------------------- inside


def _compare(ws: Workspace, spec: LoopSpec, state: State, now: datetime, kind: str) -> Evidence | None:
    assert state.challenger is not None
    assert state.held_from is not None
    assert state.since is not None
    try:
        return compare(
            ws,
            spec.deployment,
            champion=(state.champion, _model(ws, spec.deployment, state.champion)),
            challenger=(state.challenger, _model(ws, spec.deployment, state.challenger)),
            since=state.held_from,
            until=now,
            alpha=spec.promote.alpha,
            score=spec.promote.score,
            kind=kind,
        )
    except NotEnoughRows:
        return None


def _traffic(spec: LoopSpec, state: State) -> Traffic:
    if state.phase == "canary":
        return Traffic(state.champion, state.challenger, spec.canary_share, state.challenger)
    return Traffic(state.champion, None, 0.0, state.challenger)


def _set(ws: Workspace, spec: LoopSpec, state: State, why: str) -> None:
    wanted = _traffic(spec, state)
    events = ws.graph.events(f"deployment/{spec.deployment}", kind="traffic", last=1)
    if Traffic.of(events[0].body) != wanted:
        deploy.set_traffic(ws, spec.deployment, wanted, why=why, actor="loop")


def _record(
    ws: Workspace, spec: LoopSpec, new: State, now: datetime, kind: str, text: str, evidence: Mapping[str, Any]
) -> Decision:
    """The event is the decision; the traffic follows it."""
    times = {
        each: None if (at := getattr(new, each)) is None else iso(at) for each in ("since", "held_from", "rebuilt_at")
    }
    state = {each: getattr(new, each) for each in State.__slots__} | times
    body = {"at": iso(now), "text": text, "evidence": dict(evidence), "state": state}
    event = ws.graph.record(
        subject(spec.deployment), kind, body, actor="loop", key=f"{subject(spec.deployment)}/{iso(now)}/decision"
    )
    if kind != OVERRULED:
        _set(ws, spec, new, text)
    return _decision(event)


def _last(ws: Workspace, deployment: str) -> Event | None:
    """The last decision, None before the first."""
    for event in reversed(ws.graph.events(subject(deployment))):
        if "state" in event.body:
            return event
    return None


def _decision(event: Event) -> Decision:
    body = event.body
    return Decision(event.kind, parse_time(str(body["at"])), str(body["text"]), dict(body.get("evidence", {})))


def _approved(ws: Workspace, deployment: str, since: datetime) -> bool:
    return any(str(event.body["at"]) >= iso(since) for event in ws.graph.events(subject(deployment), kind="approved"))


def _model(ws: Workspace, deployment: str, revision: int) -> ModelVersion:
    made: Deployment = deploy.revision(ws, deployment, revision)
    found = ws.graph.get(made.model_id)
    assert isinstance(found, Artifact)
    return ModelVersion(found)
