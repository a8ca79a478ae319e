"""The digest of a function's code: its normalised syntax tree and that of every project function it reaches.

Comments, formatting and docstrings do not change it; a changed helper, default, class or module-level constant does.
What lies in an installed distribution is not read: its version is in the run's environment.
"""

from __future__ import annotations

import ast
import inspect
import os
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from tidemill.core.errors import BadInput
from tidemill.core.ids import digest, json_digest

_INSTALLED = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platlib", "purelib"))
_OURS = str(Path(__file__).resolve().parents[1])


class Keyed(NamedTuple):
    """A step's key: its parts by name, or the reason why it has none; and the code's text."""

    key: str | None
    parts: Mapping[str, str]
    reason: str | None
    text: str


class Code(NamedTuple):
    """The code that a function reaches: digest of the normalised trees, and the source text for people."""

    digest: str
    text: str


def code_of(function: Callable[..., Any]) -> Code:
    """The code of a function and of all project code it reaches.

    Raises BadInput for a function without readable source (a builtin, or typed at a prompt).
    """
    if not isinstance(inspect.unwrap(function), FunctionType):
        raise BadInput(f"{function!r} is no plain Python function; its code cannot be digested. Wrap it in a def")
    seen: dict[str, tuple[str, str]] = {}
    _reach(inspect.unwrap(function), seen)
    parts = sorted((name, shape) for name, (shape, _) in seen.items())
    text = "\n\n".join(source for _, source in seen.values())
    return Code(json_digest(parts), text)


def step_key(
    function: Callable[..., Any],
    *,
    inputs: Mapping[str, str],
    params: Mapping[str, Any],
    env: Iterable[str] = (),
    extras: Mapping[str, Path] | None = None,
) -> Keyed:
    """The key of a call: code reached, digests of its inputs, parameters, variables and files that count."""
    found = code_of(function)
    parts = {f"code {function.__name__}": found.digest}
    parts |= {f"input {name}": each for name, each in inputs.items()}
    parts |= {f"parameter {name}": json_digest(each) for name, each in params.items()}
    parts |= {f"environment {name}": digest(os.environ.get(name, "").encode()) for name in env}
    parts |= {f"extra {name}": digest(path.read_bytes()) for name, path in (extras or {}).items()}
    return Keyed(json_digest(parts), parts, None, found.text)


def _reach(thing: Any, seen: dict[str, tuple[str, str]]) -> None:
    name = f"{thing.__module__}.{thing.__qualname__}"
    if name in seen:
        return
    source = _source(thing, name)
    tree = ast.parse(source)
    seen[name] = (_shape(tree), source)
    for owner, value in _globals_of(thing, tree):
        if isinstance(value, FunctionType | type):
            if _is_project(getattr(value, "__module__", None)):
                _reach(value, seen)
        elif isinstance(value, ModuleType) or callable(value):
            continue  # a library's object: its version is in the environment
        else:
            shown = repr(value)
            if " at 0x" in shown:  # an address differs in each process; only what kind of thing it is can count
                shown = f"<{type(value).__module__}.{type(value).__qualname__}>"
            seen[owner] = (digest(shown.encode()), f"# {owner} = {shown}")


def _source(thing: Any, name: str) -> str:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError) as error:
        raise BadInput(f"no source text for {name}; put it in a .py file, so that its code can be recorded") from error


def _shape(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree, annotate_fields=False)


def _globals_of(thing: Any, tree: ast.AST) -> list[tuple[str, Any]]:
    """The module-level names that the code mentions, `module.name` included, with their values; closures too."""
    module = sys.modules[thing.__module__]
    scope = dict(vars(module))
    if isinstance(thing, FunctionType) and thing.__closure__:
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__, strict=True):
            scope[name] = cell.cell_contents
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in scope:
            found[f"{thing.__module__}.{node.id}"] = scope[node.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = scope.get(node.value.id)
            if isinstance(owner, ModuleType) and _is_project(owner.__name__) and hasattr(owner, node.attr):
                found[f"{owner.__name__}.{node.attr}"] = getattr(owner, node.attr)
    return sorted(found.items(), key=lambda pair: pair[0])


def _is_project(module_name: str | None) -> bool:
    """Whether a module is the user's own: not installed, not the standard library, not tidemill."""
    module = sys.modules.get(module_name or "")
    file = getattr(module, "__file__", None)
    if file is None:
        return False
    path = str(Path(file).resolve())
    return not path.startswith((*_INSTALLED, _OURS))
