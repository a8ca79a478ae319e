"""From a request's rows to answers and the records that must be durable before they are sent."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from tidemill.core.ids import iso, new_id, parse_time, utc_now
from tidemill.core.types import Prediction
from tidemill.serve.lineup import Lineup, Member, prediction_id
from tidemill.serve.schema import FieldFault, faults

MAX_ROWS = 10_000
ERROR_SCORE = 0.0  # what a record of a failed answer holds as its score; `error` says that it is none

# Any below: JSON values of a request's rows.


class Asked(msgspec.Struct):
    """A request. keys: what identifies each row to the caller; at: the time for which each is asked."""

    rows: list[dict[str, Any]]
    keys: list[str] | None = None
    at: list[str] | str | None = None


class Answer(msgspec.Struct, frozen=True):
    """One answer: the prediction's id, P(positive), and the revision that gave it."""

    id: str
    score: float
    revision: int


class Answers(msgspec.Struct):
    """All answers to a request, in the order of its rows."""

    predictions: list[Answer]


class Wrong(Exception):
    """A request that cannot be answered as asked: status and the JSON body that says why."""

    def __init__(self, status: int, message: str, found: Sequence[FieldFault] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"error": message}
        if found:
            self.body["faults"] = [{**fault.as_dict(), "text": fault.text()} for fault in found]


class Failed(Exception):
    """A model could not answer; `records` say so in the prediction log."""

    def __init__(self, message: str, records: list[Prediction]) -> None:
        super().__init__(message)
        self.records = records


def parse(body: bytes) -> Asked:
    """The request in a body; Wrong 400 for what is no JSON, 422 for JSON of another shape, 413 for too many rows."""
    try:
        asked = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Wrong(422, f'{error}; send {{"rows": [{{"column": value}}], "keys": ["..."], "at": ["..."]}}') from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Wrong(400, f"the body is no JSON: {error}") from error
    count = len(asked.rows)
    if not count:
        raise Wrong(422, "rows is empty; send at least one row")
    if count > MAX_ROWS:
        raise Wrong(413, f"{count} rows in one request; at most {MAX_ROWS}: send several requests")
    for name in ("keys", "at"):
        given = getattr(asked, name)
        if isinstance(given, list) and len(given) != count:
            raise Wrong(422, f"{name} has {len(given)} entries for {count} rows; send one for each row, or none")
    return asked


_decoder = msgspec.json.Decoder(Asked)
_encoder = msgspec.json.Encoder()


def answer(lineup: Lineup, asked: Asked, began_s: float) -> tuple[bytes, list[Prediction]]:
    """(the response's body, the records to log). began_s: `time.perf_counter()` when the request had been parsed.

    A shadow is asked after the answer is ready and its latency taken; what goes wrong there is recorded and hurts
    nobody. Raises Wrong 422 with the faults of the rows, Failed where a model breaks.
    """
    logged_at = iso(utc_now())
    keys = _keys(lineup, asked)
    times = _times(asked, logged_at)
    ids = [prediction_id(lineup.deployment, key) for key in keys]
    members = [lineup.answers(key) for key in keys]
    _check(asked.rows, members)

    def records(chosen: Sequence[tuple[int, Member, float]], role: str, error: str | None = None) -> list[Prediction]:
        taken_s = round(time.perf_counter() - began_s, 7)
        return [
            Prediction(
                ids[place],
                lineup.deployment,
                member.revision,
                member.model_id,
                keys[place],
                times[place],
                logged_at,
                _role(lineup, member, role),
                score,
                asked.rows[place],
                taken_s,
                error,
            )
            for place, member, score in chosen
        ]

    try:
        scores = _scores(asked.rows, members)
    except Exception as error:  # a model is the user's code: whatever it raises becomes a record and a 500
        text = f"{type(error).__name__}: {error}"
        failed = [(place, member, ERROR_SCORE) for place, member in enumerate(members)]
        raise Failed(text, records(failed, "live", text)) from error
    answers = [Answer(ids[place], scores[place], member.revision) for place, member in enumerate(members)]
    body = _encoder.encode(Answers(answers))
    logged = records([(place, member, scores[place]) for place, member in enumerate(members)], "live")
    if lineup.shadow is not None:
        shadows, error_text = _shadow_scores(asked.rows, lineup.shadow)
        chosen = [(place, lineup.shadow, score) for place, score in enumerate(shadows)]
        logged += records(chosen, "shadow", error_text)
    return body, logged


def _keys(lineup: Lineup, asked: Asked) -> list[str]:
    """Row keys: as sent, else the model's key column where the row has it, else new ones."""
    if asked.keys is not None:
        return asked.keys
    column = lineup.champion.package.meta.get("key")
    found = [row.get(column) if column else None for row in asked.rows]
    return [new_id() if key is None else str(key) for key in found]


def _times(asked: Asked, now: str) -> list[str]:
    if asked.at is None:
        return [now] * len(asked.rows)
    given = [asked.at] * len(asked.rows) if isinstance(asked.at, str) else asked.at
    read: dict[str, str] = {}
    for place, text in enumerate(given):
        if text not in read:
            try:
                read[text] = iso(parse_time(text))
            except (ValueError, OverflowError) as error:
                message = f"at[{place}] is {text[:60]!r}; allowed: an ISO 8601 time such as 2013-04-01T14:03:00Z"
                raise Wrong(422, message) from error
    return [read[text] for text in given]


def _check(rows: Sequence[Mapping[str, Any]], members: Sequence[Member]) -> None:
    found: list[FieldFault] = []
    if len({member.revision for member in members}) == 1:
        found = faults(rows, members[0].package.columns)
    else:
        for place, (row, member) in enumerate(zip(rows, members, strict=True)):
            found += faults([row], member.package.columns, first=place)
    if found:
        raise Wrong(422, found[0].text(), found[:20])


def _scores(rows: Sequence[Mapping[str, Any]], members: Sequence[Member]) -> list[float]:
    scores = [math.nan] * len(rows)
    for member in {member.revision: member for member in members}.values():
        places = [place for place, other in enumerate(members) if other is member]
        for place, score in zip(places, member.package.score_checked([rows[place] for place in places]), strict=True):
            if not math.isfinite(score):
                raise ArithmeticError(
                    f"revision {member.revision} scores row {place} as {score}; add a fill step to its recipe"
                )
            scores[place] = score
    return scores


def _shadow_scores(rows: Sequence[Mapping[str, Any]], shadow: Member) -> tuple[list[float], str | None]:
    try:
        wrong = faults(rows, shadow.package.columns)
        if wrong:
            raise ValueError(wrong[0].text())
        return _scores(rows, [shadow] * len(rows)), None
    except Exception as error:  # the shadow must not hurt the answer, whatever it raises
        return [ERROR_SCORE] * len(rows), f"{type(error).__name__}: {error}"


def _role(lineup: Lineup, member: Member, role: str) -> Literal["live", "canary", "shadow"]:
    if role == "shadow":
        return "shadow"
    return "canary" if member.revision == lineup.traffic.canary else "live"
