"""`mill.contracts`: what the rows of a dataset must be, and those that are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.core.types import Check, DatasetVersion
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from tidemill.data.quality.contract import Contract
    from tidemill.data.quality.contracts import Report


@dataclass(frozen=True, slots=True)
class Contracts:
    """The contracts of a workspace's datasets, and the quarantine of rows that broke them."""

    ws: Workspace

    def get(self, name: str) -> Contract | None:
        """The dataset's contract, or None."""
        from tidemill.data.quality import contracts

        return contracts.get(self.ws, name)

    def set(self, name: str, contract: Contract | Iterable[str]) -> Contract:
        """Set the contract: one, or rules as lines such as "temp between -30 120"; each later import must keep it."""
        from tidemill.data.quality import contract as definition
        from tidemill.data.quality import contracts

        wanted = contract if isinstance(contract, definition.Contract) else definition.rules(contract)
        return contracts.set_contract(self.ws, name, wanted)

    def read(self, text: str) -> Contract:
        """A contract from the text of a file: JSON, or rules line by line."""
        from tidemill.data.quality import contract

        return contract.read(text)

    def json(self, contract: Contract) -> dict[str, Any]:
        """A contract as plain JSON, the format first."""
        from tidemill.data.quality import contract as definition

        return definition.to_json(contract)

    def drop(self, name: str) -> None:
        """Take the contract away; what it said stays in the log."""
        from tidemill.data.quality import contracts

        contracts.drop(self.ws, name)

    def history(self, name: str) -> list[Contract]:
        """All contracts that the dataset ever had, newest first."""
        from tidemill.data.quality import contracts

        return contracts.history(self.ws, name)

    def suggest(self, version: DatasetVersion) -> Contract:
        """A contract that the version keeps, read off its profile: for a person to edit, then set.

        Without values of personal columns for who may not see them.
        """
        from tidemill.data.catalogue import shown

        return shown.suggest(self.ws, version)

    def evaluate(self, version: DatasetVersion) -> Report:
        """Judge all rows of a version by the dataset's contract, recorded with a report."""
        from tidemill.data.quality import contracts

        return contracts.evaluate(self.ws, version)

    def failing(self, version: DatasetVersion, check: Check) -> list[Any]:
        """The ids of all rows of a version that fail one check."""
        from tidemill.data.quality import contracts

        return contracts.failing_keys(self.ws, version, check)

    def quarantined(self, name: str) -> pl.DataFrame:
        """The rows in quarantine now, with __id, __reasons, __at, __contract and __run."""
        from tidemill.data.quality import contracts

        return contracts.quarantined(self.ws, name)

    def shown(self, name: str, *, purpose: str | None = None) -> pl.DataFrame:
        """The same for a person to look at: personal columns masked without the role, and the look recorded."""
        from tidemill.data.catalogue import shown

        return shown.quarantined(self.ws, name, purpose=purpose)

    def release(
        self, name: str, keys: Sequence[Any], frame: pl.DataFrame | None = None, *, message: str = ""
    ) -> DatasetVersion:
        """Add quarantined rows to the dataset after all: mended, or as they are where the contract was eased."""
        from tidemill.data.quality import contracts

        return contracts.release(self.ws, name, keys, frame, message=message)

    def discard(self, name: str, keys: Sequence[Any], *, reason: str) -> int:
        """Take rows out of quarantine for good; how many."""
        from tidemill.data.quality import contracts

        return contracts.discard(self.ws, name, keys, reason=reason)
