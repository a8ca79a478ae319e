"""Contracts of datasets: set by a person, suggested from a profile, enforced on every import, evaluated on any version.

A contract is an event of subject `contract/<dataset>`, so who set which one when is in the log; its seq is its version.
An import lets good rows in, keeps bad ones in quarantine with their reasons, and says both. A version is evaluated by a
recorded run that leaves a report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from tidemill.core import checks as core_checks
from tidemill.core.errors import BadInput, NotFound, require_columns
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, Check, DatasetVersion, Event
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.quality import contract as data
from tidemill.data.quality import profiles, quarantine
from tidemill.data.quality.contract import Contract, Freshness, type_rule, written
from tidemill.data.quality.quarantine import Quarantined
from tidemill.data.quality.sieve import Sieve, fresh, lookup_in, newest, require_time, sifting, typed_as

__all__ = [
    "Contract",
    "Freshness",
    "Quarantined",
    "Report",
    "Result",
    "Sieve",
    "discard",
    "drop",
    "evaluate",
    "failing_keys",
    "get",
    "history",
    "quarantined",
    "release",
    "set_contract",
    "sieve",
    "sifting",
    "suggest",
]
FORMAT = 1
FEW = profiles.TOP  # distinct texts that make a column look like one of categories: all of them are in the profile
ROWS_A_CATEGORY = 10
DIGITS = 2
KEPT_PARSED = 256
_parsed: dict[str, Contract] = {}  # by hash of the event, which never changes


@dataclass(frozen=True, slots=True)
class Result:
    """One rule on one version: how many rows fail it, and the ids of the first 20."""

    rule: str
    severity: str
    rows: int
    keys: tuple[Any, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.rows == 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a contract says of a version. ok: no rule of severity "error" fails. artifact: where it is kept."""

    dataset: str
    version: int
    contract: int
    results: tuple[Result, ...]
    artifact: Artifact

    @property
    def ok(self) -> bool:
        """Whether every rule that stops an import holds."""
        return all(result.ok or result.severity == "warn" for result in self.results)

    @property
    def failed(self) -> list[Result]:
        """The rules that do not hold, warnings among them."""
        return [result for result in self.results if not result.ok]


def set_contract(ws: Workspace, name: str, contract: Contract, *, expect: int | None = None) -> Contract:
    """Set the dataset's contract: each later import must keep it. The same one again changes nothing.

    The dataset may not exist yet; where it does, it must have the columns (UnknownColumn), of types that the checks are
    for (WrongType). Rows that are there are not judged: `evaluate` does that. expect: the seq of the contract that it
    replaces (0 for none), else Conflict.
    """
    contract = data.checked(contract)
    columns = contract.columns  # parses the conditions
    version = datasets.find(ws, name)
    if version is not None:
        require_columns(columns, version.columns, where=f"dataset {name!r}")
        _try_out(ws, version, contract)
    ws.tables.uri(quarantine.table_of(name))  # a bad name stops here
    last = _event(ws, name)
    body = data.to_json(contract)
    if last is not None and last.kind == "set" and last.body == body and expect in (None, last.seq):
        return _contract(last)
    return _contract(ws.graph.record(f"contract/{name}", "set", body, actor=ws.settings.who, expect=expect))


def get(ws: Workspace, name: str) -> Contract | None:
    """The dataset's contract; None where there is none. One look-up of an event; it is parsed once."""
    last = _event(ws, name)
    return None if last is None or last.kind != "set" else _contract(last)


def drop(ws: Workspace, name: str) -> None:
    """Take the contract away; what it said stays in the log."""
    if get(ws, name) is not None:
        ws.graph.record(f"contract/{name}", "dropped", {}, actor=ws.settings.who)


def history(ws: Workspace, name: str) -> list[Contract]:
    """All contracts that the dataset ever had, newest first."""
    return [_contract(event) for event in reversed(ws.graph.events(f"contract/{name}", kind="set"))]


def sieve(
    ws: Workspace,
    name: str,
    frame: pl.DataFrame,
    *,
    key: str,
    append: bool = True,
    branch: str = datasets.MAIN,
    source: str = "",
) -> tuple[pl.DataFrame, Quarantined | None]:
    """The rows that keep the dataset's contract, and what became of the others (None: nothing was wrong).

    append: rows are added to those of the branch's head, so unique columns are compared with them; False replaces
    them. Rows that fail a rule of severity "error" are in quarantine when this returns, with a recorded run; those that
    fail only a warning are let in and counted. For batches see `sifting`.
    Raises UnknownColumn or WrongType for rows that the contract cannot be applied to, BadInput where they are stale.
    """
    contract = get(ws, name)
    if contract is None:
        return frame, None
    with sifting(ws, name, contract, key=key, append=append, branch=branch, source=source) as one:
        good = one.sift(frame)
        return good, one.finish()


