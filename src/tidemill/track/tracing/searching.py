"""Search of traces: the filters and orders that MLflow's clients write, with OR, NOT and brackets, as one statement.

    timestamp_ms, execution_time_ms, end_time_ms, status, name, request_id, client_request_id, run_id, prompt, text
    tags.`a`, metadata.`a`, span.name, span.type, span.status, span.attributes.`a`, span.content
    feedback.`a`, expectation.`a`, issue.id

Conditions on spans that stand beside each other are about one and the same span. What is short is read from the
trace's own row (its tags, metadata, judgements and the kinds of its spans are in its body); attributes and content are
looked for in the spans themselves.
"""

# ruff: noqa: S608  what users wrote is bound, never in the text of a statement (pieces.py)

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tidemill.core.errors import BadInput
from tidemill.core.graphs.committing import reading
from tidemill.core.workspace import Workspace
from tidemill.track.searching.comparing import among_ids, of_number, of_text
from tidemill.track.searching.found import read
from tidemill.track.searching.grammar import All, Comparison, Expression, Not, Some, parse
from tidemill.track.searching.order import Order, parse_orders
from tidemill.track.searching.ordering import Term, after, order_by_terms
from tidemill.track.searching.paging import place_of, token_of
from tidemill.track.searching.pieces import Piece, all_of, bracketed, concat, joined, some_of
from tidemill.track.searching.vocabulary import NULLS, NUMBERS, TEXTS, Attribute, Vocabulary

MOST = 50_000  # traces of a page
_TEXT, _LOGGED = Attribute("text", TEXTS), Attribute("text", (*TEXTS, *NULLS))
_NUMBER, _NUMBER_OR_NONE = Attribute("number", NUMBERS), Attribute("number", (*NUMBERS, *NULLS))
_JUDGED = Attribute("any", ("=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", *NULLS))
_SPAN_FIELDS = {"name": 0, "type": 1, "status": 2}  # place in a trace's kinds
_ATTRIBUTES = "attributes."

TRACES = Vocabulary(
    example="status, timestamp_ms, tags.team or span.name",
    entities={
        **dict.fromkeys(("attributes", "attribute", "attr", "trace"), "attribute"),
        **dict.fromkeys(("tags", "tag"), "tag"),
        **dict.fromkeys(("metadata", "request_metadata"), "metadata"),
        "span": "span",
        "feedback": "feedback",
        "expectation": "expectation",
        "issue": "issue",
    },
    free={"tag": _LOGGED, "metadata": _LOGGED, "span": _TEXT, "feedback": _JUDGED, "expectation": _JUDGED},
    fixed={
        "attribute": {
            **dict.fromkeys(("request_id", "status"), _TEXT),
            **dict.fromkeys(("name", "client_request_id", "run_id"), _LOGGED),
            "timestamp_ms": _NUMBER,
            **dict.fromkeys(("execution_time_ms", "end_time_ms"), _NUMBER_OR_NONE),
            "prompt": Attribute("text", ("=",)),
            "text": Attribute("text", ("LIKE", "ILIKE")),
            "experiment_id": Attribute("whole", ()),
        },
        "issue": {"id": Attribute("text", ("=",))},
    },
    aliases={
        "timestamp": "timestamp_ms",
        "execution_time": "execution_time_ms",
        "end_time": "end_time_ms",
        "trace_id": "request_id",
        "state": "status",
    },
)
_COLUMNS = {
    "request_id": "t.trace_id",
    "status": "t.state",
    "name": "t.name",
    "timestamp_ms": "t.at_ms",
    "execution_time_ms": "t.duration_ms",
    "end_time_ms": "(t.at_ms + t.duration_ms)",
    "experiment_id": "t.experiment",
}
_TRUE = "'true'"  # as PostgreSQL gives it out of JSON
_MAY_BE_NONE = ("name", "execution_time_ms", "end_time_ms", "client_request_id", "run_id")


class Page(NamedTuple):
    """The states of some traces in their order, and the token of the next page; None after the last."""

    traces: tuple[dict[str, Any], ...]
    token: str | None


