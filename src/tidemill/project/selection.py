"""`mill.leaderboard`: which algorithm, how sure that is, and whether the split under it is honest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tidemill.core.recording import key_of
from tidemill.core.workspace import Workspace
from tidemill.project.engines import opened
from tidemill.project.policies import TRAINING, Policies

if TYPE_CHECKING:
    from tidemill.core.engine import Engine
    from tidemill.core.recipe import Recipe
    from tidemill.data.rows import Rows
    from tidemill.train.leakage import Finding
    from tidemill.train.looks import Looks
    from tidemill.train.selecting.boards import Leaderboard
    from tidemill.train.selecting.candidates import Kind

Fit = Callable[..., Any]  # Any: an estimator of whichever library the user chose


@dataclass(frozen=True, slots=True)
class Selection:
    """Leaderboards, leaks between rows, and looks at held-out rows."""

    ws: Workspace

    def __call__(
        self,
        fits: Fit | Sequence[Fit],
        train: Rows,
        recipe: Recipe,
        *,
        on: Rows,
        target: str | None = None,
        kind: Kind | None = None,
        score: str | None = None,
        params: Mapping[str, Mapping[str, Any]] | None = None,
        groups: str | None = None,
        level: float = 0.95,
        seed: int = 0,
        leaks: Literal["show", "refuse"] = "show",
        purpose: str = TRAINING,
        progress: Callable[[int, int, str], None] | None = None,
        engine: str | Engine | None = None,
        **options: Any,
    ) -> Leaderboard:
        """Each candidate fitted on `train` and scored on the rows `on`, beside baselines; `print` it for the table.

        fits: `tm.candidates("classification")`, functions of yours, or both. target: None for a clustering. params: by
        candidate's name, where defaults will not do. groups: a column (day, customer) of which rows of one value are
        not independent. leaks: "refuse" raises Refused where rows leak for sure. purpose: each dataset that the rows
        came from must allow it, else Refused. engine: where fits run ("pool://2", "ray"; default: one by one, here).
        options: those of `train.leaderboard.leaderboard`: name, needs, timeout_s.
        """
        from tidemill.flow.caching.keys import code_of
        from tidemill.train.selecting.leaderboard import leaderboard

        inputs = tuple({version.id: version for version in (*train.inputs, *on.inputs)}.values())
        Policies(self.ws).require(list(inputs), purpose)
        with nullcontext() if engine is None else opened(engine) as workers:
            return leaderboard(
                self.ws,
                fits,
                train.frame(),
                on.frame(),
                recipe,
                target=target,
                key=train.key,
                time=train.event_time,
                inputs=inputs,
                plan_digest=key_of(train.digest(), on.digest()),
                kind=kind,
                score=score,
                params=params,
                groups=groups,
                level=level,
                seed=seed,
                leaks=leaks,
                engine=workers,
                code=code_of,
                progress=progress,
                **options,
            )

    def read(self, which: str) -> Leaderboard:
        """The newest leaderboard of that name (a dataset's, by default), or the one of that run or report id."""
        from tidemill.train.selecting.leaderboard import read

        return read(self.ws, which)

    def recipe(
        self, rows: Rows, *, target: str | None = None, columns: Sequence[str] | None = None, aside: Sequence[str] = ()
    ) -> Recipe:
        """A plain recipe for a first leaderboard: numbers as they are, text of few values as 0/1 columns.

        columns: by default all but the row id, the clocks, the target and those of `aside`; of these, text of many
        values and times are left out. Where no column is left but there is an event time: hour, weekday and month of
        that. Raises UnknownColumn, BadInput where nothing is left.
        """
        from tidemill.train.selecting.recipes import plain

        clocks = {name for each in rows.inputs for name in (each.event_time, each.known_time)}
        no_features = {rows.key, rows.event_time, target, *clocks, *aside}
        wanted = [name for name in rows.columns if name not in no_features] if columns is None else list(columns)
        return plain(rows.frame(), wanted, time=None if columns else rows.event_time, named=columns is not None)

    def names(self) -> list[str]:
        """The names of all leaderboards, the one used last first."""
        from tidemill.train.selecting.leaderboard import listed

        return [artifact.name.removeprefix("leaderboard/") for artifact in listed(self.ws)]

    def leaks(
        self,
        train: Rows,
        on: Rows,
        *,
        target: str | None = None,
        columns: Sequence[str] | None = None,
        groups: Sequence[str] = (),
        digits: int = 3,
    ) -> list[Finding]:
        """What the rows `on` share with the training rows, and columns that know the target, the worst first.

        columns: those that the model is made from; by default all but the row id, the event time, target and groups.
        """
        from tidemill.train.leakage import check

        aside = {train.key, train.event_time, target, *groups}
        wanted = [name for name in train.columns if name not in aside] if columns is None else columns
        return check(
            train.frame(),
            on.frame(),
            key=train.key,
            target=target,
            columns=wanted,
            time=train.event_time,
            groups=groups,
            digits=digits,
        )

    def looks(self, on: Rows, *, target: str | None = None) -> Looks:
        """How often these held-out rows were looked at, and for how many models."""
        from tidemill.train.looks import digest_of, of

        return of(self.ws, digest_of(on.frame(), key=on.key, target=target))