def evaluate(ws: Workspace, version: DatasetVersion) -> Report:
    """Judge all rows of a version by the dataset's contract: a recorded run with a report. NotFound without one."""
    contract = _require(ws, version.name)
    params = {"contract": contract.seq}
    with recorded(ws, "data.check", version.name, inputs=[("rows", version)], params=params) as run:
        results = _results(ws, version, contract)
        failed = [result for result in results if not result.ok]
        body = {
            "format": FORMAT,
            "dataset": version.name,
            "version": version.version,
            "contract": contract.seq,
            "results": [
                {
                    "rule": each.rule,
                    "severity": each.severity,
                    "rows": each.rows,
                    "keys": [str(key) for key in each.keys],
                }
                for each in results
            ],
        }
        meta = {"rules": len(results), "failed": len(failed), "version": version.id}
        artifact = run.emit_json("report", f"contract/{version.name}", body, meta=meta)
        run.result({"rules": len(results), "failed": len(failed)})
        return Report(version.name, version.version, contract.seq, tuple(results), artifact)


def failing_keys(ws: Workspace, version: DatasetVersion, check: Check) -> list[Any]:
    """The ids of all rows of a version that fail one check of its contract (or any other check)."""
    frame = _columns(ws, version, [version.key, *core_checks.columns_of(check)])
    found = core_checks.failing(frame, [check], key=version.key, at_most=None, lookup=lookup_in(ws))
    return found[0].keys if found else []


def suggest(ws: Workspace, version: DatasetVersion) -> Contract:
    """A contract that the version keeps, read off its profile: for a person to edit, then set.

    Types of all columns; not_null where nothing is missing; unique where all values differ; one_of for text with at
    most 20 values, each of which comes ten times on average; ranges of numbers, as warnings, widened to two digits.
    """
    profile = profiles.of(ws, version)
    rows = int(profile["rows"])
    checks: list[Check] = []
    for column, facts in profile["columns"].items():
        if facts["missing"] == 0:
            checks.append(core_checks.not_null(column))
        distinct = facts.get("distinct")
        if column == version.key or (
            distinct == rows and facts["missing"] == 0 and facts["kind"] in ("text", "number")
        ):
            if column == version.key or not version.columns[column].startswith("Float"):
                checks.append(core_checks.unique(column))
        elif facts["kind"] == "text" and distinct and distinct <= FEW and distinct * ROWS_A_CATEGORY <= rows:
            checks.append(core_checks.one_of(column, *sorted(each["value"] for each in facts["top"])))
        elif facts["kind"] == "number" and facts.get("min") is not None and facts["min"] < facts["max"]:
            low, high = _rounded(facts["min"], up=False), _rounded(facts["max"], up=True)
            checks.append(core_checks.warn(core_checks.between(column, low, high)))
    return data.checked(Contract(dict(version.columns), tuple(checks)))


def quarantined(ws: Workspace, name: str) -> pl.DataFrame:
    """The rows in quarantine now: their columns as they came, and __id, __reasons, __at, __contract, __run."""
    return quarantine.rows_of(ws, name)


def release(
    ws: Workspace,
    name: str,
    keys: Sequence[Any],
    frame: pl.DataFrame | None = None,
    *,
    message: str = "",
    branch: str = datasets.MAIN,
) -> DatasetVersion:
    """Add quarantined rows to the dataset after all: mended (`frame`), or as they are where the contract was eased.

    keys: row ids, or values of the column __id. The contract is applied: BadInput names the rule and the rows that
    still fail it, and then nothing changes. Returns the dataset's next version. A person who is killed midway does it
    again: rows that were added are not added twice.
    """
    version = datasets.get(ws, name)
    picked = _picked(ws, name, keys, version.key)
    rows = _as_dataset(picked, version) if frame is None else frame
    contract = get(ws, name)
    if contract is not None:
        one = Sieve(ws, name, contract, key=version.key, branch=branch)
        judged = one.judge(rows)
        if judged.bad.height:
            why = "; ".join(f"{rule} ({count})" for rule, count in judged.reasons.items())
            shown = ", ".join(map(str, judged.bad[version.key].head(3)))
            count = f"{judged.bad.height} rows for dataset {name!r} still fail"
            if judged.bad.height == 1:
                count = f"1 row for dataset {name!r} still fails"
            raise BadInput(f"{count}, such as {shown}: {why}; give them mended, as a frame (--with FILE)")
        rows = judged.good
    ids = picked[quarantine.ID].to_list()
    made = datasets.add(
        ws,
        name,
        rows,
        key=version.key,
        event_time=version.event_time,
        known_time=version.known_time,
        message=message or f"{rows.height} rows released from quarantine",
        source=quarantine.table_of(name),
        branch=branch,
    )
    quarantine.take_out(ws, name, ids)
    _note(ws, name, "released", {"ids": ids, "version": made.id, "mended": frame is not None})
    return made