def search(
    ws: Workspace,
    experiments: Sequence[int],
    filter: str = "",
    *,
    order_by: Sequence[str] = (),
    limit: int = 100,
    token: str | None = None,
) -> Page:
    """The traces of these experiments that match, the newest first where no order is given.

    limit: 1 to 50,000. token: of the page before. Raises BadInput for what cannot be asked so.
    """
    if not 1 <= limit <= MOST:
        raise BadInput(f"a page of {limit} traces; ask for 1 to {MOST}, and follow the token")
    among = tuple(sorted({each for each in experiments if 0 <= each < 2**63}))
    asked = parse(filter, TRACES)
    orders = parse_orders(order_by, TRACES)
    said = ["traces", among, filter, list(order_by)]
    if not among:
        return Page((), None)
    with reading(ws) as link:
        dialect = Sql(link.dialect.name)
        terms = _terms(orders, dialect)
        place = place_of(token, said, [term.field.holds != "text" for term in terms]) if token else None
        where = [among_ids("t.experiment", among, link.dialect.name)]
        where += [] if asked is None else [condition(asked, dialect)]
        where += [after(terms, place)] if place is not None else []
        keys = ", ".join(f"{term.rank}, {term.value}" for term in terms)
        statement = concat(
            f"SELECT t.body, {keys} FROM traces t",
            joined("", [term.join for term in terms if term.join is not None]),
            " WHERE ",
            joined(" AND ", where),
            f" ORDER BY {order_by_terms(terms)} LIMIT {limit + 1}",
        )
        rows = read(link, statement)
    found = tuple(json.loads(row[0]) for row in rows[:limit])
    if len(rows) <= limit:
        return Page(found, None)
    last = rows[limit - 1][1:]
    ranks = [int(each) for each in last[::2]]
    return Page(found, token_of(list(zip(ranks, last[1::2], strict=True)), said))


class Sql:
    """How JSON is read in a dialect."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self._sqlite = dialect == "sqlite"

    def pairs(self, part: str, row: str) -> str:
        """The pairs of an object of a trace's body, as rows of (key, value)."""
        if self._sqlite:
            return f"json_each(t.body, '$.{part}') {row}"
        return f"json_each_text(CAST(t.body AS json) -> '{part}') {row}"

    def items(self, of: str, part: str, row: str) -> str:
        """The items of a list in JSON, as rows of (value). part: of an object, "" for the list itself."""
        if self._sqlite:
            return f"json_each({of}, '$.{part}') {row}" if part else f"json_each({of}) {row}"
        inner = f"CAST({of} AS json) -> '{part}'" if part else f"CAST({of} AS json)"
        return f"json_array_elements({inner}) {row}(value)"

    def text(self, of: str, *path: str | int) -> str:
        """A text within JSON, by the names and places that lead to it; ours, not a user's."""
        if self._sqlite:
            where = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path)
            return f"json_extract({of}, '${where}')"
        return f"(CAST({of} AS json) #>> '{{{','.join(map(str, path))}}}')"

    def whole(self, of: str) -> str:
        """JSON as text."""
        return of if self._sqlite else f"CAST({of} AS text)"

    def join(self, rows: str) -> str:
        """A join that gives nothing where there is none."""
        return f" LEFT JOIN {rows}" if self._sqlite else f" LEFT JOIN LATERAL {rows}"


def condition(asked: Expression, sql: Sql) -> Piece:
    """A filter as a condition on a row t of `traces`."""
    if isinstance(asked, Not):
        return concat("NOT ", bracketed(concat("coalesce(", condition(asked.part, sql), f", {_no(sql)})")))
    if isinstance(asked, Some):
        return some_of([condition(part, sql) for part in asked.parts])
    if isinstance(asked, All):
        ours = [part for part in asked.parts if _is_of_span(part)]
        others = [condition(part, sql) for part in asked.parts if not _is_of_span(part)]
        return all_of(
            [*others, *([_of_span([part for part in ours if isinstance(part, Comparison)], sql)] if ours else [])]
        )
    if _is_of_span(asked):
        return _of_span([asked], sql)
    return _comparison(asked, sql)


def _no(sql: Sql) -> str:
    return "0" if sql.dialect == "sqlite" else "false"


def _is_of_span(asked: Expression) -> bool:
    if not isinstance(asked, Comparison):
        return False
    return asked.field.entity == "span" or (asked.field.entity, asked.field.key) == ("attribute", "text")


