"""Experiments: names under which runs are kept together, with tags of their own. Each change is an event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa

from tidemill.core.errors import BadInput, Conflict, NotFound, nearest
from tidemill.core.graphs.committing import committer_of, reading
from tidemill.core.graphs.schema import experiments
from tidemill.core.graphs.tracked import DEFAULT, EXPERIMENT_EVENT, ms, put_experiment
from tidemill.core.graphs.transacting import Transaction
from tidemill.core.ids import utc_now
from tidemill.core.workspace import Workspace
from tidemill.track import showing

Stage = Literal["active", "deleted"]
NAME_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment. location: where its files shall be, as the client said; kept, and never opened by us."""

    id: int
    name: str
    stage: Stage
    created_ms: int
    updated_ms: int
    location: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:  # what a notebook shows
        return showing.table(("experiment", "name", "stage", "tags"), [(self.id, self.name, self.stage, self.tags)])


def create(ws: Workspace, name: str, *, location: str = "", tags: Mapping[str, str] | None = None) -> Experiment:
    """A new experiment. Raises BadInput for a name that cannot be one, Conflict where it is taken, also by a deleted
    one."""
    _require_name(name)

    def operation(now: Transaction) -> Experiment:
        _require_free(now, name)
        return _made(ws, now, name, location, tags or {})

    return committer_of(ws).call(operation)


def ensure(ws: Workspace, now: Transaction, name: str) -> Experiment:
    """The experiment of that name, made where there is none, in a transaction. Raises BadInput for a deleted one."""
    _require_name(name)
    row = now.link.execute(sa.select(experiments).where(experiments.c.name == name)).mappings().first()
    return _made(ws, now, name, "", {}) if row is None else _require_active(of_row(row))


def get(ws: Workspace, experiment_id: int) -> Experiment:
    """The experiment of that id, deleted or not. Raises NotFound."""
    with reading(ws) as link:
        return _read(link, experiment_id)


def by_name(ws: Workspace, name: str) -> Experiment | None:
    """The experiment of that name, deleted or not."""
    with reading(ws) as link:
        row = link.execute(sa.select(experiments).where(experiments.c.name == name)).mappings().first()
    return None if row is None else of_row(row)


def find(ws: Workspace, name: str) -> Experiment:
    """The experiment of that name. Raises NotFound with the nearest."""
    found = by_name(ws, name)
    if found is None:
        with reading(ws) as link:
            known = list(link.execute(sa.select(experiments.c.name).order_by(experiments.c.id)).scalars())
        raise NotFound(f"no experiment {name!r}; there are {len(known)}.{nearest(name, known)}")
    return found


def rename(ws: Workspace, experiment_id: int, name: str) -> Experiment:
    """Give it another name. Raises Conflict where that is taken."""
    _require_name(name)

    def change(now: Transaction, found: Experiment) -> Experiment:
        _require_active(found)
        if name != found.name:
            _require_free(now, name)
        return replace(found, name=name)

    return _changed(ws, experiment_id, change)


def set_tags(ws: Workspace, experiment_id: int, tags: Mapping[str, str]) -> Experiment:
    """Set tags of it."""
    return _changed(ws, experiment_id, lambda _, found: replace(_require_active(found), tags={**found.tags, **tags}))


def delete_tag(ws: Workspace, experiment_id: int, key: str) -> Experiment:
    """Take a tag away. Raises NotFound where it has none of that name."""

    def change(_: Transaction, found: Experiment) -> Experiment:
        _require_active(found)
        if key not in found.tags:
            raise NotFound(f"experiment {found.id} has no tag {key!r}.{nearest(key, found.tags)}")
        return replace(found, tags={name: value for name, value in found.tags.items() if name != key})

    return _changed(ws, experiment_id, change)


def delete(ws: Workspace, experiment_id: int) -> Experiment:
    """Hide it, and its runs from searches for active ones; `restore` brings it back. Not for the default one."""
    if experiment_id == DEFAULT:
        raise BadInput("the experiment 0 is where runs without one are; it stays")
    return _changed(ws, experiment_id, lambda _, found: replace(_require_active(found), stage="deleted"))


def restore(ws: Workspace, experiment_id: int) -> Experiment:
    """Bring a deleted experiment back."""

    def change(_: Transaction, found: Experiment) -> Experiment:
        if found.stage != "deleted":
            raise BadInput(f"experiment {found.id} is active; only a deleted one can be restored")
        return replace(found, stage="active")

    return _changed(ws, experiment_id, change)


def of_row(row: Mapping[Any, Any]) -> Experiment:
    """An experiment from its row of the table."""
    return Experiment(**{**row, "tags": json.loads(row["tags"])})


def require(now: Transaction, experiment_id: int) -> Experiment:
    """The active experiment of that id, in a transaction. Raises NotFound, BadInput for a deleted one."""
    return _require_active(_read(now.link, experiment_id))


def _changed(ws: Workspace, experiment_id: int, change: Any) -> Experiment:  # Any: (Transaction, Experiment) to one
    def operation(now: Transaction) -> Experiment:
        found = _read(now.link, experiment_id)
        made: Experiment = change(now, found)
        if made == found:
            return found
        made = replace(made, updated_ms=max(ms(utc_now()), found.updated_ms))
        _put(ws, now, made)
        return made

    return committer_of(ws).call(operation)


def _made(ws: Workspace, now: Transaction, name: str, location: str, tags: Mapping[str, str]) -> Experiment:
    last = now.link.execute(sa.select(sa.func.max(experiments.c.id))).scalar_one()
    at = ms(utc_now())
    made = Experiment((DEFAULT if last is None else last) + 1, name, "active", at, at, location, dict(tags))
    _put(ws, now, made)
    return made


def _put(ws: Workspace, now: Transaction, made: Experiment) -> None:
    body = {**asdict(made), "tags": dict(made.tags)}
    now.say(f"experiment/{made.id}", EXPERIMENT_EVENT, body, ws.settings.who)
    put_experiment(now.link, body)


def _read(link: sa.Connection, experiment_id: int) -> Experiment:
    row = link.execute(sa.select(experiments).where(experiments.c.id == experiment_id)).mappings().first()
    if row is None:
        raise NotFound(f"no experiment with id {experiment_id}")
    return of_row(row)


def _require_active(found: Experiment) -> Experiment:
    if found.stage != "active":
        raise BadInput(f"experiment {found.id} ({found.name!r}) is deleted; restore it first")
    return found


def _require_free(now: Transaction, name: str) -> None:
    row = now.link.execute(sa.select(experiments.c.id, experiments.c.stage).where(experiments.c.name == name)).first()
    if row is not None:
        more = "" if row.stage == "active" else ", which is deleted: restore it, or choose another name"
        raise Conflict(f"an experiment {name!r} is there already (id {row.id}){more}")


def _require_name(name: str) -> None:
    if not name.strip() or len(name) > NAME_LENGTH or "\x00" in name:
        raise BadInput(f"experiment name {name[:60]!r}: give 1 to {NAME_LENGTH} characters that are not all blank")
