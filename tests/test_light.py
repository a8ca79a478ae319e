"""`import tidemill` stays light, and its names are the ones we mean to show."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import tidemill

SOURCE = Path(tidemill.__file__).parent
HEAVY = (
    "alembic",
    "deltalake",
    "fastapi",
    "numpy",
    "onnx",
    "onnxruntime",
    "optuna",
    "pandas",
    "polars",
    "ray",
    "scipy",
)
HEAVY += ("sklearn", "sqlalchemy", "starlette", "uvicorn")
MOST_MODULES = 150


def modules(code: str) -> set[str]:
    """The names of all modules that a new interpreter has loaded after `code`, its own start-up included."""
    script = f"{code}\nimport sys\nnames = list(sys.modules)\nimport json\nprint(json.dumps(names))"
    # -S -E would hide the installed package; -I keeps the environment's start-up hooks of a developer out
    out = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    return set(json.loads(out))


def test_import_tidemill_loads_at_most_150_modules() -> None:
    # all that a process holds afterwards counts, what a bare interpreter loads by itself too
    loaded = modules("import tidemill")
    assert len(loaded) <= MOST_MODULES, sorted(loaded - modules(""))


def test_import_tidemill_loads_no_heavy_library() -> None:
    loaded = {name.partition(".")[0] for name in modules("import tidemill")}
    assert loaded & set(HEAVY) == set()


def test_records_errors_and_settings_load_no_heavy_library() -> None:
    loaded = {
        name.partition(".")[0]
        for name in modules(
            "import tidemill.core.workspace, tidemill.core.types, tidemill.core.errors, tidemill.core.extend, "
            "tidemill.core.graph, tidemill.core.store, tidemill.core.engine, tidemill.core.ids, tidemill.core.checks"
        )
    }
    assert loaded & set(HEAVY) == set()


def test_the_names_are_sorted_and_those_of_the_table() -> None:
    assert tidemill.__all__ == sorted(tidemill.__all__, key=str)
    assert set(tidemill.__all__) == set(tidemill._WHERE)
    assert dir(tidemill) == sorted([*tidemill.__all__, "__version__"])


def test_every_name_is_found_where_the_table_says() -> None:
    for name, place in tidemill._WHERE.items():
        assert getattr(tidemill, name) is getattr(import_module(f"tidemill.{place}"), name)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: (node.module or "").removeprefix("tidemill.")
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == tidemill._WHERE


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    code = "import tidemill\ntry: tidemill.opne\nexcept AttributeError as error: print(error)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "module 'tidemill' has no attribute 'opne'\n"


def test_every_module_says_what_it_is_for() -> None:
    without = [
        str(path.relative_to(SOURCE))
        for path in sorted(SOURCE.rglob("*.py"))
        if not (ast.get_docstring(ast.parse(path.read_text())) or "").strip()
    ]
    assert without == []
