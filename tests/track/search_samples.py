"""Random runs and random filters and orders over them, the same for the same seed: JSON values only."""

from __future__ import annotations

import random
from typing import Any

Sample = dict[str, Any]  # Any: JSON values

METRICS = ("loss", "acc", "val loss", "a.b", "é")
PARAMS = ("depth", "model type", "lr")
TAGS = ("team", "mlflow.note", "release")
TEXTS = (
    "red",
    "Red",
    "RED%",
    "green_1",
    "green-1",
    "",
    "a'b",
    "it's",
    "Ünder",
    "ünder",
    "*x*",
    "[ab]",
    "back\\slash",
    "x?",
)
NUMBERS = (0.0, 1.0, -1.5, 0.1, 1e-7, 3.0, 2.5e10, float("inf"), float("-inf"))
STATUSES = ("RUNNING", "FINISHED", "FAILED", "KILLED")
ATTRIBUTES = {
    "text": (
        "run_id",
        "run_name",
        "`run name`",
        '"Run name"',
        "attributes.status",
        "status",
        "user_id",
        "run.run_name",
    ),
    "number": ("start_time", "created", "Created", "attribute.start_time", "end_time", "attr.end_time"),
}


def runs(chance: random.Random, count: int) -> list[Sample]:
    """Runs with few values, so that many are the same; NaN is the text "nan"."""
    found = []
    for _ in range(count):
        metrics = {key: chance.choice(NUMBERS) for key in METRICS if chance.random() < 0.7}
        metrics |= {key: "nan" for key in metrics if chance.random() < 0.1}
        start = 1_000_000 + chance.randrange(6)
        found.append(
            {
                "run_id": f"{chance.getrandbits(128):032x}",
                "name": chance.choice(TEXTS) or "unnamed",
                "status": chance.choice(STATUSES),
                "owner": chance.choice(("ada", "Bob")),
                "start_ms": start,
                "end_ms": chance.choice((None, start + chance.randrange(5))),
                "metrics": {key: str(value) for key, value in metrics.items()},
                "params": {key: chance.choice(TEXTS) for key in PARAMS if chance.random() < 0.7},
                "tags": {key: chance.choice(TEXTS) for key in TAGS if chance.random() < 0.7},
                "datasets": [
                    [
                        chance.choice(("wine", "Wine", "iris")),
                        chance.choice(("d1", "d2")),
                        chance.choice(("train", "eval")),
                    ]
                    for _ in range(chance.randrange(3))
                ],
            }
        )
    return found


