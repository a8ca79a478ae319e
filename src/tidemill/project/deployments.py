"""`mill.deployments`: who answers, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from tidemill.watch.alerts import Raised


@dataclass(frozen=True, slots=True)
class Deployments:
    """Deployments, what they answered and what was seen of them."""

    ws: Workspace

    def predictions(self, deployment: str, *, since: datetime | None = None, until: datetime | None = None) -> Any:
        """The logged predictions of a deployment as a Polars frame."""
        from tidemill.watch import log

        return log.predictions(self.ws, deployment, since=since, until=until)

    def prediction_id(self, deployment: str, row_key: str) -> str:
        """The id under which a deployment answers for a row key: the same at each asking."""
        from tidemill.serve.lineup import prediction_id

        return prediction_id(deployment, row_key)

    def truth(self, deployment: str, rows: pl.DataFrame) -> None:
        """Ground truth as it arrives: columns id (of the prediction) or row_key, value, known_time."""
        from tidemill.watch import truth

        truth.add_truth(self.ws, deployment, rows)

    def alerts(self, deployment: str | None = None) -> list[Raised]:
        """All alerts, oldest first."""
        from tidemill.watch import alerts

        return alerts.alerts(self.ws, deployment)

    def acknowledge(self, alert_id: str, *, note: str = "") -> Raised:
        """Say that an alert was seen, and by whom."""
        from tidemill.watch import alerts

        return alerts.acknowledge(self.ws, alert_id, who=self.ws.settings.who, note=note)