def _comparison(asked: Comparison, sql: Sql) -> Piece:
    entity, key = asked.field.entity, asked.field.key
    if entity in ("tag", "metadata"):
        if (entity, key) == ("tag", "mlflow.traceName"):
            return _column(asked, "t.name", sql)
        if (entity, key) == ("metadata", "mlflow.sourceRun") and asked.operator == "=":
            return _of_run(asked, sql)
        return _of_pairs(asked, "tags" if entity == "tag" else "metadata", sql)
    if entity in ("feedback", "expectation", "issue"):
        return _judged(asked, sql)
    if key == "run_id":
        return _of_run(asked, sql)
    if key == "prompt":
        listed = sql.items("t.body", "prompts", "x")
        value = "x.value" if sql.dialect == "sqlite" else "(x.value #>> '{}')"
        return Piece(f"EXISTS (SELECT 1 FROM {listed} WHERE {value} = ?)", (str(asked.value),))
    if key == "client_request_id":
        return _column(asked, sql.text("t.body", "client_request_id"), sql)
    return _column(asked, _COLUMNS[key], sql)


def _column(asked: Comparison, column: str, sql: Sql) -> Piece:
    if asked.operator in NULLS:
        return Piece(f"{column} {asked.operator}")
    return of_text(asked, column, sql.dialect) if asked.field.holds == "text" else of_number(asked, column)


def _of_run(asked: Comparison, sql: Sql) -> Piece:
    here = "EXISTS (SELECT 1 FROM trace_runs r WHERE r.trace_id = t.trace_id"
    if asked.operator in NULLS:
        return Piece(f"{'NOT ' if asked.operator == 'IS NULL' else ''}{here})")
    return concat(f"{here} AND ", of_text(asked, "r.run_id", sql.dialect), ")")


def _of_pairs(asked: Comparison, part: str, sql: Sql) -> Piece:
    here = Piece(f"EXISTS (SELECT 1 FROM {sql.pairs(part, 'x')} WHERE x.key = ?", (asked.field.key,))
    if asked.operator in NULLS:
        return concat("NOT " if asked.operator == "IS NULL" else "", here, ")")
    return concat(here, " AND ", of_text(asked, "x.value", sql.dialect), ")")


def _judged(asked: Comparison, sql: Sql) -> Piece:
    """Of valid assessments of that kind and name; issues are named by what they are."""
    kind = asked.field.entity
    name = str(asked.value) if kind == "issue" else asked.field.key
    valid = f"{sql.text('x.value', 'valid')} = {1 if sql.dialect == 'sqlite' else _TRUE}"
    here = Piece(
        f"EXISTS (SELECT 1 FROM {sql.items('t.body', 'assessments', 'x')} WHERE "
        f"{sql.text('x.value', 'assessment_name')} = ? AND {sql.text('x.value', kind)} IS NOT NULL AND "
        f"{valid}",
        (name,),
    )
    if kind == "issue" or asked.operator in NULLS:
        return concat("NOT " if asked.operator == "IS NULL" else "", here, ")")
    value = sql.text("x.value", kind, "value")
    if isinstance(asked.value, int | float):
        return concat(here, " AND ", _as_number(asked, kind, value, sql), ")")
    shown = value
    if sql.dialect == "sqlite":  # its booleans are numbers
        boolean = "CASE {0} WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST({1} AS text) END"
        shown = boolean.format(f"json_type(x.value, '$.{kind}.value')", value)
    said = of_text(asked, shown, sql.dialect)
    number = _number(asked.value)
    if number is not None and asked.operator in ("=", "!="):  # JSON has 42 as 42.0, and clients write '42'
        same = replace(asked, value=number)
        join = some_of if asked.operator == "=" else all_of
        said = join([said, concat("coalesce(", _as_number(same, kind, value, sql), f", {_no(sql)})")])
    return concat(here, " AND ", said, ")")


