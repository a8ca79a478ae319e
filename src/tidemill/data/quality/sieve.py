"""The sieve before a dataset: rows that keep its contract go through, the others to quarantine with their reasons.

It takes an import whole or in batches. Text is read as the type that the contract names; a value that cannot be read
is a reason, not an error. In one batch both of two rows with one value of a unique column are kept out; of two batches
the second one. Between batches values are known by 64-bit hashes: at 100 million values one in 4,000 imports would keep
out a row too many (which its quarantine shows), none would let one through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from tidemill.core import checks as core_checks
from tidemill.core.errors import BadInput, WrongType, require_columns
from tidemill.core.recording import Recorder, recorded
from tidemill.core.types import Check, DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.quality import contract as data
from tidemill.data.quality import quarantine
from tidemill.data.quality.contract import Contract, Freshness
from tidemill.data.quality.quarantine import Quarantined

FORMAT = 1
HELD = 100_000  # rows kept out that wait in memory before they are written
Hashes = np.ndarray[Any, np.dtype[np.uint64]]


class Judged(NamedTuple):
    """A frame as a contract sees it: the good rows in the contract's types, the others as they came, and why."""

    good: pl.DataFrame
    bad: pl.DataFrame
    why: pl.Series
    reasons: Counter[str]
    warned: Counter[str]