def query(chance: random.Random, samples: list[Sample]) -> tuple[str, list[str]]:
    """A filter that MLflow takes, and orders."""
    parts = [_comparison(chance, samples) for _ in range(chance.choice((0, 1, 1, 2, 2, 3)))]
    joints = (" AND ", " and ", "  AND\n")
    text = ""
    for part in parts:
        text += (chance.choice(joints) if text else "") + part
    orders = [_order(chance) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
    return text, list({_field(each): each for each in orders}.values())


def _comparison(chance: random.Random, samples: list[Sample]) -> str:
    run = chance.choice(samples)
    match chance.randrange(8):
        case 0 | 1:
            name, key = _named(chance, ("metrics", "metric", "`metrics`"), METRICS)
            value = run["metrics"].get(key, "0.5")
            value = (
                value
                if value.strip("-") not in ("inf", "nan")
                else chance.choice(("0", "-1", "1.0", ".5", "3.", "1e-7", "2.5E10"))
            )
            return f"{name}{_operator(chance, ('=', '!=', '<', '<=', '>', '>='))}{value}"
        case 2 | 3:
            name, key = _named(chance, ("params", "param", "parameter", "parameters"), PARAMS)
            return f"{name}{_text_or_null(chance, run['params'].get(key, 'red'))}"
        case 4:
            name, key = _named(chance, ("tags", "tag"), TAGS)
            return f"{name}{_text_or_null(chance, run['tags'].get(key, 'red'))}"
        case 5:
            value = chance.choice((run["start_ms"], run["end_ms"] or 1_000_003, 1_000_002, 1_000_002.5))
            return f"{chance.choice(ATTRIBUTES['number'])}{_operator(chance, ('=', '!=', '<', '<=', '>', '>='))}{value}"
        case 6:
            names, kind = (
                [each[chance.randrange(3)] for each in run["datasets"]] or ["wine"],
                chance.choice(("dataset", "datasets")),
            )
            key = chance.choice(("name", "digest", "context"))
            if chance.random() < 0.3:
                return f"{kind}.{key} {chance.choice(('IN', 'not in'))} ({', '.join(map(repr, names))})"
            return f"{kind}.{key}{_text(chance, chance.choice(names))}"
        case _:
            if chance.random() < 0.3:
                some = [each["run_id"] for each in chance.sample(samples, chance.choice((1, 3)))]
                return f"run_id {chance.choice(('IN', 'in', 'NOT IN', 'not  in'))} ({','.join(map(repr, some))})"
            name = chance.choice(ATTRIBUTES["text"])
            of = {"id": "run_id", "us": "status", "er": "owner"}.get(name.rsplit("_", 1)[-1][-2:], "name")
            of = "owner" if name == "user_id" else of
            return f"{name}{_text(chance, run[of])}"


def _named(chance: random.Random, entities: tuple[str, ...], keys: tuple[str, ...]) -> tuple[str, str]:
    key = chance.choice(keys)
    quoted = chance.choice([f"`{key}`", f'"{key}"', f"'{key}'", *([key] * 3 if " " not in key else [])])
    return f"{chance.choice(entities)}.{quoted}", key


def _operator(chance: random.Random, operators: tuple[str, ...]) -> str:
    found = chance.choice(operators)
    return chance.choice((f" {found} ", found, f"\t{found} "))


def _text_or_null(chance: random.Random, value: str) -> str:
    if chance.random() < 0.2:
        return chance.choice((" IS NULL", " is  null", " IS NOT NULL", " is not null"))
    return _text(chance, value)


def _text(chance: random.Random, value: str) -> str:
    operator = chance.choice(("=", "!=", "LIKE", "ILIKE", "like", "iLike"))
    if operator in ("=", "!="):
        return f"{_operator(chance, (operator,))}{_quoted(chance, value)}"
    letters = [chance.choice((each, each, each, "_", "%")) for each in value[:8]]
    pattern = "".join(letters) + chance.choice(("", "%", "%"))
    pattern = chance.choice((pattern, pattern, pattern.swapcase(), "%" + pattern[1:]))
    return f" {operator} {_quoted(chance, pattern)}"


def _quoted(chance: random.Random, value: str) -> str:
    """In quotes that it does not hold itself, and no backslash before the last."""
    if "'" in value:
        return f'"{value}"'
    return f"{(quote := chance.choice((chr(39), chr(34))))}{value}{quote}"


def _order(chance: random.Random) -> str:
    way = chance.choice(("", " ASC", " DESC", " desc", " asc"))
    match chance.randrange(5):
        case 0 | 1:
            return _named(chance, ("metrics", "metric"), METRICS)[0].replace("'", "`") + way
        case 2:
            return _named(chance, ("params", "parameter"), PARAMS)[0].replace("'", "`") + way
        case 3:
            return _named(chance, ("tags", "tag"), TAGS)[0].replace("'", "`") + way
        case _:
            text = tuple(each for each in ATTRIBUTES["text"] if "ame" not in each or "_" in each)
            return chance.choice((*text, *ATTRIBUTES["number"])) + way


def _field(order: str) -> str:
    """What an order is by, so that none is there twice."""
    name = order.replace(" ASC", "").replace(" DESC", "").replace(" desc", "").replace(" asc", "")
    entity, _, key = name.rpartition(".") if name.startswith(("attr", "run.")) else name.partition(".")
    if name.startswith(("attr", "run.")):
        return {"created": "start_time", "Created": "start_time"}.get(key, key)
    if not key:
        return {"created": "start_time", "Created": "start_time"}.get(name, name)
    return f"{entity[:3]}.{key.strip(chr(96) + chr(34))}"


def registered(chance: random.Random, count: int) -> list[Sample]:
    """Versions of models, or models; names differ, so that an order by name leaves no two alike."""
    return [
        {
            "name": f"{chance.choice(('m', 'M', 'n_'))}{place}",
            "version_number": chance.randrange(1, 4),
            "run_id": f"r{chance.randrange(3)}",
            "source_path": chance.choice(("s3://a/b", "S3://a", "runs:/x")),
            "creation_timestamp": chance.randrange(5),
            "last_updated_timestamp": chance.randrange(5),
            "tags": {key: chance.choice(TEXTS) for key in TAGS if chance.random() < 0.7},
        }
        for place in range(count)
    ]


def registered_query(chance: random.Random, rows: list[Sample], kind: str) -> tuple[str, list[str]]:
    """A filter that MLflow takes of models or their versions, and orders to the name."""
    texts = ("name", "run_id", "source_path") if kind == "versions" else ("name",)
    parts = []
    for _ in range(chance.randrange(3)):
        row = chance.choice(rows)
        key = chance.choice((*texts, "tag", *(["version_number"] if kind == "versions" else [])))
        if key == "tag":
            name, tag = _named(chance, ("tags", "tag"), TAGS)
            parts.append(f"{name}{_text(chance, row['tags'].get(tag, 'red'))}")
        elif key == "version_number":
            number = chance.choice(("{}", "'{}'")).format(row[key])
            parts.append(f"{key}{_operator(chance, ('=', '!=', '<', '<=', '>', '>='))}{number}")
        elif key != "source_path" and chance.random() < 0.2:
            parts.append(f"{key} {chance.choice(('IN', 'not in'))} ('{row[key]}', '{rows[0][key]}')")
        else:
            parts.append(f"{key}{_text(chance, row[key])}")
    orders = [chance.choice(("creation_timestamp", "last_updated_timestamp")) + chance.choice(("", " DESC", " asc"))]
    return " AND ".join(parts), [*orders[: chance.randrange(2)], f"name{chance.choice((' ASC', ' DESC'))}"]
