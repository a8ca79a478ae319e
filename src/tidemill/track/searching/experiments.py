"""Search of experiments."""

# ruff: noqa: S608  what users wrote is bound, never in the text of a statement (pieces.py)

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tidemill.core.errors import BadInput
from tidemill.core.graphs.committing import reading
from tidemill.core.workspace import Workspace
from tidemill.track.experiments import Experiment, of_row
from tidemill.track.searching.comparing import of_number, of_text
from tidemill.track.searching.found import read
from tidemill.track.searching.grammar import All, Comparison, Expression, Not, Some, parse
from tidemill.track.searching.order import Order, parse_orders
from tidemill.track.searching.ordering import Term, after, order_by_terms
from tidemill.track.searching.paging import place_of, token_of
from tidemill.track.searching.pieces import Piece, all_of, bracketed, concat, joined, some_of
from tidemill.track.searching.runs import MOST, STAGES, View
from tidemill.track.searching.vocabulary import EXPERIMENTS

COLUMNS = {
    "name": "e.name",
    "experiment_id": "e.id",
    "creation_time": "e.created_ms",
    "last_update_time": "e.updated_ms",
}
NEWEST = ("creation_time DESC", "experiment_id ASC")
_HEADS = ("id", "name", "stage", "created_ms", "updated_ms", "location", "tags")
_TAGS = {  # key and value of each tag of a row
    "sqlite": "json_each(e.tags) x WHERE x.key = ?",
    "postgresql": "json_each_text(e.tags::json) x WHERE x.key = ?",
}


class Experiments(NamedTuple):
    """Some experiments in their order, and the token of the next page; None after the last."""

    experiments: tuple[Experiment, ...]
    token: str | None


def search_experiments(
    ws: Workspace,
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    view: View = "active",
    limit: int = 1000,
    token: str | None = None,
) -> Experiments:
    """The experiments that match, newest first where no order is given: one statement.

    filter: of name, experiment_id, creation_time, last_update_time and tags; see grammar.py. limit: 1 to 50,000. Raises
    BadInput for what cannot be asked so.
    """
    if not 1 <= limit <= MOST:
        raise BadInput(f"a page of {limit} experiments; ask for 1 to {MOST}, and follow the token")
    if view not in STAGES:
        raise BadInput(f"no view {view!r}; there are {', '.join(STAGES)}")
    asked = parse(filter, EXPERIMENTS)
    terms = _terms(parse_orders(order_by or NEWEST, EXPERIMENTS))
    said = ["experiments", filter, list(order_by), view]
    numbers = [term.field.key != "name" for term in terms]
    place = place_of(token, said, numbers) if token else None
    stages = STAGES[view]
    where = [Piece(f"e.stage IN ({', '.join('?' * len(stages))})", stages)]
    where += [after(terms, place)] if place is not None else []
    with reading(ws) as link:
        where += [] if asked is None else [_condition(asked, link.dialect.name)]
        heads = ", ".join(f"e.{name}" for name in _HEADS)
        keys = ", ".join(term.value for term in terms)
        statement = concat(
            f"SELECT {heads}, {keys} FROM experiments e WHERE ",
            joined(" AND ", where),
            f" ORDER BY {order_by_terms(terms)} LIMIT {limit + 1}",
        )
        rows = read(link, statement)
    found = tuple(of_row(dict(zip(_HEADS, row[: len(_HEADS)], strict=True))) for row in rows[:limit])
    if len(rows) <= limit:
        return Experiments(found, None)
    return Experiments(found, token_of([(0, value) for value in rows[limit - 1][len(_HEADS) :]], said))


def _terms(orders: Sequence[Order]) -> tuple[Term, ...]:
    found = [Term(each.field, "0", COLUMNS[each.field.key], each.ascending) for each in orders if _is_column(each)]
    if not any(term.field.key == "experiment_id" for term in found):
        field = EXPERIMENTS.field("", "experiment_id")
        found.append(Term(field, "0", COLUMNS["experiment_id"], False))
    return tuple(found)


def _is_column(order: Order) -> bool:
    if order.field.entity != "attribute":
        raise BadInput(f"experiments are not ordered by {order.field.shown}; order by {', '.join(COLUMNS)}")
    return True


def _condition(asked: Expression, dialect: str) -> Piece:
    if isinstance(asked, Not):
        return concat("NOT ", bracketed(_condition(asked.part, dialect)))
    if isinstance(asked, All):
        return all_of([_condition(part, dialect) for part in asked.parts])
    if isinstance(asked, Some):
        return some_of([_condition(part, dialect) for part in asked.parts])
    return _comparison(asked, dialect)


def _comparison(asked: Comparison, dialect: str) -> Piece:
    if asked.field.entity == "attribute":
        column = COLUMNS[asked.field.key]
        return of_text(asked, column, dialect) if asked.field.holds == "text" else of_number(asked, column)
    here = Piece(f"EXISTS (SELECT 1 FROM {_TAGS[dialect]}", (asked.field.key,))
    if asked.operator in ("IS NULL", "IS NOT NULL"):
        return concat("NOT " if asked.operator == "IS NULL" else "", here, ")")
    return concat(here, " AND ", of_text(asked, "x.value", dialect), ")")
