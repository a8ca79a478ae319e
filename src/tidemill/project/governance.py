"""`mill.governance`: who answers for data, what is personal in it, who may see it, and taking a person out of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tidemill.core.types import Artifact, DatasetVersion, Event
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from tidemill.data.catalogue.governance import Governance as Described
    from tidemill.data.catalogue.pii import Finding
    from tidemill.improve.erasure.erasing import Erasure
    from tidemill.improve.sweeping import Swept


@dataclass(frozen=True, slots=True)
class Governance:
    """What people say about datasets, roles, and the records for those who ask. `mill.policies` has what is allowed."""

    ws: Workspace

    # ------------------------------------------------------------------------------------------------ facts and tags

    def get(self, dataset: str) -> Described:
        """Owner, steward, description, licence, classification and tags of a dataset."""
        from tidemill.data.catalogue import governance

        return governance.get(self.ws, dataset)

    def describe(
        self,
        dataset: str,
        *,
        owner: str | None = None,
        steward: str | None = None,
        description: str | None = None,
        licence: str | None = None,
        classification: str | None = None,
    ) -> Described:
        """Set what is given and keep the rest; an empty text takes a fact back."""
        from tidemill.data.catalogue import governance

        return governance.describe(
            self.ws, dataset, owner=owner, steward=steward, description=description, licence=licence,
            classification=classification,
        )  # fmt: skip

    def tag(self, dataset: str, column: str, *tags: str) -> Described:
        """Give a column tags: "pii:email", "subject" (it names a person), or a word of yours."""
        from tidemill.data.catalogue import governance

        return governance.tag(self.ws, dataset, column, *tags)

    def untag(self, dataset: str, column: str, *tags: str) -> Described:
        """Take tags from a column, all if none is named."""
        from tidemill.data.catalogue import governance

        return governance.untag(self.ws, dataset, column, *tags)

    def find_pii(self, version: DatasetVersion) -> list[Finding]:
        """Columns that seem to hold personal data and that nobody has confirmed or rejected."""
        from tidemill.data.catalogue import governance

        return governance.suggest(self.ws, version)

    def confirm(self, finding: Finding, *, dataset: str) -> Described:
        """Say that a finding is right: the column gets its tag."""
        from tidemill.data.catalogue import governance

        return governance.confirm(self.ws, finding, dataset=dataset)

    def reject(self, dataset: str, column: str, *tags: str) -> Described:
        """Say that a column does not have these tags, whatever rules suggest."""
        from tidemill.data.catalogue import governance

        return governance.reject(self.ws, dataset, column, *tags)

    def tagged(self, artifact: Artifact) -> dict[str, dict[str, list[str]]]:
        """The tags of each column of an artifact (a model, a prediction log), and the datasets that they come from."""
        from tidemill.data.catalogue import tagging

        return tagging.tagged(self.ws, artifact)

    # ------------------------------------------------------------------------------------------------ roles and reading

    def grant(self, actor: str, role: str) -> Event:
        """Give somebody a role: "pii" sees personal columns, "pii@people" those of dataset people, "admin" grants."""
        from tidemill.data.catalogue import access

        return access.grant(self.ws, actor, role)

    def revoke(self, actor: str, role: str) -> Event:
        """Take a role away."""
        from tidemill.data.catalogue import access

        return access.revoke(self.ws, actor, role)

    def roles(self) -> dict[str, list[str]]:
        """The roles of each actor who has some."""
        from tidemill.data.catalogue import access

        return access.everybody(self.ws)

    def scan(
        self,
        version: DatasetVersion,
        *,
        actor: str | None = None,
        purpose: str | None = None,
        columns: Iterable[str] | None = None,
    ) -> pl.LazyFrame:
        """The rows as an actor may see them: personal columns masked without the role, and the read recorded."""
        from tidemill.data.catalogue import access

        return access.scan(self.ws, version, actor=actor, purpose=purpose, columns=columns)

    # ---------------------------------------------------------------------------------------------- for others to read

    def card(self, version: DatasetVersion) -> str:
        """The dataset card, Markdown, made from the records."""
        from tidemill.data.catalogue import cards

        return cards.card(self.ws, version)

    def croissant(self, version: DatasetVersion, *, url: str = "") -> dict[str, Any]:
        """The version as Croissant JSON-LD."""
        from tidemill.data.catalogue import croissant

        return croissant.croissant(self.ws, version, url=url)

    def publish(
        self, version: DatasetVersion, folder: str | os.PathLike[str], *, purpose: str | None = None, url: str = ""
    ) -> dict[str, Any]:
        """Write the rows as Parquet and croissant.json into a folder, masked as this actor may see them."""
        from tidemill.data.catalogue import croissant

        return croissant.publish(self.ws, version, Path(folder), purpose=purpose, url=url)

    def openlineage(
        self, target: str | os.PathLike[str], *, private: bool = False, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Tell every run as OpenLineage events, to a file or to a collector at http(s)://..."""
        from tidemill.track import openlineage

        return openlineage.export(self.ws, target, private=private, headers=headers)

    def who(
        self,
        *,
        what: Literal["read", "changed", "promoted", "erased"] | None = None,
        subject: str | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[dict[str, Any]]:
        """Who read, changed, promoted or erased what, oldest first."""
        from tidemill.track import auditing

        return auditing.who(self.ws, what=what, subject=subject, actor=actor, since=since, until=until)

    # ------------------------------------------------------------------------------------------------ erasure

    def erase(
        self,
        subject: str,
        *,
        columns: Mapping[str, Sequence[str]] | None = None,
        dry_run: bool = False,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Erasure:
        """Take a person out of every version, statistic, log, blob and label; columns: where the person is named."""
        from tidemill.improve.erasure import erasing

        return erasing.erase(self.ws, subject, columns=columns, dry_run=dry_run, progress=progress)

    def erase_rows(self, dataset: str, keys: Sequence[Any], *, dry_run: bool = False) -> Erasure:
        """Take rows out of everything by their keys, as `erase` does."""
        from tidemill.improve.erasure import erasing

        return erasing.erase_rows(self.ws, dataset, keys, dry_run=dry_run)

    def sweep(self, *, older_than_s: float = 86_400.0, dry_run: bool = False) -> Swept:
        """Delete blobs and data files that nothing refers to and that are older than any run takes; or say which."""
        from tidemill.improve import sweeping

        return sweeping.sweep(self.ws, older_than_s=older_than_s, dry_run=dry_run)
