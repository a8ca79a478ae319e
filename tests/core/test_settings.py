"""Settings: pyproject.toml, then the environment, then flags; each knows where it came from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidemill.core.errors import BadSetting
from tidemill.core.settings import Settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("TIDEMILL_"):
            monkeypatch.delenv(name)
    return


def project(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    project(tmp_path, "[project]\nname = 'x'\n")
    assert Settings.load(tmp_path) == Settings()
    assert Settings.load(tmp_path).origins == {}
    assert Settings().workspace == "tidemill.mill"


def test_flags_win_over_the_environment_and_that_over_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, '[tool.tidemill]\nport = 9001\nworkspace = "project.mill"\nhost = "0.0.0.0"\n')
    monkeypatch.setenv("TIDEMILL_PORT", "9002")
    monkeypatch.setenv("TIDEMILL_WORKSPACE", "environment.mill")
    settings = Settings.load(tmp_path, {"port": 9003, "host": None, "log_level": None})
    assert (settings.port, settings.workspace, settings.host) == (9003, "environment.mill", "0.0.0.0")
    assert settings.origins == {
        "host": f"{tmp_path / 'pyproject.toml'} [tool.tidemill]",
        "workspace": "environment TIDEMILL_WORKSPACE",
        "port": "flag --port",
    }


def test_the_nearest_project_above_counts(tmp_path: Path) -> None:
    project(tmp_path, "[tool.tidemill]\nport = 9001\n")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert Settings.load(deep).port == 9001
    project(tmp_path / "a", "[tool.other]\nport = 1\n")
    assert Settings.load(deep).port == Settings().port


def test_the_folder_one_is_in_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path, "[tool.tidemill]\nactor = 'ada'\n"))
    assert Settings.load().who == "ada"


def test_who_falls_back_to_the_user_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "grace")
    assert Settings().who == "grace"
    assert Settings(actor="ada").who == "ada"
    monkeypatch.delenv("USER")
    assert Settings().who == "local"


def test_a_name_that_is_not_known_names_the_nearest(tmp_path: Path) -> None:
    project(tmp_path, "[tool.tidemill]\nprot = 9001\n")
    with pytest.raises(BadSetting) as caught:
        Settings.load(tmp_path)
    assert str(caught.value) == (
        f"no setting 'prot' ({tmp_path / 'pyproject.toml'} [tool.tidemill]); known are workspace, store, tables, "
        "online, state_folder, actor, host, port, log_level, log_format. Did you mean 'port'?"
    )
    assert caught.value.exit_code == 2
    with pytest.raises(BadSetting, match="no setting 'colour'"):
        Settings.load(tmp_path.parent, {"colour": "red"})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("port", "http", "it must be one whole number, such as 8000"),
        ("port", "80.5", "it must be one whole number, such as 8000"),
        ("port", "", "it must be one whole number, such as 8000"),
        ("port", "65536", "allowed: 0 to 65535"),
        ("port", "-1", "allowed: 0 to 65535"),
        ("log_level", "loud", "allowed: debug, info, warning, error"),
        ("log_format", "xml", "allowed: text, json"),
    ],
)
def test_a_bad_value_in_the_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"TIDEMILL_{name.upper()}", value)
    with pytest.raises(BadSetting) as caught:
        Settings.load(tmp_path)
    assert str(caught.value) == f"setting {name} is {value!r} (environment TIDEMILL_{name.upper()}); {told}"


@pytest.mark.parametrize(
    ("text", "value"),
    [("port = true", True), ("port = 80.5", 80.5), ("host = ['a']", ["a"]), ("actor = false", False)],
)
def test_a_value_of_another_type_in_the_project_is_named(tmp_path: Path, text: str, value: Any) -> None:
    project(tmp_path, f"[tool.tidemill]\n{text}\n")
    with pytest.raises(BadSetting) as caught:
        Settings.load(tmp_path)
    name = text.partition(" ")[0]
    kind = "whole number, such as 8000" if name == "port" else "text"
    origin = f"{tmp_path / 'pyproject.toml'} [tool.tidemill]"
    assert str(caught.value) == f"setting {name} is {value!r} ({origin}); it must be one {kind}"


def test_a_project_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    project(tmp_path, "[tool.tidemill\n")
    with pytest.raises(BadSetting, match=r"pyproject\.toml is no valid TOML: "):
        Settings.load(tmp_path)
    project(tmp_path, "[tool]\ntidemill = 3\n")
    with pytest.raises(BadSetting, match=r"\[tool\.tidemill\] in .* is 3; it must be a table of settings"):
        Settings.load(tmp_path)
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match="is no valid TOML"):
        Settings.load(tmp_path)