def _number(value: object) -> float | None:
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _as_number(asked: Comparison, kind: str, value: str, sql: Sql) -> Piece:
    """A value that is a number, compared; PostgreSQL must not read another as one."""
    if sql.dialect == "sqlite":
        is_number = f"json_type(x.value, '$.{kind}.value') IN ('integer', 'real')"
        return concat(is_number, " AND ", of_number(asked, value))
    is_number = f"json_typeof(CAST(x.value AS json) #> '{{{kind},value}}') = 'number'"
    return of_number(asked, f"(CASE WHEN {is_number} THEN CAST({value} AS double precision) END)")


def _of_span(asked: Sequence[Comparison], sql: Sql) -> Piece:
    """Whether one span is as all of these say."""
    if all(each.field.key in _SPAN_FIELDS for each in asked):
        parts = [of_text(each, sql.text("x.value", _SPAN_FIELDS[each.field.key]), sql.dialect) for each in asked]
        return concat(f"EXISTS (SELECT 1 FROM {sql.items('t.body', 'kinds', 'x')} WHERE ", joined(" AND ", parts), ")")
    parts = [_of_one_span(each, sql) for each in asked]
    return concat(
        f"EXISTS (SELECT 1 FROM trace_spans p, {sql.items('p.body', '', 's')} WHERE p.trace_id = t.trace_id AND ",
        joined(" AND ", parts),
        ")",
    )


def _of_one_span(asked: Comparison, sql: Sql) -> Piece:
    key = asked.field.key
    if key in ("name", "status"):
        return of_text(asked, sql.text("s.value", key), sql.dialect)
    if key == "type":
        named = "json_extract(s.value, '$.attributes.\"mlflow.spanType\"')"
        named = named if sql.dialect == "sqlite" else "(s.value -> 'attributes' ->> 'mlflow.spanType')"
        return of_text(asked, f"coalesce({named}, 'UNKNOWN')", sql.dialect)
    if key in ("content", "text"):
        if asked.operator not in ("LIKE", "ILIKE"):
            raise BadInput(f"{asked.operator!r} does not compare the content of spans; it takes LIKE, ILIKE")
        return of_text(asked, sql.whole("s.value"), sql.dialect)
    if not key.startswith(_ATTRIBUTES) or key == _ATTRIBUTES:
        raise BadInput(f"no field {key!r} of spans; there are name, type, status, content and attributes.<name>")
    pairs = (
        "json_each(s.value, '$.attributes') a"
        if sql.dialect == "sqlite"
        else "json_each_text(s.value -> 'attributes') a"
    )
    here = Piece(f"EXISTS (SELECT 1 FROM {pairs} WHERE a.key = ?", (key.removeprefix(_ATTRIBUTES).strip("`"),))
    return concat(here, " AND ", of_text(asked, "CAST(a.value AS text)", sql.dialect), ")")


def _terms(orders: Sequence[Order], sql: Sql) -> tuple[Term, ...]:
    found = [_term(each, place, sql) for place, each in enumerate(orders)]
    named = [each.field.key for each in found if each.field.entity == "attribute"]
    for key, ascending in (("timestamp_ms", False), ("request_id", True)):
        if key not in named:
            found.append(_term(Order(TRACES.field("", key), ascending), len(found), sql))
    return tuple(found)


def _term(order: Order, place: int, sql: Sql) -> Term:
    field = order.field
    if field.entity in ("tag", "metadata"):
        row = f"o{place}"
        rows = sql.pairs("tags" if field.entity == "tag" else "metadata", row)
        join = concat(sql.join(rows), Piece(f" ON {row}.key = ?", (field.key,)))
        value = f"CAST({row}.value AS text)"
        return Term(field, f"(CASE WHEN {row}.key IS NULL THEN 1 ELSE 0 END)", value, order.ascending, join)
    if field.entity != "attribute" or field.key in ("prompt", "text"):
        raise BadInput(f"traces are not ordered by {field.shown}; order by {', '.join(_COLUMNS)}, tags or metadata")
    value = _COLUMNS.get(field.key, "")
    if field.key == "run_id":
        value = "(SELECT min(r.run_id) FROM trace_runs r WHERE r.trace_id = t.trace_id)"
    elif field.key == "client_request_id":
        value = sql.text("t.body", "client_request_id")
    rank = f"(CASE WHEN {value} IS NULL THEN 1 ELSE 0 END)" if field.key in _MAY_BE_NONE else "0"
    return Term(field, rank, value, order.ascending)
