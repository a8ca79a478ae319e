"""Rows: a frozen plan over dataset versions (joins in time, filters, labels), read when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from tidemill.core import checks as core_checks
from tidemill.core.errors import BadInput, require_columns
from tidemill.core.ids import iso, json_digest, parse_time
from tidemill.core.recording import recorded
from tidemill.core.types import Check, DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets, parting
from tidemill.data.feature_store import views
from tidemill.data.feature_store.asof import Join, as_of_all
from tidemill.data.feature_store.views import View

Time = datetime | str
LOOKING_BACK = ("as_of", "as_of_naive")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a dataset version, with what was joined to them. Each method gives new Rows; nothing is read before
    `.frame()`, but column names are checked at the call."""

    ws: Workspace
    base: DatasetVersion
    columns: Mapping[str, str]
    steps: tuple[Mapping[str, Any], ...] = ()
    inputs: tuple[DatasetVersion, ...] = ()
    _frames: dict[str, pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)
    _source: Rows | None = field(default=None, repr=False, compare=False)  # what a part is a part of: read once for all

    def __repr__(self) -> str:  # what a notebook shows: not the workspace's connections
        steps = "".join(f", {step['step']}" for step in self.steps)
        return f"<Rows of {self.base.name}@{self.base.version}{steps}; columns: {', '.join(self.columns)}>"

    @property
    def key(self) -> str:
        """The column of row ids."""
        return self.base.key

    @property
    def event_time(self) -> str | None:
        """The column that says when a row happened."""
        return self.base.event_time

    def as_of(
        self,
        other: Rows | DatasetVersion,
        *,
        by: str | Sequence[str] = (),
        on: str | Sequence[str] = (),
        within: timedelta | None = None,
        columns: Sequence[str] | None = None,
        prefix: str = "",
    ) -> Rows:
        """Add columns of `other` as they were known at each row's event time (two clocks; see feature_store.asof).

        by: columns that must be equal; on: what `other` calls them (default: the same). within: how far back other's
        event time may lie. columns: all by default, but for `on`, the key and the clocks.
        """
        return self._looking_back("as_of", other, by, on, within, columns, prefix)

    def as_of_naive(
        self,
        other: Rows | DatasetVersion,
        *,
        by: str | Sequence[str] = (),
        on: str | Sequence[str] = (),
        within: timedelta | None = None,
        columns: Sequence[str] | None = None,
        prefix: str = "",
    ) -> Rows:
        """`as_of` with one clock: sees values from their event time on, even those known later. It leaks."""
        return self._looking_back("as_of_naive", other, by, on, within, columns, prefix)

    def features(self, view: View | str) -> Rows:
        """Add the features of a view, as they were known at each row's event time.

        view: a definition, or the name of one. Reads the newest versions of its datasets, and records which.
        """
        view = views.get(self.ws, view) if isinstance(view, str) else view
        made = self
        for each in view.sources:
            version = datasets.get(self.ws, each.dataset)
            options: dict[str, Any] = {"by": each.by, "on": each.on, "within": each.within, "prefix": each.prefix}
            made = made.as_of(version, columns=each.columns, **options)
        return made

    def _looking_back(
        self,
        verb: str,
        other: Rows | DatasetVersion,
        by: str | Sequence[str],
        on: str | Sequence[str],
        within: timedelta | None,
        columns: Sequence[str] | None,
        prefix: str,
    ) -> Rows:
        keys = [by] if isinstance(by, str) else list(by)
        theirs = ([on] if isinstance(on, str) else list(on)) or keys
        if len(theirs) != len(keys):
            raise BadInput(f"by= names {len(keys)} columns and on= {len(theirs)}; give one for each")
        version = _whole(other, verb)
        if self.event_time is None or version.event_time is None:
            without = self.base.name if self.event_time is None else version.name
            raise BadInput(f"dataset {without!r} has no event time; add it with event_time= to look back in time")
        require_columns(keys, self.columns, where=f"dataset {self.base.name!r}")
        clocks = {version.key, version.event_time, version.known_time}
        wanted = list(columns) if columns is not None else [c for c in version.columns if c not in {*theirs, *clocks}]
        require_columns([*theirs, *wanted], version.columns, where=f"dataset {version.name!r}")
        taken = [prefix + name for name in wanted if prefix + name in self.columns]
        if taken:
            raise BadInput(f"column {taken[0]!r} is there already; give {verb} a prefix=, or choose columns=")
        step = {
            "step": verb,
            "dataset": version.digest,
            "name": version.name,
            "by": keys,
            "within_s": None if within is None else within.total_seconds(),
            "columns": wanted,
            "prefix": prefix,
            **({"on": theirs} if theirs != keys else {}),
        }
        return self._with(step, version, {prefix + name: version.columns[name] for name in wanted})

    def labelled(self, other: Rows | DatasetVersion, column: str, *, on: str | None = None) -> Rows:
        """Only the rows whose label is known by now, with it as `column`. on: the shared key (default: the row id)."""
        version = _whole(other, "labelled")
        shared = on or self.key
        if column in self.columns:
            raise BadInput(f"column {column!r} is there already; choose another label, or leave it out with select()")
        require_columns([shared], self.columns, where=f"dataset {self.base.name!r}")
        require_columns([shared, column], version.columns, where=f"dataset {version.name!r}")
        step = {"step": "labelled", "dataset": version.digest, "name": version.name, "on": shared, "column": column}
        return self._with(step, version, {column: version.columns[column]})

    def where(self, *, since: Time | None = None, until: Time | None = None) -> Rows:
        """Only the rows with event time in [since, until)."""
        if self.event_time is None:
            raise BadInput(f"dataset {self.base.name!r} has no event time to filter by")
        bounds = {"since": since, "until": until}
        return self._with(
            {"step": "where", **{name: None if at is None else iso(_time(at)) for name, at in bounds.items()}}, None, {}
        )

    def select(self, *columns: str) -> Rows:
        """Only these columns, and the row id and event time."""
        kept = list(dict.fromkeys([self.key, *([self.event_time] if self.event_time else []), *columns]))
        require_columns(kept, self.columns, where=f"dataset {self.base.name!r}")
        made = self._with({"step": "select", "columns": kept}, None, {})
        return replace(made, columns={name: self.columns[name] for name in kept})

    def split(
        self,
        *,
        time: Sequence[Time] | None = None,
        gap: timedelta | None = None,
        shares: Sequence[float] | None = None,
        stratify: str | None = None,
        group: str | None = None,
        even: bool = False,
        seed: int = 0,
    ) -> tuple[Rows, ...]:
        """Cut into parts, by event time or by chance; each part is Rows with a plan and a digest of its own.

        time: n moments give n + 1 parts, the first before the first moment; gap: leave out what happened in that time
        before each moment, such as labels need to become known (an embargo).
        shares: such as [0.8, 0.2], by the hash of the row id: rows that are added later move no old one. stratify: a
        column whose values all parts hold in equal shares. group: a column whose values do not spread over parts.
        even: parts of exactly these shares, not only by expectation. With stratify or even the few rows at the cuts do
        move when rows are added. seed: another one deals anew.
        """
        if (time is None) == (shares is None):
            raise BadInput("split takes either time=[...] or shares=[...]; for example shares=[0.8, 0.2]")
        if shares is not None:
            if gap is not None:
                raise BadInput("gap is for a split by time=[...]; a split by shares knows no time")
            given = parting.checked_shares(shares)
            return tuple(
                self.parted(given, keep=[n], stratify=stratify, group=group, even=even, seed=seed)
                for n in range(len(given))
            )
        if stratify or group or even or seed:
            raise BadInput("stratify, group, even and seed are for a split by shares=[...]; time alone cuts by time")
        moments = [_time(at) for at in time or ()]
        if not moments or sorted(set(moments)) != moments:
            raise BadInput(f"split needs moments in ascending order, not {[iso(at) for at in moments]}")
        gap = gap or timedelta(0)
        if gap < timedelta(0):
            raise BadInput(f"gap is {gap}; it must not be negative")
        since: list[datetime | None] = [None, *moments]
        until = [*[at - gap for at in moments], None]
        for start, end in zip(since, until, strict=True):
            if start is not None and end is not None and end <= start:
                raise BadInput(f"a gap of {gap} leaves nothing of the part from {iso(start)}; make it shorter")
        return tuple(self.where(since=start, until=end) for start, end in zip(since, until, strict=True))

    def parted(
        self,
        shares: Sequence[float],
        *,
        keep: Sequence[int],
        stratify: str | None = None,
        group: str | None = None,
        even: bool = False,
        seed: int = 0,
    ) -> Rows:
        """The rows of some parts of a split by shares (see `split`): keep names them, 0 for the first."""
        given = parting.checked_shares(shares)
        if stratify is not None and group is not None:
            raise BadInput("a split is by stratify= or by group=, not both; stratify by what all rows of a group share")
        chosen = sorted(set(keep))
        if not chosen or chosen[0] < 0 or chosen[-1] >= len(given):
            raise BadInput(f"keep is {list(keep)}; there are parts 0 to {len(given) - 1}")
        wanted = [name for name in (stratify, group) if name is not None]
        require_columns(wanted, self.columns, where=f"dataset {self.base.name!r}")
        depth = sum(step["step"] == "part" for step in self.steps)
        step = {
            "step": "part",
            "by": group or self.key,
            "within": stratify,
            "even": even,
            "shares": given,
            # A split of a part must not deal by the numbers that made the part.
            "salt": f"{seed}/{depth}",
            "keep": chosen,
        }
        return replace(self._with(step, None, {}), _source=self)

    def check(self, *wanted: Check) -> Rows:
        """Evaluate checks as a recorded run with a report; raises BadInput when one of severity "error" fails."""
        require_columns([each.column for each in wanted], self.columns, where=f"dataset {self.base.name!r}")
        with recorded(self.ws, "data.check", self.base.name, inputs=[(each.name, each) for each in self.inputs]) as run:
            failures = core_checks.failing(self.frame(), wanted, key=self.key)
            report = [
                {"kind": each.kind, "column": each.column, "args": list(each.args), "severity": each.severity}
                | {"failing": sum(f.rows for f in failures if f.check == each)}
                | {"keys": [key for f in failures if f.check == each for key in f.keys]}
                for each in wanted
            ]
            run.emit_json("report", f"checks/{self.base.name}", report, meta={"checks": len(wanted)})
            run.result({"checks": len(wanted), "failed": len(failures)})
            bad = [failure.text for failure in failures if failure.check.severity == "error"]
            if bad:
                raise BadInput(f"{len(bad)} checks of {self.base.name!r} fail: {'; '.join(bad)}")
        return self

    def digest(self) -> str:
        """The digest of the plan, its inputs' contents and the clock."""
        clock = None if self.ws.clock is None else iso(self.ws.clock)
        clocks = [[each.event_time, each.known_time] for each in self.inputs]
        return json_digest([self.base.digest, self.key, clocks, [dict(step) for step in self.steps], clock])

    def frame(self) -> pl.DataFrame:
        """Read the rows, in order of event time (then row id); read once per plan."""
        name = self.digest()
        if name not in self._frames and self._source is not None:
            self._frames[name] = parting.keep(self._source.frame(), self.steps[-1])
        if name not in self._frames:
            rows = datasets.scan(self.ws, self.base).collect()
            if self.event_time is not None:
                rows = rows.sort(self.event_time, self.key)
            by_content = {(each.name, each.digest): each for each in self.inputs}
            for steps in self._together():
                rows = self._apply(rows, steps, by_content)
            self._frames[name] = rows
        return self._frames[name]

    def __len__(self) -> int:
        return self.frame().height

    def _ordered(self) -> list[Mapping[str, Any]]:
        """Filters in time first: joins never change the rows, so fewer are joined.

        But a cut by rank is of the rows that were there when it was asked for, so no filter passes it.
        """
        ordered: list[Mapping[str, Any]] = []
        since = 0
        for place, step in enumerate([*self.steps, None]):
            if step is None or (step["step"] == "part" and (step["even"] or step["within"] is not None)):
                ordered += sorted(self.steps[since:place], key=lambda each: each["step"] != "where")
                ordered += [] if step is None else [step]
                since = place + 1
        return ordered

    def _together(self) -> list[list[Mapping[str, Any]]]:
        """The steps in order, joins in time that can be made at once as one."""
        groups: list[list[Mapping[str, Any]]] = []
        added: set[str] = set()
        for step in self._ordered():
            looks_back = step["step"] in LOOKING_BACK
            if looks_back and groups and groups[-1][0]["step"] in LOOKING_BACK and not added & set(step["by"]):
                groups[-1].append(step)
            else:
                groups.append([step])
                added = set()
            if looks_back:
                added |= {step["prefix"] + column for column in step["columns"]}
        return groups

    def _apply(
        self,
        rows: pl.DataFrame,
        steps: Sequence[Mapping[str, Any]],
        by_content: Mapping[tuple[str, str], DatasetVersion],
    ) -> pl.DataFrame:
        step = steps[0]
        if step["step"] == "where":
            for bound, keep in (("since", "ge"), ("until", "lt")):
                if step[bound] is not None:
                    rows = rows.filter(getattr(pl.col(self.event_time or ""), keep)(parse_time(step[bound])))
            return rows
        if step["step"] == "select":
            return rows.select(step["columns"])
        if step["step"] == "part":
            return parting.keep(rows, step)
        if step["step"] in LOOKING_BACK:
            joins = [self._join(each, by_content[each["name"], each["dataset"]]) for each in steps]
            return as_of_all(rows, joins, left_time=self.event_time or "")
        version = by_content[step["name"], step["dataset"]]
        labels = datasets.scan(self.ws, version, columns=[step["on"], step["column"]]).collect()
        twice = labels.filter(pl.col(step["on"]).is_duplicated())
        if twice.height:
            value = twice[step["on"]][0]
            raise BadInput(f"dataset {version.name!r} labels {step['on']} {value!r} twice; once is allowed")
        return rows.join(labels, on=step["on"], how="inner", maintain_order="left")

    def _join(self, step: Mapping[str, Any], version: DatasetVersion) -> Join:
        on = step.get("on", step["by"])
        within = None if step["within_s"] is None else timedelta(seconds=step["within_s"])
        known = None if step["step"] == "as_of_naive" else version.known_time
        clocks = [name for name in (version.event_time, known) if name is not None]
        wanted = list(dict.fromkeys([*on, *clocks, *step["columns"], version.key]))
        right = datasets.scan(self.ws, version, columns=wanted).collect()
        return Join(
            right,
            version.event_time or "",
            step["columns"],
            known=known,
            by=step["by"],
            on=on,
            within=within,
            prefix=step["prefix"],
            tie=version.key,
        )

    def _with(self, step: Mapping[str, Any], version: DatasetVersion | None, columns: Mapping[str, str]) -> Rows:
        more = () if version is None or version in self.inputs else (version,)
        return replace(
            self,
            columns={**self.columns, **columns},
            steps=(*self.steps, step),
            inputs=(*self.inputs, *more),
            _frames={},
            _source=None,
        )


def rows(ws: Workspace, version: DatasetVersion) -> Rows:
    """All rows of a dataset version."""
    return Rows(ws, version, dict(version.columns), (), (version,))


def _time(at: Time) -> datetime:
    """The moment; BadInput for a text that is no time, or a datetime without a zone."""
    if isinstance(at, str):
        return parse_time(at)
    iso(at)
    return at


def _whole(other: Rows | DatasetVersion, verb: str) -> DatasetVersion:
    if isinstance(other, Rows) and other.steps:
        raise BadInput(f"{verb} takes a dataset as it is; {other.base.name} has {len(other.steps)} steps of its own")
    return other.base if isinstance(other, Rows) else other
