"""`mill.policies`: what datasets may be used for, how long rows are kept, and what must not be deleted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from tidemill.core.types import DatasetVersion, Event
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    from tidemill.data.catalogue.policies import Applied, Due, Permit, Policy

TRAINING = "training"  # the purpose that a fit has if nothing else is said


@dataclass(frozen=True, slots=True)
class Policies:
    """Purposes with their legal bases, retention and legal holds of a workspace's datasets."""

    ws: Workspace

    def get(self, dataset: str) -> Policy:
        """The dataset's policy; an empty one where nothing was decided."""
        from tidemill.data.catalogue import policies

        return policies.get(self.ws, dataset)

    def allow(self, dataset: str, purpose: str, basis: str, *, until: datetime | None = None) -> Policy:
        """Allow a purpose on a legal basis; from the first one on, other purposes are refused."""
        from tidemill.data.catalogue import policies

        return policies.allow(self.ws, dataset, purpose, basis, until=until)

    def disallow(self, dataset: str, purpose: str) -> Policy:
        """Take a purpose back."""
        from tidemill.data.catalogue import policies

        return policies.disallow(self.ws, dataset, purpose)

    def allow_any(self, dataset: str) -> Policy:
        """Forget the permits: any purpose is allowed again."""
        from tidemill.data.catalogue import policies

        return policies.allow_any(self.ws, dataset)

    def require(self, versions: DatasetVersion | Iterable[DatasetVersion], purpose: str | None) -> list[Permit]:
        """The permits under which these versions may be used for the purpose; Refused otherwise."""
        from tidemill.data.catalogue import policies

        return policies.require(self.ws, versions, purpose)

    def keep_for(self, dataset: str, period: timedelta | None) -> Policy:
        """Keep rows for so long after their event time; None keeps them for ever."""
        from tidemill.data.catalogue import policies

        return policies.keep_for(self.ws, dataset, period)

    def due(self, dataset: str | None = None) -> list[Due]:
        """The datasets (or that one) that hold rows for longer than their policy says."""
        from tidemill.data.catalogue import policies

        return policies.due(self.ws, dataset)

    def apply_retention(
        self, dataset: str | None = None, *, how: Literal["delete", "erase"] = "delete"
    ) -> list[Applied]:
        """Remove what is due (of all datasets, or of that one), but for datasets under a legal hold.

        how: "delete" leaves it out from the next versions on; "erase" takes it out of every version, log and label.
        """
        from tidemill.data.catalogue import policies
        from tidemill.improve.erasure import erasing

        return policies.apply_retention(self.ws, dataset, erase=erasing.erase_rows if how == "erase" else None)

    def hold(self, dataset: str, case: str, *, reason: str = "") -> Event:
        """Forbid erasure and retention of a dataset for a case."""
        from tidemill.data.catalogue import policies

        return policies.hold(self.ws, dataset, case, reason=reason)

    def release(self, dataset: str, case: str, *, reason: str = "") -> Event:
        """End the hold of one case."""
        from tidemill.data.catalogue import policies

        return policies.release(self.ws, dataset, case, reason=reason)

    def held(self, dataset: str) -> list[str]:
        """The open cases that hold a dataset."""
        from tidemill.data.catalogue import policies

        return policies.held(self.ws, dataset)
