"""A dataset's contract, as data: the types of its columns, checks of its rows, and how old its newest row may be.

It is written as JSON ("format" first), in Python (`Contract(checks=(unique("id"), between("temp", -30, 120)))`) or as
lines that a person types, one a rule:

    temp type Float64                  id unique                       carrier,flight,day unique
    temp not_null                      temp between -30 120            carrier one_of AA UA
    carrier matches ^[A-Z0-9]{2}$      origin references airports.faa  condition arrives >= leaves
    time fresh 2d

A word `warn` before a rule makes it one that reports but does not stop.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import polars as pl

from tidemill.core import checks as core_checks
from tidemill.core.errors import BadInput, WrongFormat, nearest
from tidemill.core.types import Check, Json

FORMAT = 1
# A word in double quotes is JSON text: "1" is no number.
WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
TYPES: dict[str, pl.DataType] = {
    "Boolean": pl.Boolean(),
    "Int8": pl.Int8(),
    "Int16": pl.Int16(),
    "Int32": pl.Int32(),
    "Int64": pl.Int64(),
    "Float32": pl.Float32(),
    "Float64": pl.Float64(),
    "String": pl.String(),
    "Binary": pl.Binary(),
    "Date": pl.Date(),
    "Datetime": pl.Datetime("us"),
    "Datetime[UTC]": pl.Datetime("us", "UTC"),
}
WRITTEN = {str(kind): name for name, kind in TYPES.items()}  # as a version's record names them


@dataclass(frozen=True, slots=True)
class Freshness:
    """The newest value of `column` is at most so many seconds old, by the workspace's clock."""

    column: str
    at_most_s: float
    severity: Literal["error", "warn"] = "error"


