"""`mill.data`: datasets and their versions, branches and exports."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from tidemill.data.transfer.importing import Told

Ref = str | int | DatasetVersion | None
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Data:
    """The datasets of a workspace. ref: a version's number, tag, branch or digest; None is the head of "main"."""

    ws: Workspace

    # ------------------------------------------------------------------------------------------------ looking

    def names(self) -> list[str]:
        """The names of all datasets."""
        from tidemill.data import datasets

        return datasets.names(self.ws)

    def get(self, name: str, ref: Ref = None) -> DatasetVersion:
        """The version that is meant, also as one text, "trips@2"; the newest known at this view's time by default."""
        from tidemill.data import datasets

        return datasets.resolve(self.ws, name, ref)

    def schema(self, name: str, ref: Ref = None) -> dict[str, str]:
        """Column to type, in the order of the rows."""
        from tidemill.data import datasets

        rows = datasets.scan(self.ws, self.get(name, ref), verify=False)
        return {column: str(kind) for column, kind in rows.collect_schema().items()}

    def log(self, name: str, *, branch: Ref = None) -> list[DatasetVersion]:
        """All versions, newest first; with a branch, those that its head comes from."""
        from tidemill.data import datasets

        return datasets.log(self.ws, name, branch=branch)

    def diff(
        self, name: str, old: Ref, new: Ref = None, *, at_most: int = 100, purpose: str | None = None
    ) -> dict[str, Any]:
        """What `new` has else than `old`: schema, counts, and rows by key with old and new values, as JSON values.

        Personal columns are masked, here as in `profile`, for who has no role to see them.
        """
        from tidemill.data.catalogue import shown

        return shown.diff(self.ws, self.get(name, old), self.get(name, new), at_most=at_most, purpose=purpose)

    def profile(
        self, name: str, ref: Ref = None, *, purpose: str | None = None, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Types, missing, distinct, quantiles, histograms and common values of each column; kept once computed."""
        from tidemill.data.catalogue import shown

        return shown.profile(self.ws, self.get(name, ref), purpose=purpose, progress=progress)

    def read(self, name: str, path: str | os.PathLike[str], *, branch: str = "main") -> pl.DataFrame:
        """All rows of a file for `update`, `add_column` or `contracts.release`: in the types that the dataset has."""
        from tidemill.data import datasets
        from tidemill.data.versioning import typed

        return typed.read(self.ws, datasets.required(self.ws, name, branch), os.fspath(path))

    # ------------------------------------------------------------------------------------------------ writing

    def add(
        self,
        name: str,
        frame: pl.DataFrame,
        *,
        key: str,
        event_time: str | None = None,
        known_time: str | None = None,
        mode: Literal["append", "replace"] = "append",
        message: str = "",
        branch: str = "main",
        ordered: bool | None = None,
        made_of: Sequence[DatasetVersion | str] = (),
        told: Told | None = None,
    ) -> DatasetVersion:
        """Add rows that keep the dataset's contract, the others go to quarantine; told: hears what became of those.

        made_of: versions ("people", "people@2") that the rows were made from by hand; tags of columns follow.
        """
        from tidemill.data.transfer import importing

        return importing.add(
            self.ws, name, frame, key=key, event_time=event_time, known_time=known_time, mode=mode, message=message,
            branch=branch, ordered=ordered, made_of=self._versions(made_of), told=told or _warn,
        )  # fmt: skip

    def import_from(
        self,
        name: str,
        url: str | os.PathLike[str],
        *,
        key: str,
        event_time: str | None = None,
        known_time: str | None = None,
        mode: Literal["append", "replace"] = "append",
        query: str | None = None,
        incremental: str | None = None,
        columns: Sequence[str] | None = None,
        zone: str | None = None,
        message: str = "",
        branch: str = "main",
        made_of: Sequence[DatasetVersion | str] = (),
        progress: Progress | None = None,
        told: Told | None = None,
    ) -> DatasetVersion:
        """Import a file, a folder of files, a Delta table, s3://... or the rows of a database's query, streamed."""
        from tidemill.data.transfer import importing

        return importing.import_from(
            self.ws, name, os.fspath(url), key=key, event_time=event_time, known_time=known_time, mode=mode,
            query=query, incremental=incremental, columns=columns, zone=zone, message=message, branch=branch,
            made_of=self._versions(made_of), progress=progress, told=told or _warn,
        )  # fmt: skip

    def _versions(self, named: Sequence[DatasetVersion | str]) -> list[DatasetVersion]:
        return [self.get(each) if isinstance(each, str) else each for each in named]

    def update(self, name: str, frame: pl.DataFrame, *, message: str = "", branch: str = "main") -> DatasetVersion:
        """Give existing rows new values: the key and the columns to change."""
        from tidemill.data.quality import keeping

        return keeping.update(self.ws, name, frame, message=message, branch=branch)

    def add_column(self, name: str, frame: pl.DataFrame, *, message: str = "", branch: str = "main") -> DatasetVersion:
        """Add columns: the key and the new columns; nulls for rows that are not named."""
        from tidemill.data.quality import keeping

        return keeping.add_column(self.ws, name, frame, message=message, branch=branch)

    def delete(self, name: str, keys: Iterable[Any], *, message: str = "", branch: str = "main") -> DatasetVersion:
        """Leave rows out from the next version on; `governance.erase` takes a person out of all versions.

        keys: values of the key column, or texts that say them.
        """
        from tidemill.data import datasets
        from tidemill.data.versioning import typed

        version = datasets.required(self.ws, name, branch)
        gone = typed.values(version, version.key, list(keys))
        return datasets.delete(self.ws, name, gone, message=message, branch=branch)

    def revert(self, name: str, ref: Ref, *, message: str = "", branch: str = "main") -> DatasetVersion:
        """A new version with what an older one held; stores nothing."""
        from tidemill.data import datasets

        return datasets.revert(self.ws, name, ref, message=message, branch=branch)

    def export(
        self,
        name: str,
        target: str | os.PathLike[str],
        *,
        ref: Ref = None,
        table: str | None = None,
        columns: Sequence[str] | None = None,
        purpose: str | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Write a version to a file, a Delta folder, s3://... or a database's table, as this actor may see it."""
        from tidemill.data.catalogue import access
        from tidemill.data.transfer import exporting

        version = self.get(name, ref)
        rows = access.scan(self.ws, version, columns=columns, purpose=purpose)
        return exporting.export(self.ws, version, target, table=table, columns=columns, rows=rows, progress=progress)

    # ------------------------------------------------------------------------------------------------ tags, branches

    def tag(self, name: str, ref: Ref, label: str) -> DatasetVersion:
        """Give a version a name that it can be asked for by; a tag that is there moves."""
        from tidemill.data import datasets

        return datasets.tag(self.ws, name, ref, label)

    def untag(self, name: str, label: str) -> None:
        """Take a tag away; the version stays."""
        from tidemill.data import datasets

        datasets.untag(self.ws, name, label)

    def tags(self, name: str) -> dict[str, int]:
        """Tag to version number."""
        from tidemill.data import datasets

        return datasets.tags(self.ws, name)

    def branch(self, name: str, label: str, *, at: Ref = None) -> DatasetVersion:
        """Begin a branch at a version, by default at the head of "main"."""
        from tidemill.data.versioning import branches

        return branches.branch(self.ws, name, label, at=at)

    def branches(self, name: str) -> dict[str, DatasetVersion]:
        """Branch to its head, "main" first."""
        from tidemill.data.versioning import branches

        return branches.branches(self.ws, name)

    def merge(
        self,
        name: str,
        source: Ref,
        *,
        into: str = "main",
        resolve: Mapping[Any, Literal["ours", "theirs"]] | None = None,
        message: str = "",
    ) -> DatasetVersion:
        """Bring what a branch changed into another, row by row; conflicts raise MergeConflict unless resolved."""
        from tidemill.data.quality import keeping

        return keeping.merge(self.ws, name, source, into=into, resolve=resolve, message=message)


def _warn(quarantined: Any) -> None:
    import logging

    logging.getLogger("tidemill.data").warning(quarantined.text)