def discard(ws: Workspace, name: str, keys: Sequence[Any], *, reason: str) -> int:
    """Take rows out of quarantine for good; who did it and why stays in the log. Returns how many."""
    if not reason.strip():
        raise BadInput(f"no reason to discard {len(keys)} rows of dataset {name!r}; give one, it is kept in the log")
    picked = _picked(ws, name, keys, datasets.get(ws, name).key if datasets.find(ws, name) else None)
    ids = picked[quarantine.ID].to_list()
    quarantine.take_out(ws, name, ids)
    _note(ws, name, "discarded", {"ids": ids, "reason": reason})
    return len(ids)


def _try_out(ws: Workspace, version: DatasetVersion, contract: Contract) -> None:
    """Apply the checks to no rows, in the contract's types: what cannot be applied is told when it is set."""
    none = datasets.scan(ws, version, verify=False).head(0).collect()
    kinds = {column: data.dtype(kind) for column, kind in contract.types.items()}
    typed = none.with_columns(pl.Series(column, [], kind) for column, kind in kinds.items() if kind is not None)
    core_checks.masks(typed, [check for check in contract.checks if check.kind != "references"])
    if contract.freshness is not None:
        require_time(typed, contract.freshness.column, where=f"dataset {version.name!r}")


def _event(ws: Workspace, name: str) -> Event | None:
    return next(iter(ws.graph.events(f"contract/{name}", last=1)), None)


def _contract(event: Event) -> Contract:
    if event.hash not in _parsed:
        if len(_parsed) >= KEPT_PARSED:
            _parsed.clear()
        _parsed[event.hash] = replace(data.from_json(event.body), seq=event.seq, at=event.at, by=event.actor)
    return _parsed[event.hash]


def _require(ws: Workspace, name: str) -> Contract:
    found = get(ws, name)
    if found is None:
        raise NotFound(f"dataset {name!r} has no contract; set one, for example the one that `suggest` gives")
    return found


def _results(ws: Workspace, version: DatasetVersion, contract: Contract) -> list[Result]:
    require_columns(contract.columns, version.columns, where=f"dataset {version.name!r}@{version.version}")
    results = []
    for column, kind in contract.types.items():
        have = version.columns[column]
        right = have == kind or data.WRITTEN.get(have) == kind
        results.append(Result(type_rule(column, kind), "error", 0 if right else version.rows))
    columns = [column for check in contract.checks for column in core_checks.columns_of(check)]
    frame = _columns(ws, version, [version.key, *columns])
    found = core_checks.failing(frame, contract.checks, key=version.key, lookup=lookup_in(ws))
    failed = {failure.check: failure for failure in found}
    for check in contract.checks:
        failure = failed.get(check)
        keys = tuple(failure.keys) if failure else ()
        results.append(Result(core_checks.named(check), check.severity, failure.rows if failure else 0, keys))
    rule = contract.freshness
    if rule is not None:
        text = fresh(ws, rule, newest(ws, version, rule.column), where=f"dataset {version.name!r}")
        results.append(Result(text or written(rule), rule.severity, 1 if text else 0))
    return results


def _columns(ws: Workspace, version: DatasetVersion, columns: Iterable[str]) -> pl.DataFrame:
    return datasets.scan(ws, version, columns=columns).collect()


def _picked(ws: Workspace, name: str, keys: Sequence[Any], key: str | None) -> pl.DataFrame:
    there = quarantine.rows_of(ws, name)
    wanted = {str(each) for each in keys}
    match = pl.col(quarantine.ID).is_in(sorted(wanted))
    if key is not None and key in there.columns:
        match = match | pl.col(key).cast(pl.String).is_in(sorted(wanted))
    picked = there.filter(match)
    found = set(picked[quarantine.ID]) | (set(picked[key].cast(pl.String)) if key in picked.columns and key else set())
    missing = sorted(wanted - found)
    if missing or not wanted:
        raise NotFound(
            f"no rows {missing[:3]} in quarantine of dataset {name!r}; it has {there.height}: "
            f"see contracts.quarantined(ws, {name!r})"
        )
    return picked


def _as_dataset(picked: pl.DataFrame, version: DatasetVersion) -> pl.DataFrame:
    """Quarantined rows with the dataset's columns; what became text is read again."""
    rows = picked.drop(quarantine.OWN)
    kinds = {column: data.WRITTEN.get(kind, kind) for column, kind in version.columns.items() if column in rows.columns}
    typed, wrong = typed_as(rows, Contract(kinds), where=f"the quarantined rows of dataset {version.name!r}")
    if wrong:
        raise BadInput(f"rows of dataset {version.name!r} still fail {wrong[0][0]}; give them mended, as a frame")
    return typed.select(column for column in typed.columns if column in version.columns)


def _note(ws: Workspace, name: str, kind: str, body: dict[str, Any]) -> None:
    ws.graph.record(f"quarantine/{name}", kind, body, actor=ws.settings.who)


def _rounded(value: float, *, up: bool) -> float:
    """The next number of two digits above or below; a whole one stays whole."""
    if value == 0:
        return value
    step = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1)
    made = (math.ceil(value / step) if up else math.floor(value / step)) * step
    return int(made) if isinstance(value, int) else float(f"{made:.12g}")
