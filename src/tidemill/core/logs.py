"""Structured logs on standard error: text for people, one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import sys

from tidemill.core.ids import iso, utc_now
from tidemill.core.settings import Settings

LOGGER = "tidemill"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = {"at": iso(utc_now()), "level": record.levelname.lower(), "logger": record.name}
        said["message"] = record.getMessage()
        said |= getattr(record, "fields", {})
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


def set_up(settings: Settings) -> None:
    """Send Tidemill's logs to standard error as the settings say; calling it again replaces the former set-up."""
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_Json() if settings.log_format == "json" else text)
    logger.handlers = [handler]
    logger.setLevel(settings.log_level.upper())
    logger.propagate = False
