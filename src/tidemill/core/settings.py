"""Settings: `[tool.tidemill]` in pyproject.toml, then TIDEMILL_* in the environment, then flags; later ones win.

Each value remembers where it came from: `tidemill config show --origin`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tidemill.core.errors import BadSetting, nearest

_KINDS: Mapping[type, str] = {str: "text", int: "whole number, such as 8000"}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their defaults; docs/settings.md explains each (a test compares the two)."""

    workspace: str = "tidemill.mill"
    store: str = ""
    tables: str = ""
    online: str = ""
    state_folder: str = "~/.local/state/tidemill"
    actor: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    log_level: str = "warning"
    log_format: str = "text"
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def who(self) -> str:
        """The name under which changes are recorded."""
        return self.actor or os.environ.get("USER") or "local"

    @staticmethod
    def names() -> list[str]:
        """The names of all settings."""
        return [spec.name for spec in fields(Settings) if spec.name != "origins"]

    @staticmethod
    def load(folder: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
        """Read them: from the nearest pyproject.toml at or above `folder` (default: here), the environment, the flags.

        Flags that are None do not count. Raises BadSetting for an unknown name or a value of another type.
        """
        settings = Settings()
        project = _nearest_pyproject(folder or Path.cwd())
        if project is not None:
            for name, value in _table(project).items():
                settings = settings._with(name, value, f"{project} [tool.tidemill]")
        for name in Settings.names():
            variable = f"TIDEMILL_{name.upper()}"
            if variable in os.environ:
                settings = settings._with(name, os.environ[variable], f"environment {variable}")
        for name, value in (flags or {}).items():
            if value is not None:
                settings = settings._with(name, value, f"flag --{name.replace('_', '-')}")
        return settings

    def _with(self, name: str, value: Any, origin: str) -> Settings:
        known = Settings.names()
        if name not in known:
            raise BadSetting(f"no setting {name!r} ({origin}); known are {', '.join(known)}.{nearest(name, known)}")
        kind = type(getattr(Settings(), name))
        if not isinstance(value, str | int | os.PathLike) or (isinstance(value, bool) and kind is str):
            raise BadSetting(f"setting {name} is {value!r} ({origin}); it must be one {_KINDS[kind]}")
        try:
            converted = value if isinstance(value, kind) and not isinstance(value, bool) else kind(str(value))
        except ValueError as error:
            raise BadSetting(f"setting {name} is {value!r} ({origin}); it must be one {_KINDS[kind]}") from error
        if name == "port" and not 0 <= converted <= 65_535:
            raise BadSetting(f"setting {name} is {value!r} ({origin}); allowed: 0 to 65535")
        allowed = {"log_level": ("debug", "info", "warning", "error"), "log_format": ("text", "json")}.get(name)
        if allowed and converted not in allowed:
            raise BadSetting(f"setting {name} is {value!r} ({origin}); allowed: {', '.join(allowed)}")
        return replace(self, **{name: converted, "origins": {**self.origins, name: origin}})


def _nearest_pyproject(folder: Path) -> Path | None:
    for place in (folder.resolve(), *folder.resolve().parents):
        if (place / "pyproject.toml").is_file():
            return place / "pyproject.toml"
    return None


def _table(path: Path) -> Mapping[str, Any]:
    try:
        table: Any = tomllib.loads(path.read_text()).get("tool", {}).get("tidemill", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} is no valid TOML: {error}") from error
    if not isinstance(table, dict):
        raise BadSetting(f"[tool.tidemill] in {path} is {table!r}; it must be a table of settings")
    return table
