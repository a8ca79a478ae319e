"""Changes to a dataset's rows under its contract: what would break a rule is refused, and nothing is written.

An import keeps bad rows in quarantine and lets the others in; a change to rows that are there is one person's one act,
so it happens whole or not at all. Unique columns are compared among the rows that change; `contracts.evaluate` looks at
all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from tidemill.core.errors import BadInput
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue import shown
from tidemill.data.quality import contracts
from tidemill.data.quality.sieve import Sieve
from tidemill.data.versioning import branches
from tidemill.data.versioning.branches import Side
from tidemill.data.versioning.versions import MAIN, Ref
from tidemill.data.versioning.writing import Judge

SHOWN = 5


def update(ws: Workspace, name: str, frame: pl.DataFrame, *, message: str = "", branch: str = MAIN) -> DatasetVersion:
    """datasets.update; BadInput names the rule and the rows that would break the contract."""
    return datasets.update(ws, name, frame, message=message, branch=branch, judge=_judge(ws, name))


def add_column(
    ws: Workspace, name: str, frame: pl.DataFrame, *, message: str = "", branch: str = MAIN
) -> DatasetVersion:
    """datasets.add_column; BadInput names the rule and the rows that would break the contract."""
    return datasets.add_column(ws, name, frame, message=message, branch=branch, judge=_judge(ws, name))


def merge(
    ws: Workspace,
    name: str,
    source: Ref,
    *,
    into: str = MAIN,
    resolve: Mapping[Any, Side] | None = None,  # Any: a value of the key column, or its text
    message: str = "",
) -> DatasetVersion:
    """branches.merge; BadInput names the rule and the merged rows that would break the contract."""
    return branches.merge(
        ws, name, source, into=into, resolve=resolve, message=message, judge=_judge(ws, name, masked=True)
    )


def _judge(ws: Workspace, name: str, *, masked: bool = False) -> Judge | None:
    """masked: the rows are not the caller's own, so they are named as he may see them."""
    contract = contracts.get(ws, name)
    if contract is None:
        return None
    version = datasets.get(ws, name)
    key = version.key

    def judge(rows: pl.DataFrame) -> None:
        if not rows.height:
            return
        found = Sieve(ws, name, contract, key=key, append=False).judge(rows)
        if found.bad.height:
            told = "; ".join(f"{rule} ({count} rows)" for rule, count in found.reasons.items())
            named = found.bad[key].head(SHOWN).to_list()
            said = ", ".join(map(str, shown.keys(ws, version, named) if masked else named))
            raise BadInput(
                f"{found.bad.height} rows of dataset {name!r} would break its contract: {told}; such as {said}. "
                f"Nothing was changed; mend the values, or the contract (`tidemill dataset contract show {name}`)"
            )

    return judge
