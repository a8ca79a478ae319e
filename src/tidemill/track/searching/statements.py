"""One statement for a page of runs.

Each way to the page is an arm of a UNION ALL, with a gate that lets it run only where it is the right one:

- where a comparison of the filter leaves few runs, these are looked up and sorted;
- else the runs are read in their order from an index, and the filter is asked of each until the page is full. In the
  order of what was logged these are first the runs with a value, then, where they do not fill the page, those with NaN,
  then those without.

So a page costs what it holds and not what the experiment holds, but where few of many runs match a filter that no index
serves, and in the order of an attribute other than the start: there all runs of the experiment are looked at.
"""

# ruff: noqa: S608  what users wrote is bound, never in the text of a statement (pieces.py)

from __future__ import annotations

from dataclasses import dataclass, replace

from tidemill.core.errors import BadInput
from tidemill.track.searching import conditions, lineage
from tidemill.track.searching.comparing import among_ids
from tidemill.track.searching.conditions import TABLES, condition
from tidemill.track.searching.grammar import All, Comparison, Expression
from tidemill.track.searching.ordering import (
    Place,
    Term,
    after,
    columns,
    order_by_columns,
    order_by_terms,
    seek,
)
from tidemill.track.searching.pieces import ALWAYS, Piece, all_of, concat, joined

