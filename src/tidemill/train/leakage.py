"""Leakage: what held-out rows share with the training rows, and columns that know the target.

Source of the kinds: Kapoor & Narayanan, Leakage and the reproducibility crisis in machine-learning-based science,
Patterns 4, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tidemill.core.errors import require_columns
from tidemill.core.rowhash import row_words
from tidemill.train.telling import skill

if TYPE_CHECKING:
    import polars as pl

Severity = Literal["error", "warn", "note"]
Kind = Literal["same key", "same row", "near row", "same group", "time", "target", "tells the target"]

SHOWN = 20  # pairs of rows that a finding names
TELLS = 0.99  # the share of the target's uncertainty that a column takes away alone: beyond it, it is the target
TELLS_MUCH = 0.8  # and beyond this it is worth a look


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which held-out rows, or a column, give the answer away.

    severity: "error" spoils the scores, "warn" may, "note" is to be known. rows: how many held-out rows; share: of all.
    pairs: (training row id, held-out row id) of up to 20 of them, where a finding is about pairs. column: the one
    concerned, if any.
    """

    kind: Kind
    severity: Severity
    text: str
    rows: int = 0
    share: float = 0.0
    pairs: tuple[tuple[str, str], ...] = ()
    column: str | None = None

    def as_json(self) -> dict[str, Any]:  # Any: text and numbers
        """The finding as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__} | {"pairs": [list(pair) for pair in self.pairs]}


def check(
    train: pl.DataFrame,
    held_out: pl.DataFrame,
    *,
    key: str,
    target: str | None,
    columns: Sequence[str],
    time: str | None = None,
    groups: Sequence[str] = (),
    digits: int = 3,
) -> list[Finding]:
    """All findings, the worst first; empty is good.

    columns: those from which the model is made (a recipe's raw input columns). key, time: the row id and the event
    time. groups: columns whose values must not be on both sides, such as a customer's id. digits: rows whose numbers
    agree to so many significant digits, and texts but for case and space, are nearly the same.

    - same key, same group: in both.
    - same row: all columns equal; near row: equal after rounding, not counting equal ones.
    - time: held-out rows that are not later than the last training row.
    - target: it is among the columns. tells the target: one column alone foretells it on the held-out rows.

    Raises UnknownColumn.
    """
    wanted = [name for name in (key, target, time, *groups, *columns) if name is not None]
    require_columns(wanted, train.columns, where="the training rows")
    require_columns(wanted, held_out.columns, where="the held-out rows")
    if not (train.height and held_out.height):
        return []
    features = [name for name in columns if name not in (key, target)]
    found = [
        _shared(train, held_out, key, key, "same key"),
        *(_shared(train, held_out, key, group, "same group") for group in groups),
        *_alike(train, held_out, key=key, target=target, features=features, digits=digits),
        _times(train, held_out, key, time),
        _target_itself(columns, target),
        *_telling(train, held_out, target, features),
    ]
    worst = ("error", "warn", "note")
    return sorted((each for each in found if each is not None), key=lambda each: worst.index(each.severity))


def _shared(train: pl.DataFrame, held_out: pl.DataFrame, key: str, column: str, kind: Kind) -> Finding | None:
    import polars as pl

    ours, theirs = (
        pl.DataFrame({"value": frame[column].cast(pl.String), "key": frame[key].cast(pl.String)})
        for frame in (train, held_out)
    )
    joined = _joined(ours.drop_nulls("value"), theirs.drop_nulls("value"))
    if joined.height == 0:
        return None
    share = joined.height / held_out.height
    values = joined["value"].n_unique()
    what = f"row ids ({column})" if kind == "same key" else f"values of group {column!r}"
    text = f"{values:,} {what} of {joined.height:,} held-out rows ({share:.1%}) are among the training rows, too"
    return Finding(kind, "error", text, joined.height, share, _pairs(joined), column)


def _alike(
    train: pl.DataFrame,
    held_out: pl.DataFrame,
    *,
    key: str,
    target: str | None,
    features: Sequence[str],
    digits: int,
) -> list[Finding | None]:
    """Rows of equal, and of nearly equal content."""
    if not features:
        return []
    rounded = _rounded(train, features, digits)
    same = _twins(train, held_out, key, target, features)
    near = _twins(rounded, _rounded(held_out, features, digits), key, target, features)
    near = near.join(same.select("other"), on="other", how="anti", maintain_order="left")
    found: list[Finding | None] = []
    if same.height:
        how = f"are equal to a training row in all {len(features)} columns"
        found.append(_told("same row", "warn", how, same, train, held_out, target, features))
    if near.height:
        how = f"differ from a training row only after {digits} digits, in case or in spaces"
        found.append(_told("near row", "note", how, near, rounded, held_out, target, features))
    return found


def _told(
    kind: Kind,
    severity: Severity,
    how: str,
    twins: pl.DataFrame,
    train: pl.DataFrame,
    held_out: pl.DataFrame,
    target: str | None,
    features: Sequence[str],
) -> Finding:
    """With how many training rows are so alike among themselves: where rows repeat anyway, twins are no leak."""
    share = twins.height / held_out.height
    own = 1 - len(np.unique(row_words(train.select(list(features)))[0])) / train.height
    agree = "" if target is None else f", {int(twins['agree'].sum()):,} of them with its target"
    text = f"{twins.height:,} held-out rows ({share:.1%}) {how}{agree} (of the training rows {own:.1%} repeat another)"
    return Finding(kind, severity, text, twins.height, share, _pairs(twins))


def _twins(
    train: pl.DataFrame, held_out: pl.DataFrame, key: str, target: str | None, features: Sequence[str]
) -> pl.DataFrame:
    import polars as pl

    def hashed(frame: pl.DataFrame) -> pl.DataFrame:
        words, _ = row_words(frame.select(list(features)))
        aim = pl.Series([None] * frame.height, dtype=pl.String) if target is None else frame[target].cast(pl.String)
        return pl.DataFrame({"value": words, "key": frame[key].cast(pl.String), "aim": aim})

    return _joined(hashed(train), hashed(held_out)).with_columns(agree=pl.col("aim").eq_missing(pl.col("aim_right")))


def _joined(ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """Each of theirs whose value ours hold, once, with the first of ours: columns value, key, other."""
    first = ours.unique("value", keep="first", maintain_order=True)
    return theirs.rename({"key": "other"}).join(first, on="value", how="inner", maintain_order="left")


def _rounded(frame: pl.DataFrame, features: Sequence[str], digits: int) -> pl.DataFrame:
    import polars as pl

    changed: list[pl.Expr] = []
    for name in features:
        if frame[name].dtype.is_float():
            changed.append(pl.col(name).round_sig_figs(digits))
        elif frame[name].dtype == pl.String:
            changed.append(pl.col(name).str.strip_chars().str.to_lowercase())
    return frame.with_columns(changed)


def _times(train: pl.DataFrame, held_out: pl.DataFrame, key: str, time: str | None) -> Finding | None:
    import polars as pl

    if time is None:
        return None
    last = train[time].max()
    early = held_out.filter(pl.col(time) <= last)
    if early.height == 0:
        return None
    latest = str(train.filter(pl.col(time) == last)[key][0])
    share = early.height / held_out.height
    text = (
        f"{early.height:,} held-out rows ({share:.1%}) are not later than the last training row, {last!s}: scores on "
        "them do not say how well the future is foretold; split by time=[...]"
    )
    pairs = tuple((latest, str(each)) for each in early[key].head(SHOWN).to_list())
    return Finding("time", "warn", text, early.height, share, pairs, time)


def _target_itself(columns: Sequence[str], target: str | None) -> Finding | None:
    if target is None or target not in columns:
        return None
    return Finding(
        "target", "error", f"target {target!r} is among the columns that the model is made from", column=target
    )


def _telling(
    train: pl.DataFrame, held_out: pl.DataFrame, target: str | None, features: Sequence[str]
) -> list[Finding | None]:
    if target is None:
        return []
    found: list[Finding | None] = []
    for name in features:
        told = skill(train, held_out, name, target)
        if np.isfinite(told) and told >= TELLS_MUCH:
            severity: Severity = "error" if told >= TELLS else "warn"
            text = (
                f"column {name!r} alone takes away {told:.1%} of what is uncertain about {target!r}; is it known "
                "before the target is?"
            )
            found.append(Finding("tells the target", severity, text, held_out.height, 1.0, (), name))
    return found


def _pairs(joined: pl.DataFrame) -> tuple[tuple[str, str], ...]:
    return tuple(joined.head(SHOWN).select("key", "other").iter_rows())
