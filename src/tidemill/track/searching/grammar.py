"""The language of filters: comparisons joined by AND, OR, NOT and brackets.

    filter      = disjunction
    disjunction = conjunction {OR conjunction}
    conjunction = part {[AND] part}
    part        = NOT part | "(" disjunction ")" | comparison
    comparison  = name operator value | name [NOT] IN "(" value {"," value} ")" | name IS [NOT] NULL
    name        = entity "." key | key          quoted by ` or " where it is not one word
    operator    = "=" | "!=" | "<" | "<=" | ">" | ">=" | [NOT] LIKE | [NOT] ILIKE
    value       = number | text in ' or "

It accepts what MLflow's own search of runs accepts (https://mlflow.org/docs/latest/ml/search/search-runs/), where a
text in quotes is what stands between them, quotes in it as written; OR, NOT, brackets and lists of numbers are ours.
Words are of any case, names of fields as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidemill.core.errors import BadInput
from tidemill.track.searching.tokens import Token, tokens_of
from tidemill.track.searching.vocabulary import RUNS, Field, Vocabulary

DEEPEST, MOST = 40, 400  # brackets in one another; comparisons in a filter: SQLite's trees are at most 1,000 deep
LONGEST = 5000  # characters of a pattern: SQLite takes 50,000 bytes, and a letter of either case may be 10
Value = str | int | float
OPERATORS = ("=", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field compared with a value. operator: in capitals, one word or two. value: None for IS NULL; many for IN."""

    field: Field
    operator: str
    value: Value | tuple[Value, ...] | None


@dataclass(frozen=True, slots=True)
class Not:
    """The other way round."""

    part: Expression