class Sieve:
    """One import under a contract (None lets everything through). Made by `sifting`."""

    def __init__(
        self,
        ws: Workspace,
        name: str,
        contract: Contract | None,
        *,
        key: str,
        append: bool = True,
        branch: str = datasets.MAIN,
        source: str = "",
    ) -> None:
        self.ws, self.name, self.contract, self.key, self.source = ws, name, contract, key, source
        self._stack = ExitStack()
        self._always = replace(ws, clock=None)  # a row that is not known yet takes its key all the same
        self._before = datasets.find(self._always, name, branch=branch) if append and contract is not None else None
        self._run: Recorder | None = None
        self._held: list[tuple[pl.DataFrame, pl.Series]] = []
        self._reasons: Counter[str] = Counter()
        self._warned: Counter[str] = Counter()
        self._out = 0
        self._seen: dict[int, list[Hashes]] = {}
        self._known: dict[tuple[str, str], pl.Series] = {}
        self._last: datetime | date | None = None

    def sift(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of this batch that keep the contract, in its types; the others are taken to quarantine.

        Raises UnknownColumn for a column that the contract speaks of and the rows have not, WrongType for one that
        cannot be what the contract says.
        """
        if self.contract is None:
            return frame
        found = self.judge(frame)
        self._remember(found.good)
        self._reasons += found.reasons
        self._warned += found.warned
        if found.bad.height:
            self._out += found.bad.height
            self._held.append((found.bad, found.why))
            if sum(rows.height for rows, _ in self._held) >= HELD:
                self._write()
        return found.good

    def judge(self, frame: pl.DataFrame) -> Judged:
        """What the contract says of the rows; nothing is written or remembered."""
        assert self.contract is not None
        require_columns(self.contract.columns, frame.columns, where=f"the rows for dataset {self.name!r}")
        typed, wrong = typed_as(frame, self.contract, where=f"the rows for dataset {self.name!r}")
        if self.contract.freshness is not None:
            require_time(typed, self.contract.freshness.column, where=f"the rows for dataset {self.name!r}")
        checks = self.contract.checks
        masks = core_checks.masks(typed, checks, lookup=lambda dataset, column: self._values(dataset, column, typed))
        verdicts = [*wrong]
        warned: Counter[str] = Counter()
        for n, check in enumerate(checks):
            mask = masks[str(n)].fill_null(value=False)
            if check.kind == "unique":
                mask = mask | self._taken(n, check, typed)
            if mask.any():
                if check.severity == "warn":
                    warned[core_checks.named(check)] += int(mask.sum())
                else:
                    verdicts.append((core_checks.named(check), mask))
        if not verdicts:
            return Judged(typed, frame.clear(), pl.Series(dtype=pl.List(pl.String)), Counter(), warned)
        bad = verdicts[0][1]
        for _, mask in verdicts[1:]:
            bad = bad | mask
        picked = pl.DataFrame({str(n): mask.filter(bad) for n, (_, mask) in enumerate(verdicts)})
        why = picked.select(
            pl.concat_list(
                pl.when(pl.col(str(n))).then(pl.lit(text)) for n, (text, _) in enumerate(verdicts)
            ).list.drop_nulls()
        ).to_series()
        reasons = Counter({text: int(mask.sum()) for text, mask in verdicts})
        return Judged(typed.filter(~bad), frame.filter(bad), why, reasons, warned)

    def finish(self) -> Quarantined | None:
        """Check how fresh the rows are, write what is in quarantine and record it. None: every rule holds.

        Raises BadInput where the newest row is too old and the contract does not only warn of that.
        """
        if self.contract is None:
            return None
        if self.contract.freshness is not None:
            self._check_age(self.contract.freshness)
        if not (self._out or self._warned):
            return None
        self._write()
        run = self._recorder()
        report = {
            "format": FORMAT,
            "dataset": self.name,
            "contract": self.contract.seq,
            "quarantined": self._out,
            "reasons": dict(self._reasons),
            "warned": dict(self._warned),
        }
        run.emit_json("report", f"quarantine/{self.name}", report, meta={"quarantined": self._out})
        run.result({"quarantined": self._out, "warned": sum(self._warned.values())})
        if self._out:
            body = {"rows": self._out, "reasons": dict(self._reasons), "run": run.run.id, "key": self.key}
            who = self.ws.settings.who
            self.ws.graph.record(f"quarantine/{self.name}", "added", body, actor=who, key=f"quarantined/{run.run.id}")
        return Quarantined(self.name, self._out, dict(self._reasons), dict(self._warned), run.run.id, self.contract.seq)

    def _recorder(self) -> Recorder:
        """The run of this import's quarantine, begun when there is something to record."""
        if self._run is None:
            assert self.contract is not None
            params = {"contract": self.contract.seq, "source": self.source}
            self._run = self._stack.enter_context(recorded(self.ws, "data.sieve", self.name, params=params))
        return self._run

    def _write(self) -> None:
        assert self.contract is not None
        for rows, why in self._held:
            quarantine.put(self.ws, self.name, rows, why, contract=self.contract.seq, run=self._recorder().run.id)
        self._held.clear()

    def _values(self, dataset: str, column: str, frame: pl.DataFrame) -> pl.Series:
        """The distinct values of another dataset's column; of this one's, those of the batch as well."""
        if (dataset, column) not in self._known:
            self._known[dataset, column] = (
                lookup_in(self._always)(dataset, column)
                if dataset != self.name
                else frame[column].clear()
                if self._before is None
                else distinct(self._always, self._before, column)
            )
        known = self._known[dataset, column]
        if dataset == self.name:
            known = self._known[dataset, column] = pl.concat([known, frame[column]]).unique()
        return known

    def _taken(self, n: int, check: Check, frame: pl.DataFrame) -> pl.Series:
        """Rows whose values another row of the dataset, or of an earlier batch, has under another key."""
        columns = core_checks.columns_of(check)
        mask = np.zeros(frame.height, np.bool_)
        if self._seen.get(n):
            hashes = frame.select(columns).hash_rows().to_numpy()
            whole = frame.select(~pl.any_horizontal(pl.col(columns).is_null())).to_series().to_numpy()
            for earlier in self._seen[n]:
                mask |= np.isin(hashes, earlier)
            mask &= whole
        if self._before is not None and columns != [self.key]:  # a key that is there already may be the same row again
            # a look, as the append's own of its keys: reading 1M rows to count and digest them takes 1.6 s
            held = datasets.scan(self._always, self._before, columns=[*columns, self.key], verify=False)
            there = held.select(pl.col(columns), pl.col(self.key).alias("__key"))
            kinds = there.collect_schema()
            mine = frame.lazy().select(
                *(pl.col(column).cast(kinds[column], strict=False) for column in columns),
                pl.col(self.key).cast(kinds["__key"], strict=False).alias("__mine"),
                pl.int_range(pl.len()).alias("__row"),
            )
            clash = mine.join(there, on=columns, how="inner").filter(pl.col("__key") != pl.col("__mine"))
            mask[clash.select(pl.col("__row").unique()).collect().to_series().to_numpy()] = True
        return pl.Series(mask)

    def _remember(self, good: pl.DataFrame) -> None:
        assert self.contract is not None
        for n, check in enumerate(self.contract.checks):
            if check.kind == "unique" and check.severity == "error":
                hashes = good.select(core_checks.columns_of(check)).hash_rows().to_numpy()
                self._seen.setdefault(n, []).append(hashes)
        if self.contract.freshness is not None:
            self._last = _later(self._last, good[self.contract.freshness.column].max())

    def _check_age(self, rule: Freshness) -> None:
        last = self._last
        if age_s(self.ws, last) > rule.at_most_s and self._before is not None:
            last = _later(last, newest(self.ws, self._before, rule.column))
        text = fresh(self.ws, rule, last, where=f"dataset {self.name!r}")
        if text is None:
            return
        if rule.severity == "error":
            raise BadInput(text)
        self._warned[text] += 1


@contextmanager
def sifting(
    ws: Workspace,
    name: str,
    contract: Contract | None,
    *,
    key: str,
    append: bool = True,
    branch: str = datasets.MAIN,
    source: str = "",
) -> Iterator[Sieve]:
    """A sieve for the batches of one import; its run fails with the body. Call `finish` after the last batch."""
    sieve = Sieve(ws, name, contract, key=key, append=append, branch=branch, source=source)
    with sieve._stack:
        yield sieve


def typed_as(
    frame: pl.DataFrame, contract: Contract, *, where: str
) -> tuple[pl.DataFrame, list[tuple[str, pl.Series]]]:
    """The frame in the contract's types, and for each column with values that are not of its type: text and mask.

    Such a value becomes null. Text is read as anything, whole numbers as floats, floats as whole numbers where they
    are; WrongType for other pairs of types.
    """
    wrong: list[tuple[str, pl.Series]] = []
    for column, kind in contract.types.items():
        have = frame.schema[column]
        want = data.dtype(kind)
        if str(have) == kind or have == want:
            continue
        if want is None or not _readable(have, want):
            raise WrongType(f"column {column!r} of {where} is {have}, its contract says {kind}; cast it")
        values = frame[column]
        made = _cast(values, want)
        lost = made.is_null() & values.is_not_null()
        if want.is_integer() and have.is_float():
            lost = lost | (values != made.cast(have)).fill_null(value=False)
            made = frame.select(pl.when(~lost).then(made)).to_series()
        frame = frame.with_columns(made.alias(column))
        if lost.any():
            wrong.append((data.type_rule(column, kind), lost))
    return frame, wrong


def _readable(have: pl.DataType, want: pl.DataType) -> bool:
    if have in (pl.Null, pl.String) or (isinstance(have, pl.Categorical | pl.Enum) and want == pl.String):
        return True
    if isinstance(have, pl.Datetime) and isinstance(want, pl.Datetime):
        return (have.time_zone is None) == (want.time_zone is None)
    return have.is_numeric() and want.is_numeric()


def _cast(values: pl.Series, want: pl.DataType) -> pl.Series:
    if values.dtype == pl.String and isinstance(want, pl.Datetime):
        read = values.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
        return read if want.time_zone else read.dt.replace_time_zone(None)
    if values.dtype == pl.String and want == pl.Date:
        return values.str.to_date(strict=False)
    if values.dtype == pl.String and want == pl.Boolean:
        table = {"true": True, "false": False, "1": True, "0": False}
        return values.str.to_lowercase().replace_strict(table, default=None, return_dtype=pl.Boolean)
    return values.cast(want, strict=False)


def lookup_in(ws: Workspace) -> core_checks.Lookup:
    """Finds the distinct values of a column of a dataset's newest version, for `references`."""

    def lookup(dataset: str, column: str) -> pl.Series:
        return distinct(ws, datasets.get(ws, dataset), column)

    return lookup


def distinct(ws: Workspace, version: DatasetVersion, column: str) -> pl.Series:
    """The distinct values of one column of a version."""
    require_columns([column], version.columns, where=f"dataset {version.name!r}")
    rows = datasets.scan(ws, version, columns=[column], verify=False)
    return rows.select(pl.col(column).unique()).collect().to_series()


def newest(ws: Workspace, version: DatasetVersion, column: str) -> datetime | date | None:
    """The latest time in that column of a version."""
    last = datasets.scan(ws, version, columns=[column], verify=False).select(pl.col(column).max()).collect()
    require_time(last, column, where=f"dataset {version.name!r}")
    found = last.item()
    return found if isinstance(found, date) else None


def require_time(frame: pl.DataFrame, column: str, *, where: str) -> None:
    """Raise WrongType for a column that holds no dates or times: nothing in it is fresh."""
    kind = frame.schema[column]
    if kind != pl.Date and not isinstance(kind, pl.Datetime):
        raise WrongType(f"column {column!r} of {where} is {kind}; how fresh rows are is told by dates or times")


def fresh(ws: Workspace, rule: Freshness, last: datetime | date | None, *, where: str) -> str | None:
    """What is wrong with the age of the newest row; None where nothing is."""
    found_s = age_s(ws, last)
    if found_s <= rule.at_most_s:
        return None
    age = "there is none" if last is None else f"it is {last}, {found_s / 86_400:,.4g} days ago"
    allowed = rule.at_most_s / 86_400
    return f"{data.written(rule)}: the newest value of {where} must be at most {allowed:.3g} days old; {age}"


def age_s(ws: Workspace, last: datetime | date | None) -> float:
    """Seconds from then to the workspace's now; a date counts from its end, a time without a zone is UTC."""
    if last is None:
        return float("inf")
    if not isinstance(last, datetime):
        return (ws.now - datetime(last.year, last.month, last.day, tzinfo=UTC)).total_seconds() - 86_400
    return (ws.now - (last if last.tzinfo else last.replace(tzinfo=UTC))).total_seconds()


def _later(one: Any, other: Any) -> Any:
    """The later of two times, either of which may be missing."""
    return one if other is None else other if one is None else max(one, other)
