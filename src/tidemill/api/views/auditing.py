"""The audit page: who read, changed, promoted or erased what."""

from __future__ import annotations

from tidemill.api.views.shaping import Shown, plain
from tidemill.project import Project


def audit(
    project: Project,
    *,
    what: str | None = None,
    subject: str | None = None,
    actor: str | None = None,
    limit: int = 100,
) -> Shown:
    """The newest deeds first. what: read, changed, promoted or erased; subject may end in "*"."""
    from tidemill.track import auditing

    found = auditing.who(project.ws, what=what or None, subject=subject or None, actor=actor or None)  # type: ignore[arg-type]
    return {
        "what": what,
        "subject": subject,
        "actor": actor,
        "whats": list(auditing.WHATS),
        "deeds": len(found),
        "lines": [plain(line) for line in reversed(found[-limit:])],
    }
