"""What a run read and what came of it, as conditions on the table `tracked`, there named t.

data.version: a dataset that the run read, "flights@3" or any version of "flights". labels.version: a label set that it
read, or that something it read was made of. deployed.as: a deployment ("departures", or its revision "departures@2")
of a model that the run made. datasets.*: as MLflow has them, a dataset's name, digest and context, the part it played.
A run has many of each: a comparison is true where it is true of one of them.
"""

# ruff: noqa: S608  what users wrote is bound, never in the text of a statement (pieces.py)

from __future__ import annotations

import re

from tidemill.core.errors import BadInput
from tidemill.track.searching.comparing import of_text
from tidemill.track.searching.grammar import Comparison
from tidemill.track.searching.pieces import Piece, bracketed, concat

AT_MOST = 300  # of a list: SQLite joins fewer than 1,000 conditions
_VERSION = re.compile(r"(.+)@(\d{1,9})", re.DOTALL)
_DATASETS = (  # versions of ours, and what a client said that a run read (track/inputs.py)
    "FROM edges g JOIN artifacts a ON a.id = g.artifact_id "
    "WHERE g.role = 'in' AND a.kind IN ('dataset', 'dataset.input')"
)
_DATASET = {"name": "a.name", "digest": "a.digest", "context": "g.slot"}
_READ = "JOIN edges g ON g.artifact_id = a.id AND g.role = 'in' WHERE a.kind = "
_UP = (
    "SELECT n.run_id FROM up JOIN edges h ON h.run_id = up.run_id AND h.role = 'out' "
    "JOIN edges n ON n.artifact_id = h.artifact_id AND n.role = 'in'"
)
_MODEL = (
    "FROM artifacts a JOIN edges o ON o.artifact_id = a.id AND o.role = 'out' "
    "JOIN edges i ON i.run_id = o.run_id AND i.role = 'in' JOIN artifacts m ON m.id = i.artifact_id "
)
_DEPLOYED = "WHERE a.kind = 'deployment' AND m.kind = 'model' AND "
_RUN = {  # of a model: the run that it says it is of
    "sqlite": "coalesce(json_extract(m.body, '$.meta.run'), json_extract(m.body, '$.meta.run_id'), '')",
    "postgresql": "coalesce(m.body::json -> 'meta' ->> 'run', m.body::json -> 'meta' ->> 'run_id', '')",
}


def dataset(asked: Comparison, dialect: str) -> Piece:
    """Of a dataset that the run read."""
    found = of_text(asked, _DATASET[asked.field.key], dialect)
    return concat(f"t.run_id IN (SELECT g.run_id {_DATASETS} AND ", found, ")")


def version(asked: Comparison, dialect: str) -> Piece:
    """Of the versions of data, of labels, or of deployments."""
    if asked.operator in ("IS NULL", "IS NOT NULL"):
        word = "NOT IN" if asked.operator == "IS NULL" else "IN"
        return concat(f"t.run_id {word} (", _runs(asked.field.key, Piece("1 = 1"), dialect), ")")
    return concat("t.run_id IN (", runs(asked, dialect), ")")


def runs(asked: Comparison, dialect: str) -> Piece:
    """The ids of the runs of which a comparison of versions is true."""
    return _runs(asked.field.key, bracketed(_label(asked, dialect)), dialect)


def _runs(key: str, label: Piece, dialect: str) -> Piece:
    if key == "data.version":
        return concat(f"SELECT DISTINCT g.run_id FROM artifacts a {_READ} 'dataset' AND ", label)
    if key == "labels.version":
        first = concat(f"SELECT g.run_id FROM artifacts a {_READ} 'labels' AND ", label)
        return concat("WITH RECURSIVE up(run_id) AS (", first, f" UNION {_UP}) SELECT run_id FROM up")
    told = concat(f"SELECT {_RUN[dialect]} {_MODEL} {_DEPLOYED}", label)
    made = f"{_MODEL} JOIN edges k ON k.artifact_id = m.id AND k.role = 'out' {_DEPLOYED}"
    return concat(told, f" UNION SELECT k.run_id {made}", label)


def _label(asked: Comparison, dialect: str) -> Piece:
    """Of an artifact a: its name alone, or name@version."""
    value = asked.value
    if isinstance(value, tuple):
        if len(value) > AT_MOST:
            raise BadInput(
                f"a list of {len(value)} after {asked.field.key}; at most {AT_MOST}: ask in several searches"
            )
        parts = [_is(str(each)) for each in value]
        found = bracketed(Piece(" OR ".join(each.text for each in parts), sum((each.values for each in parts), ())))
        return found if asked.operator == "IN" else concat("NOT ", found)
    if asked.operator in ("=", "!="):
        found = bracketed(_is(str(value)))
        return found if asked.operator == "=" else concat("NOT ", found)
    return of_text(asked, "(a.name || '@' || a.version)", dialect)


def _is(text: str) -> Piece:
    match = _VERSION.fullmatch(text)
    if match is None:
        return Piece("a.name = ?", (text,))
    return Piece("a.name = ? AND a.version = ?", (match[1], int(match[2])))