@dataclass(frozen=True, slots=True)
class All:
    """AND."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """OR."""

    parts: tuple[Expression, ...]


Expression = Comparison | Not | All | Some


def parse(text: str, vocabulary: Vocabulary = RUNS) -> Expression | None:
    """The filter as a tree; None for an empty one, which all match.

    Raises BadInput, with the place, for what is not in the language, for an unknown field (the nearest is named) and
    for a comparison that its field does not have.
    """
    if not text:
        return None
    if not text.strip():
        raise BadInput("a filter of blanks; leave it out, or write one such as: metrics.loss < 0.5")
    return _Reading(text, vocabulary).whole()


class _Reading:
    """One pass over the tokens of one filter."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self._text = text
        self._vocabulary = vocabulary
        self._tokens = tokens_of(text)
        self._place = 0
        self._depth = 0
        self._comparisons = 0

    def whole(self) -> Expression | None:
        """The tree of all of it."""
        while self._took("word", "and"):  # MLflow takes an AND too many
            pass
        if self._now.kind == "end":
            return None
        found = self._disjunction()
        if self._now.kind != "end":
            raise self._unexpected("the end, AND or OR")
        return found

    @property
    def _now(self) -> Token:
        return self._tokens[self._place]

    def _next(self) -> Token:
        found = self._now
        self._place += 1
        return found

    def _took(self, kind: str, text: str = "") -> bool:
        if self._now.kind != kind or (text and self._now.text != text):
            return False
        self._place += 1
        return True

    def _disjunction(self) -> Expression:
        parts = [self._conjunction()]
        while self._took("word", "or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _conjunction(self) -> Expression:
        parts = [self._part()]
        while True:
            while self._took("word", "and"):
                pass
            if self._now.kind in ("end", "close") or (self._now.kind == "word" and self._now.text == "or"):
                break
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _part(self) -> Expression:
        self._depth += 1
        if self._depth > DEEPEST:
            raise BadInput(f"a filter with more than {DEEPEST} brackets or NOTs in one another; write it flatter")
        try:
            if self._took("word", "not"):
                return Not(self._part())
            if self._took("open"):
                found = self._disjunction()
                if not self._took("close"):
                    raise self._unexpected("a closing bracket")
                return found
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Comparison | Not:
        self._comparisons += 1
        if self._comparisons > MOST:
            raise BadInput(f"a filter of more than {MOST} comparisons; use IN, or ask in several searches")
        name = self._next()
        if name.kind == "text" and name.text.startswith('"'):
            name = Token("name", name.text, name.at, "", name.key)
        if name.kind != "name":
            self._place -= 1
            raise self._unexpected(f"a name such as {self._vocabulary.example}")
        field = self._vocabulary.field(name.entity, name.key)
        operator, negated = self._operator(field)
        if operator in ("IS NULL", "IS NOT NULL"):
            found = Comparison(field, operator, None)
        elif operator in ("IN", "NOT IN"):
            found = Comparison(field, operator, self._list(field))
        else:
            found = Comparison(field, operator, self._value(field))
            if operator.endswith("LIKE") and len(str(found.value)) > LONGEST:
                raise BadInput(f"a pattern of {len(str(found.value))} characters for {field.shown}; at most {LONGEST}")
        return Not(found) if negated else found

    def _operator(self, field: Field) -> tuple[str, bool]:
        """The operator, and whether what it says is turned round."""
        token = self._next()
        written = token.text.upper()
        negated = False
        if token.kind == "word" and token.text == "not" and self._now.kind == "word":
            written, negated = self._next().text.upper(), True
            if written == "IN":
                written, negated = "NOT IN", False
            elif written not in ("LIKE", "ILIKE"):
                written = f"NOT {written}"
        elif token.kind == "word" and token.text == "is":
            if self._took("word", "null"):
                written = "IS NULL"
            elif self._took("word", "not") and self._took("word", "null"):
                written = "IS NOT NULL"
        elif token.kind not in ("operator", "word"):
            self._place -= 1
            raise self._unexpected(f"one of {', '.join(field.operators)} after {field.shown}")
        if written not in field.operators:
            raise BadInput(f"{written!r} does not compare {field.shown}; it takes {', '.join(field.operators)}")
        return written, negated

    def _value(self, field: Field) -> Value:
        token = self._next()
        if token.kind == "number" and field.holds in ("number", "any"):
            return number(token.text)
        if token.kind == "text" and field.holds in ("text", "any"):
            return token.text[1:-1]
        if token.kind in ("number", "text") and field.holds == "whole":
            found = _whole(token.text)
            if found is not None:
                return found
        self._place -= 1
        wanted = {"number": "a number", "whole": "a whole number", "text": "a text in quotes, such as 'a',"}
        wanted["any"] = "a number or a text in quotes"
        raise self._unexpected(f"{wanted[field.holds]} after {field.shown}")

    def _list(self, field: Field) -> tuple[Value, ...]:
        if not self._took("open"):
            raise self._unexpected(f"a list such as ('a', 'b') after {field.shown} IN")
        around = 0  # brackets around all of the list
        while self._took("open"):
            around += 1
        found: list[Value] = []
        while not self._took("close"):
            start = self._now
            value = self._value(field)
            if isinstance(value, str):
                value = _in_list(start.text)
                while self._now.kind == "text":  # as Python joins them
                    value += _in_list(self._next().text)
            found.append(value)
            if not self._took("comma") and self._now.kind != "close":
                raise self._unexpected("a comma or a closing bracket")
        for _ in range(around):
            if not self._took("close"):
                raise self._unexpected("a closing bracket")
        if not found:
            raise BadInput(f"an empty list after {field.shown} IN, which nothing is in; name at least one value")
        return tuple(found)

    def _unexpected(self, wanted: str) -> BadInput:
        token = self._now
        seen = "the end" if token.kind == "end" else repr(token.text[:60])
        where = f"character {token.at + 1} of {self._text[:400]!r}"
        return BadInput(f"{seen} at {where}: expected {wanted}")


def _whole(text: str) -> int | None:
    match = re.fullmatch(r"(['\"]?)(-?\d{1,18})\1", text)
    return int(match[2]) if match else None


def number(text: str) -> int | float:
    """A number as written: whole where it has neither point nor exponent and fits 64 bits."""
    if text.lstrip("-").isdigit():
        whole = int(text) if len(text) < 30 else float(text)
        return whole if isinstance(whole, float) or -(2**63) <= whole < 2**63 else float(whole)
    return float(text)


_ESCAPED = {"\\\\": "\\", "\\'": "'", '\\"': '"', "\\n": "\n", "\\t": "\t"}


def _in_list(quoted: str) -> str:
    """A text in a list: there MLflow reads Python's escapes, and takes two quotes in a row as two texts."""
    inner = quoted[1:-1].replace(quoted[0] * 2, "")
    if "\\" not in inner:
        return inner
    found, at = "", 0
    while at < len(inner):
        pair = inner[at : at + 2]
        found += _ESCAPED.get(pair, pair[0])
        at += 2 if pair in _ESCAPED else 1
    return found
