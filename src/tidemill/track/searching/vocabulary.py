"""What may be searched of runs, experiments, models and versions: fields, their other names, how each is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tidemill.core.errors import BadInput, nearest

Holds = Literal["number", "text", "whole", "any"]  # whole: a number without a fraction, also one in quotes
NUMBERS = ("=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN")
TEXTS = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
NULLS = ("IS NULL", "IS NOT NULL")


@dataclass(frozen=True, slots=True)
class Field:
    """Something that is compared or ordered by. entity: "metric", "param", "tag", "attribute", "dataset" or "lineage";
    key: its name within that."""

    entity: str
    key: str
    holds: Holds
    operators: tuple[str, ...]

    @property
    def shown(self) -> str:
        """As a person reads it."""
        return self.key if self.entity == "attribute" else f"{self.entity} {self.key!r}"


@dataclass(frozen=True, slots=True)
class Attribute:
    """How a field compares. operators: those that it takes; none where it is ordered by only."""

    holds: Holds
    operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a filter of one kind of thing may name. entities: by each of their names, the entity's own; free: those
    whose keys anybody may make up, with how they compare; fixed: attributes of the others."""

    example: str
    entities: Mapping[str, str]
    free: Mapping[str, Attribute]
    fixed: Mapping[str, Mapping[str, Attribute]]
    aliases: Mapping[str, str]

    def field(self, entity: str, key: str) -> Field:
        """The field of that name, to search by. Raises BadInput with what there is."""
        found = self._field(entity, key)
        if not found.operators:
            known = [name for name, each in self.fixed[found.entity].items() if each.operators]
            raise BadInput(f"{found.shown} is ordered by, not searched; search by {', '.join(known)} or tags")
        return found

    def order(self, entity: str, key: str) -> Field:
        """The field of that name, to order by. Raises BadInput for one that has many values."""
        found = self._field(entity, key)
        if found.entity in ("dataset", "lineage"):
            raise BadInput(f"no order by {found.shown}, of which a run may have many; order by {self.example}")
        return found

    def _field(self, entity: str, key: str) -> Field:
        if entity and entity not in self.entities:
            raise BadInput(
                f"no entity {entity!r} in {entity}.{key}; there are {', '.join(self.entities)}."
                f"{nearest(entity, self.entities)} A key with a dot in it is quoted: tags.`a.b`"
            )
        of = self.entities[entity] if entity else "attribute"
        if of in self.free:
            return Field(of, key, self.free[of].holds, self.free[of].operators)
        known = self.fixed[of]
        name = self.aliases.get(key, key) if of == "attribute" else f"{entity}.{key}" if of == "lineage" else key
        if name not in known:
            more = "" if entity else f" What is logged has its entity before it: {self.example}"
            raise BadInput(f"no {of} {key!r}; there are {', '.join(known)}.{nearest(name, known)}{more}")
        return Field(of, name, known[name].holds, known[name].operators)


_TEXT = Attribute("text", TEXTS)
_NUMBER = Attribute("number", NUMBERS)
_LOGGED = Attribute("text", (*TEXTS, *NULLS))

RUNS = Vocabulary(
    example="metrics.loss, params.depth, tags.team or start_time",
    entities={
        **dict.fromkeys(("metrics", "metric"), "metric"),
        **dict.fromkeys(("params", "param", "parameters", "parameter"), "param"),
        **dict.fromkeys(("tags", "tag"), "tag"),
        **dict.fromkeys(("attributes", "attribute", "attr", "run"), "attribute"),
        **dict.fromkeys(("datasets", "dataset"), "dataset"),
        **dict.fromkeys(("data", "labels", "deployed", "git"), "lineage"),
    },
    free={"metric": Attribute("number", (*NUMBERS, *NULLS)), "param": _LOGGED, "tag": _LOGGED},
    fixed={
        "attribute": {
            "run_id": _TEXT,
            "run_name": _TEXT,
            "status": _TEXT,
            "user_id": _TEXT,
            "artifact_uri": _TEXT,
            "start_time": _NUMBER,
            "end_time": Attribute("number", (*NUMBERS, *NULLS)),
        },
        "dataset": dict.fromkeys(("name", "digest", "context"), _TEXT),
        "lineage": dict.fromkeys(("data.version", "labels.version", "deployed.as", "git.commit"), _LOGGED),
    },
    aliases={
        **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name"),
        **dict.fromkeys(("created", "Created"), "start_time"),
    },
)

_TAGS = Attribute("text", (*TEXTS, *NULLS))
_WHOLE = Attribute("whole", NUMBERS)
_ID = Attribute("whole", ("=", "!=", "IN", "NOT IN"))
_ORDER_ONLY = Attribute("whole", ())  # rows can be ordered by it, and are not searched by it
_TAGGED = {
    **dict.fromkeys(("attributes", "attribute", "attr"), "attribute"),
    **dict.fromkeys(("tags", "tag"), "tag"),
}

EXPERIMENTS = Vocabulary(
    example="name, creation_time or tags.team",
    entities=_TAGGED,
    free={"tag": _TAGS},
    fixed={
        "attribute": {"name": _TEXT, "experiment_id": _ID, "creation_time": _WHOLE, "last_update_time": _WHOLE},
    },
    aliases={},
)

MODELS = Vocabulary(
    example="name or tags.team",
    entities=_TAGGED,
    free={"tag": _TAGS},
    fixed={
        "attribute": {"name": _TEXT, "creation_timestamp": _ORDER_ONLY, "last_updated_timestamp": _ORDER_ONLY},
    },
    aliases={"timestamp": "last_updated_timestamp"},
)

VERSIONS = Vocabulary(
    example="name, run_id, version_number or tags.team",
    entities=_TAGGED,
    free={"tag": _TAGS},
    fixed={
        "attribute": {
            "name": _TEXT,
            "version_number": _WHOLE,
            "run_id": _TEXT,
            "source_path": _TEXT,
            "creation_timestamp": _ORDER_ONLY,
            "last_updated_timestamp": _ORDER_ONLY,
        },
    },
    aliases={},
)

LOGGED_MODELS = Vocabulary(
    example="name, metrics.loss, params.depth or tags.team",
    entities={
        **_TAGGED,
        **dict.fromkeys(("metrics", "metric"), "metric"),
        **dict.fromkeys(("params", "param", "parameters", "parameter"), "param"),
    },
    free={"metric": Attribute("number", (*NUMBERS, *NULLS)), "param": _LOGGED, "tag": _TAGS},
    fixed={
        "attribute": {
            **dict.fromkeys(("name", "model_id", "model_type", "status", "source_run_id"), _TEXT),
            **dict.fromkeys(("creation_timestamp", "last_updated_timestamp"), _NUMBER),
        },
    },
    aliases={
        **dict.fromkeys(("creation_time", "creation_timestamp_ms"), "creation_timestamp"),
        **dict.fromkeys(("last_updated_time", "last_updated_timestamp_ms"), "last_updated_timestamp"),
    },
)
