"""Who answers a deployment's requests: champion, canary and shadow, loaded, and which of them a row goes to.

A lineup never changes; a reload makes the next one and swaps it in whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from tidemill.core.errors import NotFound
from tidemill.core.types import Artifact, Deployment, Event, Query, Traffic
from tidemill.core.workspace import Workspace
from tidemill.serve import packages
from tidemill.serve.packages import Package


@dataclass(frozen=True, slots=True)
class Member:
    """One revision that is loaded."""

    revision: int
    model_id: str
    package: Package


@dataclass(frozen=True, slots=True)
class Lineup:
    """The loaded revisions of a deployment under one traffic event. seq: of that event."""

    deployment: str
    traffic: Traffic
    seq: int
    members: Mapping[int, Member] = field(repr=False)

    @property
    def champion(self) -> Member:
        """Who answers by default."""
        return self.members[self.traffic.champion]

    @property
    def shadow(self) -> Member | None:
        """Who is asked too, and not heard."""
        return None if self.traffic.shadow is None else self.members[self.traffic.shadow]

    def answers(self, row_key: str) -> Member:
        """The revision that answers a row: the same one for the same key, as long as the canary is the same."""
        if self.traffic.canary is None:
            return self.champion
        canary = self.members[self.traffic.canary]
        return canary if part_of(self.deployment, canary.revision, row_key) < self.traffic.share else self.champion


def part_of(deployment: str, revision: int, row_key: str) -> float:
    """Where a row key falls in [0, 1): rows below the canary's share go to it; a growing share keeps those it has."""
    hashed = hashlib.sha256(f"{deployment}|{revision}|{row_key}".encode()).digest()
    return (int.from_bytes(hashed[:8], "big") >> 11) / (1 << 53)


def prediction_id(deployment: str, row_key: str) -> str:
    """The id of the answer for a row key: 32 hexadecimal digits, the same when the request is repeated."""
    return hashlib.sha256(f"{deployment}|{row_key}".encode()).hexdigest()[:32]


def last_traffic(ws: Workspace, name: str) -> Event:
    """The last traffic event of a deployment; NotFound where there is none."""
    for event in ws.graph.events(f"deployment/{name}", kind="traffic", last=1):
        return event
    raise NotFound(
        f"no deployment {name!r}; make one with mill.deploy(model, name={name!r}), see `tidemill deployment list`"
    )


def revision(ws: Workspace, name: str, number: int | None = None) -> Deployment:
    """One revision of a deployment, the newest by default; NotFound otherwise."""
    for found in ws.graph.find(Query("artifact", kind="deployment", name=name, version=number, limit=1)):
        assert isinstance(found, Artifact)
        return Deployment(found)
    raise NotFound(
        f"deployment {name!r} has no revision" + (f" {number}" if number else "") + "; see `tidemill deployment show`"
    )


def load(ws: Workspace, name: str, before: Lineup | None = None) -> Lineup:
    """The lineup under the deployment's last traffic event; packages that `before` has loaded are taken over.

    Raises NotFound for an unknown deployment or revision, and whatever `packages.load` raises.
    """
    event = last_traffic(ws, name)
    if before is not None and before.seq == event.seq:
        return before
    traffic = Traffic.of(event.body)
    members: dict[int, Member] = {}
    for number in (traffic.champion, traffic.canary, traffic.shadow):
        if number is None or number in members:
            continue
        if before is not None and number in before.members:
            members[number] = before.members[number]
        else:
            found = revision(ws, name, number)
            members[number] = Member(number, found.model_id, packages.load(ws, str(found.artifact.meta["package"])))
    return Lineup(name, traffic, event.seq, members)
