"""Take a person out of JSON, text and learned bins: what erasure makes of records and blobs. Pure functions.

Two rules. A text that only this person's rows hold is replaced wherever it stands as a word of its own. A row of this
person (a mapping whose key is the row's, an entry of a list of row ids) is removed. Numbers are not recognised by their
value: 17 may be anybody's; so a person's numbers go with the rows, profiles and bins that hold them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tidemill.core.profile import ColumnBins

ERASED = "(erased)"
ID_NAMES = frozenset({"key", "row", "row_key", "row_id"})
LIST_NAMES = frozenset({"keys", "rows", "ids", "row_keys", "failing", "samples"})
STRUCTURE = frozenset(
    {"id", "kind", "status", "run_id", "digest", "code", "environment", "started_at", "ended_at", "created_at", "actor"}
    | {"table", "event_time", "known_time", "columns", "layers", "base", "parent", "branch", "step", "format"}
)
# How a trace and its spans are kept (core/graphs/traced.py): names that say nothing of anybody.
TRACE_NAMES = frozenset(
    {"trace", "id", "experiment", "at_ms", "duration_ms", "state", "tags", "metadata", "runs", "prompts", "kinds"}
    | {"assessments", "client_request_id", "request_preview", "response_preview", "finalized", "spans"}
    | {"parent", "name", "start", "end", "status", "message", "attributes", "events", "links", "at", "scope", "version"}
)
SHORTEST, SHORTEST_NUMBER = 4, 7
MOST_IN_PATTERN = 300  # an alternation is tried text by text at each place; beyond this, words are looked up
_WORD, _IN_WORD = re.compile(r"\w+"), re.compile(r"\w")
_NUMBER = re.compile(r"[-+]?[\d.,]+")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")

Json = Any  # any JSON value


class _Gone:
    """In the place of a row that is removed."""


GONE = _Gone()


class Texts:
    """The texts that only this person's rows hold; none is looked for inside a longer word."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(sorted(set(texts)))
        forms = {form for text in self.texts for form in (text, _in_json(text), json.dumps(text)[1:-1])}
        self._plain = _Finder(self.texts)
        self._encoded = _Finder(forms)

    def within(self, encoded: str) -> bool:
        """Whether some text stands in this, which may be JSON."""
        return next(self._encoded.places(encoded), None) is not None

    def out_of(self, text: str) -> str:
        """The text without them."""
        return self._plain.out_of(text)

    def out_of_json(self, encoded: str) -> str:
        """Text that holds them as JSON or plainly, without them."""
        return self._encoded.out_of(encoded)


class _Finder:
    """Finds any of many texts: by one regular expression, or, where they are many, by the first word of each."""

    def __init__(self, texts: Iterable[str]) -> None:
        ordered = sorted(set(texts), key=len, reverse=True)
        self._pattern: re.Pattern[str] | None = None
        self._by_word: dict[str, list[tuple[str, int]]] = {}
        indexed = ordered if len(ordered) > MOST_IN_PATTERN else []
        for text in indexed:
            found = _WORD.search(text)
            if found is not None:
                self._by_word.setdefault(found[0], []).append((text, found.start()))
        rest = [text for text in ordered if not indexed or _WORD.search(text) is None]
        if rest:
            self._pattern = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, rest)) + r")(?!\w)")

    def places(self, within: str) -> Iterator[tuple[int, int]]:
        """Where texts begin and end, in order; the longest where several begin."""
        spans = [] if self._pattern is None else [match.span() for match in self._pattern.finditer(within)]
        if self._by_word:
            spans += self._by_words(within)
        end = 0
        for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
            if start >= end:
                yield start, stop
                end = stop

    def out_of(self, text: str) -> str:
        """The text with ERASED in their places."""
        made, last = [], 0
        for start, stop in self.places(text):
            made += [text[last:start], ERASED]
            last = stop
        return "".join([*made, text[last:]]) if made else text

    def _by_words(self, within: str) -> Iterator[tuple[int, int]]:
        for word in _WORD.finditer(within):
            for text, offset in self._by_word.get(word[0], ()):
                start = word.start() - offset
                stop = start + len(text)
                if start >= 0 and within.startswith(text, start) and _is_apart(within, start, stop):
                    yield start, stop
                    break


def _is_apart(within: str, start: int, stop: int) -> bool:
    """Whether what stands there is a word, or words, of its own."""
    ahead, behind = within[start - 1 : start], within[stop : stop + 1]
    return not (ahead == "." or _IN_WORD.match(ahead) or _IN_WORD.match(behind))


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def is_distinctive(text: str) -> bool:
    """Whether a text can be looked for by itself: neither short, nor a short number, nor a time."""
    if _TIME.fullmatch(text) or len(text.strip()) < SHORTEST:
        return False
    return not _NUMBER.fullmatch(text) or sum(letter.isdigit() for letter in text) >= SHORTEST_NUMBER


def is_identifier(text: str) -> bool:
    """Whether a distinctive text names one thing wherever it stands: letters with digits or @, not a word.

    >>> [is_identifier(text) for text in ("ada@example.org", "o-2026-17", "Reading", "1234567")]
    [True, True, False, False]
    """
    mixed = any(letter.isdigit() or letter == "@" for letter in text)
    return is_distinctive(text) and mixed and any(letter.isalpha() for letter in text)


def cleaned(value: Json, texts: Texts, *, keys: frozenset[str] = frozenset(), columns: Iterable[str] = ()) -> Json:
    """The JSON value without the person. keys: the person's row ids, where the value is about their dataset.

    columns: the names of the dataset's key, besides those that hold row ids everywhere ("key", "keys", ...).
    """
    found = _cleaned(value, "", texts, keys, ID_NAMES | set(columns))
    return {"erased": True} if found is GONE else found


def everywhere(value: Json, texts: Texts) -> Json:
    """The JSON value with the texts out of every text in it, names too: what programs sent, whose words mean nothing.

    Texts in it may be JSON themselves.
    """
    if isinstance(value, str):
        return texts.out_of_json(value)
    if isinstance(value, Mapping):
        return {
            name if name in TRACE_NAMES else texts.out_of_json(name): everywhere(each, texts)
            for name, each in value.items()
        }
    return [everywhere(each, texts) for each in value] if isinstance(value, list | tuple) else value


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
