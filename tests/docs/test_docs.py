"""Every snippet of the guide runs; every verb and setting has its heading."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.cli.main import VERBS
from tidemill.core.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in (DOCS / page).read_text()])
def test_the_snippets_of_a_page_run(page: str, tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S))
    script = tmp_path / "snippets.py"
    script.write_text(code)
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr


def headings(page: str) -> list[str]:
    return re.findall(r"^## (\w+)$", (DOCS / page).read_text(), re.M)


def test_every_verb_has_its_heading() -> None:
    assert headings("verbs.md") == list(VERBS)


def test_every_setting_has_its_heading() -> None:
    assert headings("settings.md") == Settings.names()


def test_no_link_of_the_guide_is_dead() -> None:
    for page in [*DOCS.glob("*.md"), *DOCS.parent.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
