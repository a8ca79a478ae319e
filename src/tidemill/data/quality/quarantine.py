"""Rows that a contract kept out of a dataset: kept whole, each with its reasons, until a person mends or discards them.

The table `quarantine/<dataset>` has the columns of the rows as they came (text, where two imports gave a column two
types) and five of its own. A row is known by a digest of its content, so an import that is run again after it was
killed quarantines no row twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from tidemill.core.errors import BadInput, Busy, Conflict
from tidemill.core.locks import exclusive
from tidemill.core.rowhash import row_words
from tidemill.core.types import Pinned
from tidemill.core.workspace import Workspace

ID, REASONS, AT, CONTRACT, RUN = "__id", "__reasons", "__at", "__contract", "__run"
TRIES = 20
OWN = (ID, REASONS, AT, CONTRACT, RUN)


class Quarantined(NamedTuple):
    """What a contract said of the rows of one import.

    rows: so many were kept out. reasons: rule to number of rows that fail it. warned: the same for rules that only
    warn; those rows were let in. run: the recorded run. contract: the seq of the event that set the contract.
    """

    dataset: str
    rows: int
    reasons: dict[str, int]
    warned: dict[str, int]
    run: str
    contract: int

    @property
    def text(self) -> str:
        """As a person reads it."""
        shown = "; ".join(f"{rule} ({count})" for rule, count in self.reasons.items())
        warned = "; ".join(f"{rule} ({count})" for rule, count in self.warned.items())
        parts = [f"{self.rows} rows of {self.dataset!r} are in quarantine: {shown}"] if self.rows else []
        return ". ".join([*parts, *([f"warned: {warned}"] if warned else [])])


def table_of(name: str) -> str:
    """The table of a dataset's quarantined rows."""
    return f"quarantine/{name}"


def reading_order(rows: pl.DataFrame, key: str | None) -> list[str]:
    """The columns of quarantined rows as a person reads them: the key, the reasons, what failed, then the rest."""
    told = rows[REASONS].explode().drop_nulls().unique().to_list()
    failed = {column for reason in told for column in _speaks_of(reason)}
    own = [column for column in rows.columns if column not in OWN]
    first = [key if key in own else ID, REASONS, *(column for column in own if column in failed)]
    return list(dict.fromkeys([*first, ID, *own, *OWN]))


def _speaks_of(reason: str) -> list[str]:
    """The columns of a rule: 'temp between -30 120', 'carrier,day unique', '"air temp" not_null', 'condition a < b'.

    Older records say "temp: between [-30, 120]".
    """
    if reason.startswith("condition "):
        return re.findall(r"\w+", reason.removeprefix("condition "))
    found = re.match(r'"([^"]+)"|(\S+)', reason)
    return (found[1] or found[2].removesuffix(":")).split(",") if found else []


def names(ws: Workspace) -> list[str]:
    """The datasets for which rows were ever quarantined, sorted."""
    return sorted({event.subject.partition("/")[2] for event in ws.graph.events("quarantine/*", kind="added")})


def put(ws: Workspace, name: str, rows: pl.DataFrame, reasons: pl.Series, *, contract: int, run: str) -> Pinned | None:
    """Add rows with their reasons (a list of texts each) that are not there yet; None where all are.

    A column that has another type there becomes text in both: a row that was not what it should be need not fit.
    """
    taken = [column for column in rows.columns if column in OWN]
    if taken:
        raise BadInput(f"column {taken[0]!r} of the rows for dataset {name!r} is one of the quarantine's; rename it")
    plain = rows.with_columns(pl.col(column).cast(pl.String) for column in rows.columns if _odd(rows.schema[column]))
    made = plain.with_columns(
        _ids(plain),
        reasons.alias(REASONS),
        pl.lit(ws.now).cast(pl.Datetime("us", "UTC")).alias(AT),
        pl.lit(contract, pl.Int64).alias(CONTRACT),
        pl.lit(run).alias(RUN),
    ).unique(ID, keep="first", maintain_order=True)
    table = table_of(name)
    with exclusive(ws, table, what=f"the quarantine of dataset {name!r}"):
        for _ in range(TRIES):  # another machine's import does not see this one's lock
            try:
                return _added(ws, table, made)
            except Conflict:
                continue
    raise Busy(f"the quarantine of dataset {name!r} was written by others {TRIES} times in a row; import again")


def _added(ws: Workspace, table: str, made: pl.DataFrame) -> Pinned | None:
    """One try on the newest version; Conflict where somebody else was first."""
    if not ws.tables.exists(table):
        return ws.tables.create(table, made, exists="refuse")
    newest = ws.tables.latest(table)
    there = ws.tables.frame(newest)
    new = made.join(there.select(ID), on=ID, how="anti", maintain_order="left")
    if new.height == 0:
        return None
    there, new = _alike(there, new)
    if dict(there.schema) == ws.tables.schema(newest):
        return ws.tables.append(table, new, parent=newest)
    return ws.tables.write_stream(table, [pl.concat([there, new])], parent=newest, mode="replace")


def rows_of(ws: Workspace, name: str) -> pl.DataFrame:
    """The rows that are in quarantine now, with their own columns: reasons, when, contract, run. None: no rows."""
    table = table_of(name)
    if not ws.tables.exists(table):
        kinds = (pl.String(), pl.List(pl.String()), pl.Datetime("us", "UTC"), pl.Int64(), pl.String())
        return pl.DataFrame(schema=dict(zip(OWN, kinds, strict=True)))
    return ws.tables.frame(ws.tables.latest(table))


def take_out(ws: Workspace, name: str, ids: Sequence[str]) -> Pinned:
    """Remove rows by their ids from the quarantine's newest version."""
    return ws.tables.delete(table_of(name), list(ids), key=ID)


def _odd(kind: pl.DataType) -> bool:
    """Types that no table holds."""
    return kind in (pl.Null, pl.Time) or isinstance(kind, pl.Duration)


def _text(name: str, kind: pl.DataType) -> pl.Expr:
    if kind.is_nested():
        return pl.struct(name).struct.json_encode().alias(name)
    return pl.col(name).bin.encode("hex") if kind == pl.Binary else pl.col(name).cast(pl.String)


def _ids(rows: pl.DataFrame) -> pl.Series:
    """A digest of each row's content, 32 hexadecimal digits; the same row has the same in each import.

    Rows that are alike in all columns of one import would be one: each but the first also counts its place among them.
    """
    high, low = row_words(rows)
    place = rows.select(pl.int_range(pl.len()).over(pl.struct(pl.all()))).to_series()
    texts = [
        f"{int(a):016x}{int(b):016x}"
        if n == 0
        else hashlib.blake2b(f"{int(a)}.{int(b)}.{n}".encode(), digest_size=16).hexdigest()
        for a, b, n in zip(high, low, place, strict=True)
    ]
    return pl.Series(ID, texts, dtype=pl.String)


def _alike(one: pl.DataFrame, other: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both with all columns of either, in the types that a table gives back; text where they differ."""
    from tidemill.core.schema import storable

    other = storable(other, where="the rows for quarantine")
    clash = [name for name in other.columns if name in one.columns and one.schema[name] != other.schema[name]]
    one, other = (each.with_columns(_text(name, each.schema[name]) for name in clash) for each in (one, other))
    kinds = {**dict(other.schema), **dict(one.schema)}
    full = [
        each.with_columns(pl.lit(None, kind).alias(name) for name, kind in kinds.items() if name not in each.columns)
        for each in (one, other)
    ]
    return full[0], full[1].select(full[0].columns)
