"""Search of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tidemill.core.errors import BadInput
from tidemill.core.graphs.committing import reading
from tidemill.core.workspace import Workspace
from tidemill.track.searching.found import FIELDS, Found, Page, fill, read, wanted
from tidemill.track.searching.grammar import parse
from tidemill.track.searching.order import parse_orders
from tidemill.track.searching.ordering import terms_of
from tidemill.track.searching.paging import place_of, token_of
from tidemill.track.searching.statements import HEADS, Scope, page

View = Literal["active", "deleted", "all"]
STAGES: dict[View, tuple[str, ...]] = {
    "active": ("active",),
    "deleted": ("deleted",),
    "all": ("active", "deleted"),
}
MOST = 50_000  # runs of a page
EXPERIMENTS = 10_000


def search(
    ws: Workspace,
    experiments: Sequence[int],
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    view: View = "active",
    limit: int = 1000,
    token: str | None = None,
    fields: Sequence[str] = FIELDS,
) -> Page:
    """The runs of these experiments that match, in their order: one statement, and one for each of `fields`.

    filter: see grammar.py; empty for all. order_by: such as "metrics.loss ASC"; then, as by default, what began last
    comes first. limit: 1 to 50,000. token: of the page before. fields: "params", "tags", "metrics", or one key of them,
    as "metrics.loss"; less is faster. Raises BadInput for what cannot be asked so.
    """
    if not 1 <= limit <= MOST:
        raise BadInput(f"a page of {limit} runs; ask for 1 to {MOST}, and follow the token")
    if view not in STAGES:
        raise BadInput(f"no view {view!r}; there are {', '.join(STAGES)}")
    if len(experiments) > EXPERIMENTS:
        raise BadInput(f"{len(experiments)} experiments in one search; at most {EXPERIMENTS}")
    wanted(fields)
    asked, terms = parse(filter), terms_of(parse_orders(order_by))
    among = tuple(sorted({each for each in experiments if 0 <= each < 2**63}))
    said = [among, filter, list(order_by), view]
    place = place_of(token, said, [term.field.holds == "number" for term in terms]) if token else None
    if not among:
        return Page((), None)
    with reading(ws) as link:
        dialect = link.dialect.name
        statement = page(Scope(among, STAGES[view]), asked, terms, place, rows=limit + 1, dialect=dialect)
        rows = read(link, statement)
        heads = len(HEADS)
        runs = tuple(Found(*row[:heads]) for row in rows[:limit])
        fill(link, runs, fields)
    if len(rows) <= limit:
        return Page(runs, None)
    last = rows[limit - 1][heads:]
    return Page(runs, token_of(list(zip(last[::2], last[1::2], strict=True)), said))
