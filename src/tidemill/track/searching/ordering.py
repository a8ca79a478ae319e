"""Orders as SQL over the table `tracked`, there named t, and the place in such an order where a page begins.

As in MLflow's store: what has no value comes last, NaN before it, whichever the direction; then what began last is
first, then by run id. So each order is two columns: a rank (0 a value, 1 NaN or none, 2 no metric) and the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.track.searching.conditions import COLUMNS, STATUSES, TABLES
from tidemill.track.searching.order import Order
from tidemill.track.searching.pieces import ALWAYS, NEVER, Piece, all_of, bracketed, some_of
from tidemill.track.searching.vocabulary import Field

Place = Sequence[tuple[int, str | int | float | None]]  # of a row: rank and value of each term
_STATUS = "(CASE t.status " + " ".join(f"WHEN '{has}' THEN '{shown}'" for has, shown in STATUSES.items()) + " END)"
_START, _RUN = Field("attribute", "start_time", "number", ()), Field("attribute", "run_id", "text", ())


@dataclass(frozen=True, slots=True)
class Term:
    """One column of an order. rank: SQL of the rank, a digit where it is known. join: what must be joined to t."""

    field: Field
    rank: str
    value: str
    ascending: bool
    join: Piece | None = None

    @property
    def way(self) -> str:
        """The direction, as SQL."""
        return "ASC" if self.ascending else "DESC"


def terms_of(orders: Sequence[Order]) -> tuple[Term, ...]:
    """The columns of an order, to the last, which no two runs share."""
    found = [_term(each, place) for place, each in enumerate(orders)]
    named = [each.field.key for each in found if each.field.entity == "attribute"]
    if "start_time" not in named:
        found.append(_term(Order(_START, False), len(found)))
    if "run_id" not in named:
        found.append(_term(Order(_RUN), len(found)))
    return tuple(found)


def _term(order: Order, place: int) -> Term:
    field = order.field
    if field.entity == "attribute":
        value = _STATUS if field.key == "status" else COLUMNS[field.key]
        rank = "(CASE WHEN t.end_ms IS NULL THEN 1 ELSE 0 END)" if field.key == "end_time" else "0"
        return Term(field, rank, value, order.ascending)
    row = f"o{place}"
    join = Piece(f" LEFT JOIN {TABLES[field.entity]} {row} ON {row}.run_id = t.run_id AND {row}.key = ?", (field.key,))
    if field.entity == "metric":
        rank = f"(CASE WHEN {row}.is_nan = 1 THEN 1 WHEN {row}.run_id IS NULL THEN 2 ELSE 0 END)"
    else:
        rank = f"(CASE WHEN {row}.run_id IS NULL THEN 1 ELSE 0 END)"
    return Term(field, rank, f"{row}.value", order.ascending, join)


def after(terms: Sequence[Term], place: Place) -> Piece:
    """Whether a row comes after the one at that place."""
    if not terms:
        return NEVER
    term, (rank, value) = terms[0], place[0]
    rest = after(terms[1:], place[1:])
    if value is not None:
        beyond = Piece(f"{term.value} {'>' if term.ascending else '<'} ?", (value,))
        rest = some_of([beyond, all_of([Piece(f"{term.value} = ?", (value,)), rest])])
    if term.rank.isdigit():
        return rest
    return some_of([Piece(f"{term.rank} > ?", (rank,)), all_of([Piece(f"{term.rank} = ?", (rank,)), rest])])


def columns(terms: Sequence[Term]) -> str:
    """The columns of the order, as k0r, k0v, k1r ..."""
    return ", ".join(f"{term.rank} AS k{at}r, {term.value} AS k{at}v" for at, term in enumerate(terms))


def order_by_terms(terms: Sequence[Term]) -> str:
    """Within one table: by their own names, so that an index may serve."""
    parts: list[str] = []
    for term in terms:
        parts += [] if term.rank.isdigit() else [term.rank]
        parts += [] if term.value.startswith("CAST(NULL") else [f"{term.value} {term.way}"]
    return ", ".join(parts)


def order_by_columns(terms: Sequence[Term]) -> str:
    """Of rows that have the columns already."""
    return ", ".join(f"k{at}r, k{at}v {term.way}" for at, term in enumerate(terms))


def seek(term: Term, value: str | int | float | None) -> Piece:
    """What a row at or after the place satisfies of the first column alone: an index begins there."""
    if value is None:
        return ALWAYS
    return bracketed(Piece(f"{term.value} {'>=' if term.ascending else '<='} ?", (value,)))
