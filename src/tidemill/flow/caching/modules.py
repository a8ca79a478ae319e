"""Modules and classes of the user as a key sees them: names, class statements, imports and what importing does."""

from __future__ import annotations

import ast
import enum
import sys
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from tidemill.core.ids import json_digest
from tidemill.flow.caching import origins, syntax

# Bases and metaclasses that read no annotations: a class under these alone is what its statement says.
MAIN = ("__main__", "__mp_main__")  # the program itself, and in a worker that was started for it
HARMLESS = ("builtins", "abc", "enum", "typing", "collections.abc", "collections", "numbers", "contextlib", "threading")

_ENUM = frozenset(
    (  # noqa: SIM905  they read better so
        "_member_map_ _member_names_ _member_type_ _value2member_map_ _unhashable_values_ _new_member_ _use_args_ "
        "_generate_next_value_ _value_repr_ _hashable_values_ _unhashable_values_map_ __new__ _add_alias_ "
        "_add_value_alias_ __reduce_ex__ __repr__ __str__ __format__"
    ).split()
)


def name_of(module: ModuleType) -> str:
    """The module's name, the same whether it is run or imported."""
    return name_in(vars(module))


def name_in(scope: dict[str, Any]) -> str:
    """The name of the module with those globals."""
    name = str(scope.get("__name__", ""))
    if name not in MAIN:
        return name
    spec = scope.get("__spec__")
    return str(spec.name) if spec is not None else Path(str(scope.get("__file__", name))).stem


def qualified(thing: Any) -> str:
    """module.qualname of anything that has them."""
    module = str(getattr(thing, "__module__", None) or "builtins")
    known = sys.modules.get(module)
    if module in MAIN and known is not None:
        module = name_of(known)
    return f"{module}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def found(thing: Any) -> Any:
    """What the module has under the thing's own name; None where it has nothing."""
    value: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for part in thing.__qualname__.split("."):
        value = getattr(value, part, None) if part != "<locals>" else None
    return value


def of_function(thing: FunctionType) -> ModuleType | None:
    """The module in whose scope the function runs: a wrapper may say that it is of another."""
    module = sys.modules.get(str(thing.__globals__.get("__name__", "")))
    if module is None or vars(module) is thing.__globals__:
        return module
    # A worker's copy of the program's own module has its functions' globals copied.
    return module if getattr(module, "__file__", None) == thing.__globals__.get("__file__") else None


def class_statement(kind: type, *, annotations: bool) -> tuple[str, str, list[tuple[str, ...]]]:
    """The digest of the class statement, its source, and the names its body uses; empty where there is no source."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    parsed = None if file is None or module is None else syntax.file_of(file, vars(module))
    if parsed is None:
        return "", "", []
    name = kind.__qualname__.rpartition(".")[2]
    lines = {
        each.__code__.co_firstlineno
        for each in vars(kind).values()
        if isinstance(each, FunctionType) and each.__code__.co_filename == file
    }
    nodes = [node for (known, _), node in parsed.defs.items() if known == name and isinstance(node, ast.ClassDef)]
    for node in nodes:
        if len(nodes) == 1 or any(node.lineno <= line <= (node.end_lineno or 0) for line in lines):
            shape, text, uses = syntax.of_class(parsed, node, annotations=annotations)
            return shape, text, [use.chain for use in uses]
    return "", "", []


def fields_of(kind: type) -> Any:
    """What a dataclass keeps of its fields, without their types; the members of an Enum."""
    if issubclass(kind, enum.Enum):
        return [(name, member._value_) for name, member in kind.__members__.items()]
    fields = vars(kind).get("__dataclass_fields__")
    if fields is None:
        return None
    made = []
    for name, each in fields.items():
        metadata = dict(each.metadata) if each.metadata else None
        made.append(
            (name, each.init, each.repr, each.hash, each.compare, metadata, each.kw_only, str(each._field_type))
        )
    return made


def made_for(kind: type) -> frozenset[str]:
    """Attributes that Python's own machinery adds: what they are made of counts elsewhere."""
    names = {"__dataclass_fields__", "_abc_impl", "__protocol_attrs__", "_is_protocol", "_is_runtime_protocol"}
    if issubclass(kind, enum.Enum):
        names |= _ENUM - set(_written(kind)) | set(kind.__members__)
    if hasattr(kind, "_field_defaults"):  # a named tuple: its attributes are tuplegetters
        names |= set(getattr(kind, "_fields", ()))
    return frozenset(names)


def _written(kind: type) -> list[str]:
    """Names of the class's functions that stand in a file of the user."""
    return [
        name
        for name, each in vars(kind).items()
        if isinstance(each, FunctionType) and origins.of_file(each.__code__.co_filename) is None
    ]


@lru_cache(maxsize=2000)
def at_import(module: ModuleType) -> tuple[tuple[str, ...], str]:
    """The names of modules that it imports, and the digest of what it does to libraries when it is imported."""
    file = getattr(module, "__file__", None)
    parsed = None if file is None else syntax.file_of(file, vars(module))
    if parsed is None:
        return (), ""
    imports: list[str] = []
    effects: list[str] = []
    for node in _statements(parsed.tree.body):
        if isinstance(node, ast.Import):
            imports += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                imports.append(node.module or "")
        elif _changes_a_library(node, vars(module)):
            effects.append(syntax.statement(node))
    return tuple(dict.fromkeys(imports)), json_digest(effects) if effects else ""


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements that an import runs, without what only runs as a program or is read by type checkers."""
    made: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If):
            test = ast.dump(node.test)
            if "'__main__'" in test or "TYPE_CHECKING" in test:
                made += _statements(node.orelse)
                continue
        inner = [part for name in ("body", "orelse", "finalbody") for part in getattr(node, name, ())]
        inner += [part for handler in getattr(node, "handlers", ()) for part in handler.body]
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            made += _statements(inner)
        else:
            made.append(node)
    return made


def _changes_a_library(node: ast.stmt, scope: dict[str, Any]) -> bool:
    """Whether a statement calls a library for its effect, or sets something of it: np.random.seed(1), lib.f = mine."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        targets: list[ast.expr] = [node.value.func]
    elif isinstance(node, ast.Assign | ast.Delete):
        targets = [each for each in node.targets if isinstance(each, ast.Attribute | ast.Subscript)]
    elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute | ast.Subscript):
        targets = [node.target]
    else:
        return False
    for target in targets:
        root: ast.expr = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        value = scope.get(root.id) if isinstance(root, ast.Name) else None
        if isinstance(value, ModuleType):
            package = origins.of_module(value)
        elif isinstance(value, FunctionType | type):
            package = origins.of_object(value)
        else:
            continue
        if package is not None and package is not origins.TIDEMILL:
            return True
    return False