@dataclass(frozen=True, slots=True)
class Contract:
    """What each row of a dataset must be.

    types: column to type ("Float64", "Datetime[UTC]" ...). seq, at, by: of the event that set it; 0 before it is set.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    freshness: Freshness | None = None
    seq: int = 0
    at: datetime | None = None
    by: str = ""

    @property
    def columns(self) -> list[str]:
        """All columns that it speaks of, in order of their mention."""
        named = [*self.types, *(column for check in self.checks for column in core_checks.columns_of(check))]
        return list(dict.fromkeys([*named, *([self.freshness.column] if self.freshness else [])]))

    @property
    def rules(self) -> list[str]:
        """Each rule as a line that `rules` reads, in the order of types, checks, freshness."""
        lines = [type_rule(column, kind) for column, kind in self.types.items()]
        lines += [_warning(check.severity) + core_checks.named(check) for check in self.checks]
        if self.freshness is not None:
            lines.append(_warning(self.freshness.severity) + written(self.freshness))
        return lines


def to_json(contract: Contract) -> dict[str, Any]:
    """As plain JSON, the format first; without when and by whom it was set."""
    fresh = contract.freshness
    return {
        "format": FORMAT,
        "types": dict(contract.types),
        "checks": [core_checks.to_json(check) for check in contract.checks],
        "freshness": None
        if fresh is None
        else {"column": fresh.column, "at_most_s": fresh.at_most_s, "severity": fresh.severity},
    }


def from_json(value: Json) -> Contract:
    """A contract from its JSON. WrongFormat for a newer one, BadInput naming what is wrong in it."""
    if value.get("format") != FORMAT:
        raise WrongFormat(f"contract format {value.get('format')!r}, this tidemill reads {FORMAT}: upgrade tidemill")
    unknown = [key for key in value if key not in ("format", "types", "checks", "freshness")]
    if unknown:
        known = ("types", "checks", "freshness")
        raise BadInput(f"a contract has no {unknown[0]!r}; it has {', '.join(known)}.{nearest(unknown[0], known)}")
    fresh = value.get("freshness")
    return checked(
        Contract(
            {str(column): str(kind) for column, kind in value.get("types", {}).items()},
            tuple(core_checks.from_json(each) for each in value.get("checks", ())),
            None
            if fresh is None
            else Freshness(str(fresh["column"]), float(fresh["at_most_s"]), fresh.get("severity", "error")),
        )
    )


def read(text: str) -> Contract:
    """A contract from the text of a file: JSON, or rules line by line; lines that begin with # are left out."""
    if text.lstrip().startswith("{"):
        try:
            return from_json(json.loads(text))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise BadInput(f"no contract: {error}; write JSON as `quality.contract.to_json` gives it") from error
    return rules(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def rules(lines: Iterable[str]) -> Contract:
    """A contract from lines such as "temp between -30 120" (all forms are at the head of this module).

    >>> rules(["id unique", "warn temp between -30 120", "time fresh 2d"]).rules
    ['id unique', 'warn temp between -30 120', 'time fresh 2d']
    """
    types: dict[str, str] = {}
    checks: list[Check] = []
    freshness: Freshness | None = None
    for line in lines:
        found = _rule(line)
        if isinstance(found, Freshness):
            freshness = found
        elif isinstance(found, Check):
            checks.append(found)
        else:
            types[found[0]] = found[1]
    return checked(Contract(types, tuple(checks), freshness))


def checked(contract: Contract) -> Contract:
    """The contract with its types named as this module names them. BadInput for a type that no table holds."""
    types = {column: WRITTEN.get(kind, kind) for column, kind in contract.types.items()}
    for column, kind in types.items():
        if dtype(kind) is None and not re.match(r"(Decimal|List|Array|Struct)\(", kind):
            raise BadInput(
                f"column {column!r} has type {kind!r}; allowed are {', '.join(TYPES)}.{nearest(kind, list(TYPES))}"
            )
    if contract.freshness is not None and not contract.freshness.at_most_s > 0:
        raise BadInput(f"freshness of {contract.freshness.at_most_s:g} s; allowed: more than 0, for example 86400")
    return replace(contract, types=types)


def dtype(kind: str) -> pl.DataType | None:
    """The Polars type of that name; None for one with parts, which is compared by its text."""
    return TYPES.get(WRITTEN.get(kind, kind))


def _rule(line: str) -> Check | Freshness | tuple[str, str]:
    head, _, rest = line.strip().partition(" ")
    severity: Literal["error", "warn"] = "error"
    if head == "warn":
        severity, line = "warn", rest
        head, _, rest = rest.strip().partition(" ")
    if head == "condition":
        return core_checks.from_json({"kind": "condition", "column": rest.strip(), "severity": severity})
    column, kind, words = _words(line)
    if kind == "type" and len(words) == 1:
        return column, words[0]
    if kind == "fresh" and len(words) == 1:
        return Freshness(column, seconds(words[0]), severity)
    args: list[Any] = list(words)
    if kind not in core_checks.KINDS:
        known = ("type", "fresh", *core_checks.KINDS)
        raise BadInput(f"rule {line!r}: no kind {kind!r}; known are {', '.join(known)}.{nearest(kind, known)}")
    if kind == "unique":
        column, *args = column.split(",")
    elif kind == "references" and len(words) == 1 and "." in words[0]:
        args = words[0].rsplit(".", 1)
    elif kind in ("between", "one_of"):
        args = [core_checks.word(each) for each in words]
    return core_checks.from_json({"kind": kind, "column": column, "args": args, "severity": severity})


def _words(line: str) -> tuple[str, str, list[str]]:
    """Column, kind and the rest; a pattern is taken as it stands, whatever quotes and spaces are in it."""
    pattern = re.fullmatch(r"\s*(\"[^\"]+\"|\S+)\s+matches\s(.+)", line)
    if pattern:
        return pattern[1].strip('"'), "matches", [pattern[2]]
    words = WORD.findall(line)
    if len(words) < 2:
        raise BadInput(
            f"rule {line!r} cannot be read; write column, rule and arguments, such as 'temp between -30 120'"
        )
    return words[0].strip('"'), words[1], words[2:]


def written(rule: Freshness) -> str:
    """The rule as a person writes it, without its severity."""
    return f"{core_checks.quoted(rule.column)} fresh {_shortest(rule.at_most_s)}"


def type_rule(column: str, kind: str) -> str:
    """The rule of a column's type as a person writes it."""
    return f"{core_checks.quoted(column)} type {kind}"


def _warning(severity: str) -> str:
    return "warn " if severity == "warn" else ""


def seconds(text: str) -> float:
    """How long "90s", "30m", "12h", "2d" or "1w" is, in seconds.

    >>> seconds("2d")
    172800.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not found:
        raise BadInput(f"{text!r} is no time span; write a number and one of s, m, h, d, w, such as 2d")
    return float(found[1]) * SECONDS[found[2]]


def _shortest(span_s: float) -> str:
    for unit in ("w", "d", "h", "m"):
        if span_s % SECONDS[unit] == 0:
            return f"{span_s / SECONDS[unit]:g}{unit}"
    return f"{span_s:g}s"
