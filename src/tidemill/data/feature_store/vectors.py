"""What an online store holds of a view: its state, how keys and values are written, and how they are read back.

Loads no DataFrame library. Keys are JSON texts of the entity's values, in ASCII: `["EWR"]`, `[17,"a"]`.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import Any, Literal

import msgspec

from tidemill.core.errors import BadInput, UnknownColumn, WrongFormat, WrongType
from tidemill.core.ids import canonical_json
from tidemill.data.feature_store.views import Source, View

FORMAT = 1
Kind = Literal["plain", "time", "local time", "date", "decimal"]
KeyKind = Literal["whole number", "text", "yes or no"]
START, LOCAL_START, FIRST_DAY = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1), date(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
Vector = dict[str, Any]  # Any: a feature's value


@dataclass(frozen=True, slots=True)
class Held:
    """What is there of one source: of which version, known until when (microseconds, None: all), in which types."""

    dataset: str
    version: str
    digest: str
    until: int | None
    keys: tuple[KeyKind, ...]
    values: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class State:
    """All that a store says of itself. horizon: the first moment (microseconds) that can be asked for, None for any.

    stale: rows were erased, so what they had superseded is missing until the view is materialized again.
    """

    view: View
    held: tuple[Held, ...]
    horizon: int | None = None
    stale: bool = False

    def encoded(self) -> bytes:
        """As JSON, the format first."""
        held = [
            {
                "dataset": each.dataset,
                "version": each.version,
                "digest": each.digest,
                "until": each.until,
                "keys": list(each.keys),
                "values": list(each.values),
            }
            for each in self.held
        ]
        body = {"format": FORMAT, "view": self.view.body(), "held": held}
        return canonical_json({**body, "horizon": self.horizon, "stale": self.stale})

    @staticmethod
    def of(data: bytes) -> State:
        """From JSON. Raises WrongFormat for a newer one."""
        body = json.loads(data)
        if body.get("format") != FORMAT:
            raise WrongFormat(
                f"online store has format {body.get('format')}, this tidemill reads {FORMAT}: pip install -U tidemill"
            )
        held = tuple(
            Held(**{**each, "keys": tuple(each["keys"]), "values": tuple(each["values"])}) for each in body["held"]
        )
        return State(View.of(body["view"]), held, body["horizon"], body["stale"])

    def marked_stale(self) -> State:
        """The same, to be built anew."""
        return replace(self, stale=True)


class Reader:
    """Reads one source's keys from entities, and its features from entries: their values, the event's time last."""

    def __init__(self, source: Source, held: Held) -> None:
        self.source = source
        self.within = None if source.within is None else source.within // MICROSECOND
        self.by = source.by, held.keys
        self._blank: Vector = dict.fromkeys(source.features)
        self._texts = [(column, _KEY_TEXTS[kind], kind) for column, kind in zip(source.by, held.keys, strict=True)]
        self._decode = msgspec.msgpack.Decoder(list[Any]).decode
        self._mended = [(n, _MENDED[kind]) for n, kind in enumerate(held.values) if kind != "plain"]

    def key(self, entity: Mapping[str, Any]) -> str | None:
        """The entity's key; None where a part of it is null."""
        texts: list[str] = []
        for column, text, kind in self._texts:
            try:
                value = entity[column]
            except KeyError:
                raise UnknownColumn(
                    f"entity {dict(entity)} has no {column!r}; features of {self.source.dataset!r} are found by "
                    f"{', '.join(self.source.by)}"
                ) from None
            if value is None:
                return None
            try:
                texts.append(text(value))
            except TypeError:
                raise WrongType(f"{column} {value!r} is no {kind}; give one") from None
        return f"[{','.join(texts)}]"

    def fill(self, vectors: Sequence[Vector], found: Sequence[bytes | None], at: int) -> None:
        """Put the features of what was found for a moment into each vector; nulls where that is nothing, or too old."""
        oldest = None if self.within is None else at - self.within
        for vector, entry in zip(vectors, found, strict=True):
            if entry is None:
                vector.update(self._blank)
                continue
            values = self._decode(entry)
            event = values.pop()
            if oldest is not None and event < oldest:
                vector.update(self._blank)
                continue
            for number, mend in self._mended:
                if values[number] is not None:
                    values[number] = mend(values[number])
            vector.update(zip(self._blank, values, strict=True))


def microseconds(at: datetime) -> int:
    """Microseconds since 1970 UTC. Raises BadInput for a time without a zone."""
    if at.tzinfo is None:
        raise BadInput(f"time {at} has no zone; use datetime(..., tzinfo=UTC)")
    return (at - START) // MICROSECOND


def moment(ticks: int) -> datetime:
    """The time that many microseconds after 1970, UTC."""
    return START + ticks * MICROSECOND


def key_text(values: Sequence[Any], kinds: Sequence[KeyKind]) -> str:
    """The key of an entity's values."""
    return f"[{','.join(_KEY_TEXTS[kind](value) for value, kind in zip(values, kinds, strict=True))}]"


def _whole(value: Any) -> str:
    if isinstance(value, bool):
        raise TypeError
    return str(operator.index(value))


def _yes_or_no(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    raise TypeError


_KEY_TEXTS: Mapping[str, Callable[[Any], str]] = {
    "whole number": _whole,
    "text": encode_basestring_ascii,  # raises TypeError for what is no text
    "yes or no": _yes_or_no,
}
_MENDED: Mapping[str, Callable[[Any], Any]] = {
    "time": moment,
    "local time": lambda ticks: LOCAL_START + ticks * MICROSECOND,
    "date": lambda days: FIRST_DAY + timedelta(days=days),
    "decimal": Decimal,
}
