"""What may be searched of runs, experiments, models and versions: fields, their other names, how each is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tidemill.core.errors import BadInput, nearest

Holds = Literal["number", "text", "either"]
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
    """A field with a fixed name. operators: those that it takes. ordered: whether rows can be in its order."""

    holds: Holds
    operators: tuple[str, ...]
    ordered: bool = True


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
        """The field of that name. Raises BadInput with what there is."""
        if entity and entity not in self.entities:
            raise BadInput(
                f"no entity {entity!r} in {entity}.{key}; there are {', '.join(self.entities)}."
                f"{nearest(entity, self.entities)} A key with a dot in it is quoted: tags.`a.b`"
            )
        of = self.entities[entity] if entity else "attribute"
        if of in self.free:
            found = self.free[of]
            return Field(of, key, found.holds, found.operators)
        known = self.fixed[of]
        name = self.aliases.get(key, key) if of == "attribute" else f"{entity}.{key}" if of == "lineage" else key
        if name not in known:
            raise BadInput(
                f"no {of} {key!r}; there are {', '.join(known)}.{nearest(key, known)}"
                + ("" if entity else f" What is logged has its entity before it: {self.example}")
            )
        return Field(of, name, known[name].holds, known[name].operators)

    def order(self, entity: str, key: str) -> Field:
        """The field of that name, to order by. Raises BadInput for one that rows cannot be ordered by."""
        found = self.field(entity, key)
        if found.entity in ("dataset", "lineage"):
            raise BadInput(f"runs cannot be ordered by {found.shown}: it has many values; order by an attribute")
        if found.entity in self.fixed and not self.fixed[found.entity][found.key].ordered:
            known = [name for name, each in self.fixed[found.entity].items() if each.ordered]
            raise BadInput(f"no order by {found.shown}; there are {', '.join(known)}")
        return found


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
