"""Splits for choosing and judging models: by chance, by class, by group, by time with a gap, in folds, and nested.

Each part is a plan (Rows) with a digest of its own. Parts by chance are dealt by the hash of the row id, so the same
row is on the same side today and after a million more have come; see `Rows.split`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from tidemill.core.errors import BadInput, NotEnoughRows

if TYPE_CHECKING:
    import polars as pl


class Splittable(Protocol):
    """What a split is made of: `data.rows.Rows`."""

    @property
    def event_time(self) -> str | None:
        """The column that says when a row happened."""
        ...

    def parted(
        self,
        shares: Sequence[float],
        *,
        keep: Sequence[int],
        stratify: str | None = None,
        group: str | None = None,
        even: bool = False,
        seed: int = 0,
    ) -> Self:
        """The rows of some parts of a split by shares."""
        ...

    def where(self, *, since: datetime | str | None = None, until: datetime | str | None = None) -> Self:
        """The rows with event time in [since, until)."""
        ...

    def frame(self) -> pl.DataFrame:
        """Read the rows."""
        ...


R = TypeVar("R", bound=Splittable)


@dataclass(frozen=True, slots=True)
class Fold(Generic[R]):
    """Rows to fit on, and the rows held out from it. Unpacks: `train, held_out = fold`."""

    train: R
    held_out: R

    def __iter__(self) -> Iterator[R]:
        return iter((self.train, self.held_out))


@dataclass(frozen=True, slots=True)
class Nested(Generic[R]):
    """An outer fold, and folds inside its training rows by which to choose: what was chosen is judged on `held_out`."""

    train: R
    held_out: R
    inner: tuple[Fold[R], ...]


def k_fold(
    rows: R,
    folds: int = 5,
    *,
    stratify: str | None = None,
    group: str | None = None,
    even: bool = False,
    seed: int = 0,
) -> tuple[Fold[R], ...]:
    """Each row is held out in just one of the folds.

    stratify, group, even, seed: as in `Rows.split`. Few rows or groups need even=True: by hashes alone a fold may be
    small, or empty. Raises BadInput for fewer than two folds.
    """
    if folds < 2:
        raise BadInput(f"folds is {folds}; it must be 2 or more, for example 5")
    shares = [1 / folds] * folds

    def parts(keep: list[int]) -> R:
        return rows.parted(shares, keep=keep, stratify=stratify, group=group, even=even, seed=seed)

    return tuple(
        Fold(parts([each for each in range(folds) if each != number]), parts([number])) for number in range(folds)
    )


def repeated(
    rows: R,
    folds: int = 5,
    times: int = 3,
    *,
    stratify: str | None = None,
    group: str | None = None,
    even: bool = False,
    seed: int = 0,
) -> tuple[Fold[R], ...]:
    """`k_fold` so many times, dealt anew each time (seed, seed + 1, ...): folds * times folds, in order."""
    if times < 1:
        raise BadInput(f"times is {times}; it must be 1 or more, for example 3")
    return tuple(
        fold
        for number in range(times)
        for fold in k_fold(rows, folds, stratify=stratify, group=group, even=even, seed=seed + number)
    )


def nested(
    rows: R,
    outer: int = 5,
    inner: int = 5,
    *,
    stratify: str | None = None,
    group: str | None = None,
    even: bool = False,
    seed: int = 0,
) -> tuple[Nested[R], ...]:
    """Folds within folds: choose and tune by the inner ones, and judge the choice by the outer held-out rows.

    Source: Varma & Simon, Bias in error estimation when using cross-validation for model selection, BMC
    Bioinformatics 7:91, 2006.
    """
    return tuple(
        Nested(
            fold.train,
            fold.held_out,
            k_fold(fold.train, inner, stratify=stratify, group=group, even=even, seed=seed),
        )
        for fold in k_fold(rows, outer, stratify=stratify, group=group, even=even, seed=seed)
    )


def forward(
    rows: R,
    folds: int | Sequence[datetime] = 5,
    *,
    gap: timedelta = timedelta(0),
    window: timedelta | None = None,
) -> tuple[Fold[R], ...]:
    """Forward chaining: fit on what was before a moment, hold out what follows until the next one.

    folds: how many, of about equally many rows after a first part to fit on, cut at the event times of today's rows; or
    the moments themselves, ascending, which stay where they are when rows come (the last fold then has no end).
    gap: leave out what happened in that time before the moment (an embargo). window: fit on that time before the gap
    only, not on all that was before.

    Raises BadInput for rows without event time, folds below 1, moments out of order, or a negative gap or window;
    NotEnoughRows where the event times do not differ enough. Source: Bergmeir & Benitez, On the use of
    cross-validation for time series predictor evaluation, Information Sciences 191, 2012.
    """
    if rows.event_time is None:
        raise BadInput("these rows have no event time to go forward in; use k_fold, or add them with event_time=")
    if gap < timedelta(0) or (window is not None and window <= timedelta(0)):
        raise BadInput(f"gap is {gap} and window {window}; they must not be negative, and a window not 0")
    moments = _moments(rows, folds) if isinstance(folds, int) else list(folds)
    if not moments or sorted(set(moments)) != moments:
        raise BadInput("forward needs a number of folds of 1 or more, or moments in ascending order")
    ends: list[datetime | None] = [*moments[1:], None]
    return tuple(
        Fold(
            rows.where(since=None if window is None else at - gap - window, until=at - gap),
            rows.where(since=at, until=end),
        )
        for at, end in zip(moments, ends, strict=True)
    )


def _moments(rows: Splittable, folds: int) -> list[datetime]:
    if folds < 1:
        raise BadInput(f"folds is {folds}; it must be 1 or more, for example 5")
    times = rows.frame()[rows.event_time or ""].sort()
    if len(times) <= folds:
        raise NotEnoughRows(f"{len(times)} rows for {folds} folds in time; give more rows, or fewer folds")
    found = [times[len(times) * number // (folds + 1)] for number in range(1, folds + 1)]
    if len(set(found)) < folds or found[0] == times[0]:
        raise NotEnoughRows(f"the {len(times)} rows have too few different times for {folds} folds; give fewer folds")
    return found
