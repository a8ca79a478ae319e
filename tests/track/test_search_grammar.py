"""The language of filters and orders: what it takes, what it makes of it, and what it says of the rest."""

from __future__ import annotations

import random
import re
from contextlib import suppress

import pytest
from search_table import BOTH, NEITHER, OURS

from tidemill.core.errors import BadInput
from tidemill.track.searching.evaluating import compared, matches, ordered
from tidemill.track.searching.grammar import All, Comparison, Expression, Not, Some, parse
from tidemill.track.searching.order import parse_order
from tidemill.track.searching.vocabulary import EXPERIMENTS, LOGGED_MODELS, MODELS, VERSIONS, Field

ATTRIBUTES = "there are run_id, run_name, status, user_id, artifact_uri, start_time, end_time"
ENTITY = " What is logged has its entity before it: metrics.loss, params.depth, tags.team or start_time"


def shown(tree: Expression | None) -> str:
    """The tree as text, with brackets."""
    match tree:
        case None:
            return "all"
        case Not(part):
            return f"not({shown(part)})"
        case All(parts):
            return f"({' & '.join(map(shown, parts))})"
        case Some(parts):
            return f"({' | '.join(map(shown, parts))})"
        case Comparison(field, operator, value):
            return f"{field.entity}:{field.key} {operator} {value!r}"


@pytest.mark.parametrize("text", [*BOTH, *OURS])
def test_what_is_taken(text: str) -> None:
    parse(text)


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_refused_names_what_is_wrong(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(text)
    assert len(str(refused.value)) > 20


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", "all"),
        ("AND AND", "all"),
        ("metrics.loss<-1.5e-3", "metric:loss < -0.0015"),
        ("metric.`a b`>=5", "metric:a b >= 5"),
        ("params.a.b='x'", "param:a.b = 'x'"),
        ("""tag."mlflow.runName" LiKe 'it''s'""", "tag:mlflow.runName LIKE \"it''s\""),
        ("Created != 12345678901234567890", "attribute:start_time != 1.2345678901234567e+19"),
        ("`Run Name` not in ('a' , \"b\",)", "attribute:run_name NOT IN ('a', 'b')"),
        ("run_id in ('a' 'b', 'it\\'s', 'c\\\\d', 'e''f')", "attribute:run_id IN ('ab', \"it's\", 'c\\\\d', 'ef')"),
        ("run_id in (('a'))", "attribute:run_id IN ('a',)"),
        ("params.a is  not NULL", "param:a IS NOT NULL None"),
        ("params.a not ilike 'x'", "not(param:a ILIKE 'x')"),
        ("metrics.a = 1 AND metrics.b = 2 OR metrics.c = 3", "((metric:a = 1 & metric:b = 2) | metric:c = 3)"),
        ("metrics.a = 1 metrics.b = 2", "(metric:a = 1 & metric:b = 2)"),
        ("not (metrics.a=1 or metrics.b=2) AND metrics.c=3", "(not((metric:a = 1 | metric:b = 2)) & metric:c = 3)"),
        (
            "data.version = 'flights@3' and git.commit like 'a%'",
            "(lineage:data.version = 'flights@3' & lineage:git.commit LIKE 'a%')",
        ),
    ],
)
def test_what_is_made_of_it(text: str, tree: str) -> None:
    assert shown(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "metrics.loss > '1'",
            "\"'1'\" at character 16 of \"metrics.loss > '1'\": expected a number after metric 'loss'",
        ),
        (
            "metrics.loss like 1",
            "'LIKE' does not compare metric 'loss'; it takes =, !=, <, <=, >, >=, IN, NOT IN, IS NULL, IS NOT NULL",
        ),
        ("status < 'x'", "'<' does not compare status; it takes =, !=, LIKE, ILIKE, IN, NOT IN"),
        (
            "Metrics.loss > 1",
            "no entity 'Metrics' in Metrics.loss; there are metrics, metric, params, param, parameters, parameter, "
            "tags, tag, attributes, attribute, attr, run, datasets, dataset, data, labels, deployed, git. Did you mean "
            "'metrics'? A key with a dot in it is quoted: tags.`a.b`",
        ),
        ("los > 1", f"no attribute 'los'; {ATTRIBUTES}.{ENTITY}"),
        ("run_nam = 'a'", f"no attribute 'run_nam'; {ATTRIBUTES}. Did you mean 'run_name'?{ENTITY}"),
        (
            "metrics.val-loss > 1",
            "'-loss > 1' at character 12 of 'metrics.val-loss > 1': no name, number or text begins so. A name with "
            "such characters is quoted: metrics.`a-b/c`; a text too: 'a'",
        ),
        (
            "params.a = x",
            "'x' at character 12 of 'params.a = x': expected a text in quotes, such as 'a', after param 'a'",
        ),
        ("(params.a = 'x'", "the end at character 16 of \"(params.a = 'x'\": expected a closing bracket"),
        ("params.a = 'x')", "')' at character 15 of \"params.a = 'x')\": expected the end, AND or OR"),
        ("run_id IN ()", "an empty list after run_id IN, which nothing is in; name at least one value"),
        ("   ", "a filter of blanks; leave it out, or write one such as: metrics.loss < 0.5"),
        (
            "params.a = '\x00'",
            "\"params.a = '\\x00'\": searches hold no NUL character and no half of a surrogate pair",
        ),
    ],
)
def test_what_is_said_of_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(text)
    assert str(refused.value) == said


