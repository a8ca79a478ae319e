"""`mill.files`: datasets whose rows are files, such as images and texts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    from tidemill.data.filesets.files import Files as Opened
    from tidemill.data.filesets.files import Progress


@dataclass(frozen=True, slots=True)
class Files:
    """The datasets of files of a workspace."""

    ws: Workspace

    def add_folder(
        self,
        name: str,
        folder: str | os.PathLike[str],
        *,
        manifest: str | os.PathLike[str] | None = None,
        pattern: str = "**/*",
        links: Literal["inside", "follow", "skip"] = "inside",
        unmatched: Literal["report", "refuse"] = "report",
        message: str = "",
        progress: Progress | None = None,
    ) -> DatasetVersion:
        """The folder's files as the dataset's next version; manifest: a table with a column `path`, joined on."""
        from tidemill.data.filesets import files

        return files.add_folder(
            self.ws, name, Path(folder), manifest=None if manifest is None else Path(manifest), pattern=pattern,
            links=links, unmatched=unmatched, message=message, progress=progress,
        )  # fmt: skip

    def scanned(self, name: str) -> Mapping[str, Any]:
        """What the last add_folder was asked and saw: rows without a file, files without a row, collisions."""
        from tidemill.data.filesets import files

        return files.scanned(self.ws, name)

    def status(
        self, name: str, folder: str | os.PathLike[str], *, version: DatasetVersion | None = None
    ) -> dict[str, Any]:
        """How the folder differs from a version: paths added, changed and removed, and how many are unchanged."""
        from tidemill.data.filesets import files

        return files.status(self.ws, name, Path(folder), version=version)

    def checkout(
        self,
        version: DatasetVersion,
        folder: str | os.PathLike[str],
        *,
        force: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, int]:
        """Make the folder hold the version's files; changed files that are stored nowhere are kept unless forced."""
        from tidemill.data.filesets import checkouts

        return checkouts.checkout(self.ws, version, Path(folder), force=force, progress=progress)

    def read(self, version: DatasetVersion, path: str) -> bytes:
        """One file's bytes, verified."""
        from tidemill.data.filesets import files

        return files.read(self.ws, version, path)

    def open(self, version: DatasetVersion) -> Opened:
        """The version's files, for reading many of them."""
        from tidemill.data.filesets import files

        return files.open_files(self.ws, version)