HEADS = ("run_id", "experiment", "stage", "status", "name", "owner", "start_ms", "end_ms", "deleted_ms")
FEW, SHARE = 2000, 5  # so many runs, or times those of the page, are sooner looked up and sorted than met in order
APART = 8  # experiments and stages of a search that are each read from their own part of an index
VALUES, MOST_VALUES = 5000, 20_000  # of a filter in all arms, in one: SQLite takes 32,766 a statement
PROBES = 3  # comparisons of a filter that are tried for leaving few
_HEADS = ", ".join(f"t.{name}" for name in HEADS)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where runs are searched."""

    experiments: tuple[int, ...]
    stages: tuple[str, ...]

    def within(self, dialect: str) -> Piece:
        """Of the row t."""
        stage = [Piece("t.stage = ?", self.stages)] if len(self.stages) == 1 else []
        return all_of([among_ids("t.experiment", self.experiments, dialect), *stage])

    def parts(self) -> list[Scope]:
        """One experiment and one stage each, where they are few."""
        found = [Scope((experiment,), (stage,)) for experiment in self.experiments for stage in self.stages]
        return found if len(found) <= APART else [self]


@dataclass(frozen=True, slots=True)
class _Arm:
    """A way to some rows of the page. source: FROM what. level: rows of a higher one come after those of a lower."""

    source: Piece
    where: tuple[Piece, ...]
    terms: tuple[Term, ...]
    level: int = 0
    gate: str = ""


def page(
    scope: Scope,
    asked: Expression | None,
    terms: tuple[Term, ...],
    place: Place | None,
    *,
    rows: int,
    dialect: str,
) -> Piece:
    """The first rows in their order, or those after a place: HEADS, then rank and value of each term."""
    matching = ALWAYS if asked is None else condition(asked, dialect)
    few = [] if asked is None or len(matching.values) > VALUES else _few(asked, scope, dialect)
    if len(matching.values) > MOST_VALUES:
        raise BadInput(f"a filter of {len(matching.values)} values; at most {MOST_VALUES}: ask in several searches")
    most = max(FEW, SHARE * rows)
    arms: list[_Arm] = []
    for at, (_, rest) in enumerate(few):
        gate = f"{_before(at, most)}(SELECT count(*) FROM few{at}) <= {most}"
        arm = _whole(scope, terms, place, _each(f"few{at} f", "f", dialect), dialect)
        arms.append(replace(arm, gate=gate, where=(*arm.where, rest)))
    many = _before(len(few), most).removesuffix(" AND ")
    others = _in_order(scope, terms, place, dialect)
    if len(others) * len(matching.values) > VALUES:
        others = [_whole(scope, terms, place, "tracked t", dialect)]
    for arm in others:
        gate = " AND ".join(each for each in (many, arm.gate) if each)
        arms.append(replace(arm, gate=gate, where=(*arm.where, matching)))
    made = _spread(scope, terms[0], dialect) + [
        Piece(f"few{at}(run_id) AS MATERIALIZED ({found.text} LIMIT {most + 1})", found.values)
        for at, (found, _) in enumerate(few)
    ]
    if len(arms) == 1:
        return _select(arms[0], "", rows, dialect)
    for at, arm in enumerate(arms):
        counts = [f"(SELECT count(*) FROM a{each})" for each in range(at) if arms[each].level < arm.level]
        full = f"{' + '.join(counts)} < {rows}" if counts else ""
        gate = " AND ".join(each for each in (arm.gate, full) if each)
        made.append(concat(f"a{at} AS MATERIALIZED (", _select(arm, gate, rows, dialect), ")"))
    union = " UNION ALL ".join(f"SELECT * FROM a{at}" for at in range(len(arms)))
    return concat("WITH ", joined(", ", made), f" {union} ORDER BY {order_by_columns(terms)} LIMIT {rows}")


def _before(at: int, most: int) -> str:
    return "".join(f"(SELECT count(*) FROM few{each}) > {most} AND " for each in range(at))


def _select(arm: _Arm, gate: str, rows: int, dialect: str) -> Piece:
    # A condition on no row: PostgreSQL asks it once, before all; SQLite would ask it of each row, but reads none where
    # LIMIT is 0.
    where = [*arm.where, *([Piece(gate)] if gate and dialect != "sqlite" else [])]
    limit = f"CASE WHEN {gate} THEN {rows} ELSE 0 END" if gate and dialect == "sqlite" else str(rows)
    joins = joined("", [term.join for term in arm.terms if term.join is not None])
    return concat(
        f"SELECT {_HEADS}, {columns(arm.terms)} FROM ",
        arm.source,
        joins,
        " WHERE ",
        joined(" AND ", where),
        f" ORDER BY {order_by_terms(arm.terms)} LIMIT {limit}",
    )


def _whole(scope: Scope, terms: tuple[Term, ...], place: Place | None, source: str, dialect: str) -> _Arm:
    where = [Piece("t.run_id = f.run_id")] if source.startswith("few") else []
    where.append(scope.within(dialect))
    if place is not None:
        where += [seek(terms[0], place[0][1]), after(terms, place)] if terms[0].rank == "0" else [after(terms, place)]
    return _Arm(Piece(source), tuple(where), terms)


def _in_order(scope: Scope, terms: tuple[Term, ...], place: Place | None, dialect: str) -> list[_Arm]:
    entity, begun = terms[0].field.entity, terms[0].field.key == "start_time"
    if entity == "attribute":
        return [_whole(each, terms, place, "tracked t", dialect) for each in (scope.parts() if begun else [scope])]
    first = place[0][0] if place else 0
    if entity == "metric":
        apart = Scope(scope.experiments, ("any",)).parts()  # what is logged has no stage
        within = [Scope(each.experiments, scope.stages) for each in apart]
        return [_by_value(each, terms, place, level, dialect) for each in within for level in range(first, 3)]
    arms = [_by_value(scope, terms, place, level, dialect) for level in range(first, 2)]
    whole = _whole(scope, terms, place, "tracked t", dialect)
    return [*(replace(arm, gate=f"{_FITS} = 1") for arm in arms), replace(whole, gate=f"{_FITS} = 0")]


def _by_value(scope: Scope, terms: tuple[Term, ...], place: Place | None, level: int, dialect: str) -> _Arm:
    """The runs that have a value of what was logged (level 0), NaN (1), or none (the last), in the order of an
    index."""
    join, entity = terms[0].join, terms[0].field.entity
    assert join is not None
    nothing = "CAST(NULL AS DOUBLE PRECISION)" if entity == "metric" else "CAST(NULL AS TEXT)"
    first = replace(terms[0], rank=str(level), value="o0.value" if level == 0 else nothing, join=None)
    terms = (first, *terms[1:])
    where: list[Piece] = []
    if place is not None and place[0][0] == level:
        where = [seek(first, place[0][1]), after(terms, place)]
    if level == (2 if entity == "metric" else 1):
        has = Piece(f"SELECT 1 FROM {TABLES[entity]} o0 WHERE o0.run_id = t.run_id AND o0.key = ?", join.values)
        none = concat("NOT ", conditions.exists(has, dialect))
        return _Arm(Piece("tracked t"), (scope.within(dialect), none, *where), terms, level)
    having = [Piece(f"x.key = ? AND x.value IS {'NOT ' if level == 0 else ''}NULL", join.values)]
    if entity == "metric":
        having.insert(0, among_ids("x.experiment", scope.experiments, dialect))
    rows = concat(f"(SELECT x.run_id, x.value FROM {TABLES[entity]} x WHERE ", joined(" AND ", having))
    if level == 0 and dialect != "sqlite":
        rows = concat(rows, f" ORDER BY x.value {first.way}")
    source = concat(rows, ") ", _each("o0", "o0", dialect))
    return _Arm(source, (Piece("t.run_id = o0.run_id"), scope.within(dialect), *where), terms, level)


_FITS = "(SELECT fits FROM spread)"


def _spread(scope: Scope, first: Term, dialect: str) -> list[Piece]:
    """Whether most of what has the first key of an order is in scope: the index of parameters, and that of tags, has no
    experiment, so that elsewhere the runs of a small one would be looked for among all."""
    if first.field.entity not in ("param", "tag") or first.join is None:
        return []
    held = concat("held(runs) AS MATERIALIZED (SELECT count(*) FROM tracked t WHERE ", scope.within(dialect), ")")
    some = f"SELECT 1 FROM {TABLES[first.field.entity]} x WHERE x.key = ? LIMIT (SELECT 2 * runs + 1 FROM held)"
    fits = f"(SELECT count(*) FROM ({some}) y) <= (SELECT 2 * runs FROM held)"
    return [
        held,
        Piece(f"spread(fits) AS MATERIALIZED (SELECT CASE WHEN {fits} THEN 1 ELSE 0 END)", first.join.values),
    ]


def _each(source: str, name: str, dialect: str) -> str:
    """Each row of the source with its run t, which is looked up, whatever the database guesses of how many there are:
    before PostgreSQL has counted the rows of a new table, a join of 10,000 took it 9 s, and this 7 ms."""
    if dialect == "sqlite":
        return f"{source} CROSS JOIN tracked t"
    return f"{source} CROSS JOIN LATERAL (SELECT * FROM tracked y WHERE y.run_id = {name}.run_id OFFSET 0) t"


def _few(asked: Expression, scope: Scope, dialect: str) -> list[tuple[Piece, Piece]]:
    """Comparisons that an index serves, of which all are true of what matches: the runs that one leaves, and what else
    is asked of them."""
    parts = asked.parts if isinstance(asked, All) else (asked,)
    found: list[tuple[int, int, Piece]] = []
    for at, part in enumerate(parts):
        served = _served(part, scope, dialect) if isinstance(part, Comparison) else None
        found += [] if served is None else [(served[0], at, served[1])]
    return [
        (piece, condition(All((*parts[:at], *parts[at + 1 :])), dialect))
        for _, at, piece in sorted(found, key=lambda each: each[:2])[:PROBES]
    ]


def _served(asked: Comparison, scope: Scope, dialect: str) -> tuple[int, Piece] | None:
    """How likely it is not to leave few, and the statement; None where no index serves."""
    field, exact = asked.field, asked.operator in ("=", "IN")
    if field.entity == "attribute" and field.key == "run_id" and exact:
        return 0, concat("SELECT t.run_id FROM tracked t WHERE ", conditions.attribute(asked, dialect))
    if field.entity == "lineage" and field.key != "git.commit" and exact:
        return 1, Piece(*lineage.runs(asked, dialect))
    if field.entity in ("param", "tag") and exact:
        table = conditions.TABLES[field.entity]
        of = conditions.of_logged(asked, "x", dialect)
        return 2, concat(Piece(f"SELECT x.run_id FROM {table} x WHERE x.key = ? AND ", (field.key,)), of)
    if field.entity == "metric" and asked.operator in ("=", "IN", "<", "<=", ">", ">="):
        here = among_ids("x.experiment", scope.experiments, dialect)
        of = all_of([here, Piece("x.key = ?", (field.key,)), conditions.of_logged(asked, "x", dialect)])
        return 3, concat("SELECT x.run_id FROM latest x WHERE ", of)
    return None