def test_whatever_is_written_is_taken_or_refused() -> None:
    chance = random.Random(11)
    names = ["metrics.a", "params.b", "tags.d", "status", "run_id", "data.version"]
    operators = ["=", "=", "!=", "<", ">=", "==", "like", "in", "is"]
    values = ["'x'", "'x'", '"y"', "5", "-1.5", "1e-3", "null", "('x')", "(5)"]
    odd = ["(", ")", ",", "`z`", "'", '"', "`", "\\", "--", ";", ".", "é", "\n", "%", "metrics.", "x.y", "[0]", "0x1"]
    odd += ["\x00", "\ud800", "and", "or", "NOT"]
    taken = 0
    for _ in range(5000):
        parts = [
            chance.choice(some) for some in chance.choice(([names, operators, values], [odd, names, odd], [odd] * 5))
        ]
        if chance.random() < 0.3:
            parts.insert(chance.randrange(len(parts)), chance.choice(odd))
        text = chance.choice(("", " ")).join(parts)
        try:
            parse(text)
            taken += 1
        except BadInput:
            pass
        with suppress(BadInput):
            parse_order(text)
    assert 100 < taken < 3000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(" * 200 + "status = 'x'" + ")" * 200, "more than 40 brackets or NOTs in one another"),
        ("not " * 5000 + "status = 'x'", "more than 40 brackets or NOTs in one another"),
        (" AND ".join(["status = 'x'"] * 401), "more than 400 comparisons"),
        (f"tags.a LIKE '{'a' * 5001}'", "a pattern of 5001 characters for tag 'a'; at most 5000"),
        ("a" * 1_000_001, "a filter of 1000001 characters; at most 1000000"),
    ],
    ids=["brackets", "nots", "comparisons", "pattern", "characters"],
)
def test_what_is_too_much_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("text", "field", "ascending"),
    [
        ("start_time", "start_time", True),
        ("Created DESC", "start_time", False),
        ("metrics.`val loss` asc", "metric 'val loss'", True),
        ('attributes."run name" Desc', "run_name", False),
        ("tags.mlflow.note", "tag 'mlflow.note'", True),
    ],
)
def test_orders(text: str, field: str, ascending: bool) -> None:
    order = parse_order(text)
    assert (order.field.shown, order.ascending) == (field, ascending)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("start_time down", "after start_time expected ASC, DESC or the end, not 'down'"),
        ("start_time desc desc", "expected ASC, DESC or the end"),
        ("'start_time'", "expected a name, then ASC or DESC"),
        ("datasets.name", "no order by dataset 'name', of which a run may have many"),
        ("startime", "no attribute 'startime'; there are"),
    ],
)
def test_orders_that_are_none(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        parse_order(text)


def test_other_things_have_other_fields() -> None:
    assert shown(parse("version_number >= '3' and source_path like 's3%'", VERSIONS)) == (
        "(attribute:version_number >= 3 & attribute:source_path LIKE 's3%')"
    )
    assert shown(parse("name ilike 'a%' and tags.`x` = '1'", MODELS)) == "(attribute:name ILIKE 'a%' & tag:x = '1')"
    assert shown(parse("metrics.auc > 0.9 and creation_time > 5", LOGGED_MODELS)) == (
        "(metric:auc > 0.9 & attribute:creation_timestamp > 5)"
    )
    assert parse_order("timestamp desc", MODELS).field.key == "last_updated_timestamp"
    with pytest.raises(
        BadInput, match="last_updated_timestamp is ordered by, not searched; search by name, version_number"
    ):
        parse("last_updated_timestamp > 5", VERSIONS)
    with pytest.raises(BadInput, match="expected a whole number after creation_time"):
        parse("creation_time > 1.5", EXPERIMENTS)
    with pytest.raises(BadInput, match="no entity 'metrics'"):
        parse("metrics.a > 1", MODELS)


def test_rows_in_memory_match_alike() -> None:
    row = {"name": "Delays", "run_id": None, "version_number": 3, "x": "1"}

    def value_of(field: Field) -> str | int | None:
        return row.get(field.key)  # type: ignore[return-value]  # its values are such

    for text, want in [
        ("name = 'Delays' and version_number > 2", True),
        ("name like 'delays'", False),
        ("name ilike 'del_ys'", True),
        ("run_id = 'a' or run_id != 'a' or run_id in ('a') or run_id not in ('a')", False),
        ("not run_id = 'a'", True),
        ("tags.x is not null and tags.y is null and version_number in (1, 3)", True),
    ]:
        assert matches(parse(text, VERSIONS), value_of) is want, text
    assert matches(None, value_of)


def test_rows_in_memory_are_ordered_alike() -> None:
    rows = [("a", 1.0), ("b", None), ("c", float("nan")), ("d", 2.0), ("e", 1.0)]

    def names(*texts: str) -> str:
        orders = [parse_order(text, LOGGED_MODELS) for text in texts]
        return "".join(name for name, _ in ordered(rows, orders, lambda row, field: row[field.key != "name"]))

    assert names("metrics.x") == "aedcb"
    assert names("metrics.x desc") == "daecb"
    assert names("metrics.x", "name desc") == "eadcb"


def test_patterns_take_no_more_time_than_the_length_of_both() -> None:
    assert not compared("a" * 3000, "LIKE", "%a" * 300 + "%b")  # tried one by one, these ways are more than atoms
    assert compared("a" * 3000, "ILIKE", "%A" * 300 + "%")
    assert compared("a\nb", "LIKE", "a_b")
    assert not compared("abc", "LIKE", "a.c")
