"""What rows are ordered by: a field and a direction, as MLflow writes them: "metrics.loss ASC", "start_time DESC"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.core.errors import BadInput
from tidemill.track.searching.tokens import Token, tokens_of
from tidemill.track.searching.vocabulary import RUNS, Field, Vocabulary

MOST = 20


@dataclass(frozen=True, slots=True)
class Order:
    """A field that rows are ordered by. What has no value comes last either way, NaN before it."""

    field: Field
    ascending: bool = True


def parse_order(text: str, vocabulary: Vocabulary = RUNS) -> Order:
    """One order. Raises BadInput for an unknown field or direction."""
    tokens = tokens_of(text)
    name = tokens[0]
    if name.kind == "text" and name.text.startswith('"'):
        name = Token("name", name.text, name.at, "", name.key)
    if name.kind == "word":  # a field may be called so
        name = Token("name", name.text, name.at, "", name.text)
    if name.kind != "name":
        raise BadInput(f"order {text[:200]!r}: expected a name, then ASC or DESC, such as: start_time DESC")
    way = tokens[1].text.lower()
    if tokens[-1].kind != "end" or len(tokens) > 3 or way not in ("", "asc", "desc"):
        raise BadInput(f"order {text[:200]!r}: after {name.text} expected ASC, DESC or the end, not {tokens[1].text!r}")
    return Order(vocabulary.order(name.entity, name.key), way != "desc")


def parse_orders(texts: Sequence[str], vocabulary: Vocabulary = RUNS) -> tuple[Order, ...]:
    """Many orders, the first counts most. Raises BadInput for one that is there twice."""
    if len(texts) > MOST:
        raise BadInput(f"{len(texts)} orders; at most {MOST}")
    found = tuple(parse_order(text, vocabulary) for text in texts)
    fields = [each.field for each in found]
    for each in fields:
        if fields.count(each) > 1:
            raise BadInput(f"order by {each.shown} is there twice in {list(texts)}; once is enough")
    return found
