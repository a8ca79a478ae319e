"""Take a person out of JSON, text and learned bins: what erasure makes of records and blobs. Pure functions.

Two rules. A text that only this person's rows hold is replaced wherever it stands as a word of its own. A row of this
person (a mapping whose key is the row's, an entry of a list of row ids) is removed. Numbers are not recognised by their
value: 17 may be anybody's; so a person's numbers go with the rows, profiles and bins that hold them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.core.profile import ColumnBins

ERASED = "(erased)"
ID_NAMES = frozenset({"key", "row", "row_key", "row_id"})
LIST_NAMES = frozenset({"keys", "rows", "ids", "row_keys", "failing", "samples"})
STRUCTURE = frozenset(
    {"id", "kind", "status", "run_id", "digest", "code", "environment", "started_at", "ended_at", "created_at", "actor"}
    | {"table", "event_time", "known_time", "columns", "layers", "base", "parent", "branch", "step", "format"}
)
SHORTEST, SHORTEST_NUMBER = 4, 7
_NUMBER = re.compile(r"[-+]?[\d.,]+")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")

Json = Any  # any JSON value


class _Gone:
    """In the place of a row that is removed."""


GONE = _Gone()


@dataclass(frozen=True)
class Texts:
    """The texts that only this person's rows hold; none is looked for inside a longer word."""

    texts: tuple[str, ...]
    _pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)
    _escaped: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = sorted(set(self.texts), key=len, reverse=True)
        escaped = {form for text in ordered for form in (text, json.dumps(text, ensure_ascii=False)[1:-1])}
        ascii_form = {json.dumps(text)[1:-1] for text in ordered}
        object.__setattr__(self, "_pattern", _pattern(ordered))
        object.__setattr__(self, "_escaped", _pattern(sorted(escaped | ascii_form, key=len, reverse=True)))

    def within(self, encoded: str) -> bool:
        """Whether some text stands in this, which may be JSON."""
        return self._escaped is not None and self._escaped.search(encoded) is not None

    def out_of(self, text: str) -> str:
        """The text without them."""
        return text if self._pattern is None else self._pattern.sub(ERASED, text)

    def out_of_json(self, encoded: str) -> str:
        """Text that holds them as JSON or plainly, without them."""
        return encoded if self._escaped is None else self._escaped.sub(ERASED, encoded)


def _pattern(texts: Sequence[str]) -> re.Pattern[str] | None:
    if not texts:
        return None
    return re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, texts)) + r")(?!\w)")


def is_distinctive(text: str) -> bool:
    """Whether a text can be looked for by itself: neither short, nor a short number, nor a time."""
    if _TIME.fullmatch(text) or len(text.strip()) < SHORTEST:
        return False
    return not _NUMBER.fullmatch(text) or sum(letter.isdigit() for letter in text) >= SHORTEST_NUMBER


def cleaned(value: Json, texts: Texts, *, keys: frozenset[str] = frozenset(), columns: Iterable[str] = ()) -> Json:
    """The JSON value without the person. keys: the person's row ids, where the value is about their dataset.

    columns: the names of the dataset's key, besides those that hold row ids everywhere ("key", "keys", ...).
    """
    found = _cleaned(value, "", texts, keys, ID_NAMES | set(columns))
    return {"erased": True} if found is GONE else found


def _cleaned(value: Json, name: str, texts: Texts, keys: frozenset[str], ids: frozenset[str]) -> Json:
    if isinstance(value, str):
        return texts.out_of(value)
    if isinstance(value, Mapping):
        if keys and any(str(value[each]) in keys for each in ids if isinstance(value.get(each), str | int)):
            return GONE
        made = {}
        for key, each in value.items():
            found = each if key in STRUCTURE else _cleaned(each, key, texts, keys, ids)
            made[texts.out_of(key)] = {"erased": True} if found is GONE else found
        return made
    if isinstance(value, list | tuple):
        if keys and name in LIST_NAMES:
            value = [each for each in value if not (isinstance(each, str | int) and str(each) in keys)]
        found = [_cleaned(each, name, texts, keys, ids) for each in value]
        return _numbered([each for each in found if each is not GONE], value)
    return value


def _numbered(found: list[Json], before: Sequence[Json]) -> list[Json]:
    """Categories that were different stay different."""
    if sum(isinstance(each, str) and ERASED in each for each in found) < 2 or len(found) != len(before):
        return found
    seen: dict[str, int] = {}
    made = []
    for each in found:
        if isinstance(each, str) and ERASED in each:
            seen[each] = seen.get(each, 0) + 1
            each = each if seen[each] == 1 else each.replace(ERASED, f"(erased {seen[each]})")  # noqa: PLW2901
        made.append(each)
    return made


def bins_without(
    bins: Mapping[str, ColumnBins], counts: Mapping[str, Sequence[int]], texts: Texts, numbers: Mapping[str, set[float]]
) -> tuple[dict[str, ColumnBins], dict[str, tuple[int, ...]]]:
    """Frozen bins and their counts without categories and edges that are the person's alone.

    A category's rows count as other ones; where an edge goes, the bins beside it become one. numbers: by column, those
    that no other row has. A bin's edge is a value of some row, which is why it can tell of a person.
    """
    made: dict[str, ColumnBins] = {}
    left: dict[str, tuple[int, ...]] = {}
    for name, column in bins.items():
        tally = list(counts[name])
        if column.categories is not None:
            for place in reversed(range(len(column.categories))):
                if texts.out_of(column.categories[place]) != column.categories[place]:
                    tally[len(column.categories)] += tally[place]  # rows of no category stand behind the categories
                    tally = [each for at, each in enumerate(tally) if at != place]
                    column = ColumnBins(categories=column.categories[:place] + column.categories[place + 1 :])  # noqa: PLW2901
        else:
            edges = list(column.edges or ())
            for place in reversed(range(len(edges))):
                if edges[place] in numbers.get(name, ()):
                    tally[place] += tally.pop(place + 1)
                    edges.pop(place)
            column = ColumnBins(edges=tuple(edges))  # noqa: PLW2901
        made[name], left[name] = column, tuple(tally)
    return made, left
