"""What a code object says: the digest of its normalised syntax tree, and which names from outside it uses, and how.

The tree is that of the source file, once the file was compiled again and gave the very code that is loaded: a file that
was changed since it was imported, or whose compiled form was stale, never speaks for other code. Where it cannot speak
(no file, changed, rewritten by a test runner) the bytecode itself is what is digested.

Comments, formatting, docstrings, annotations and the decorators @step and @pipeline are not in the normal form.
Annotations stay where another decorator may read them.
"""

from __future__ import annotations

import ast
import dis
import linecache
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, Literal, NamedTuple

from tidemill.core.ids import digest, json_digest

Kind = Literal["call", "item", "write", "other"]
VARIES = "<known only at run time>"
ATTRIBUTE = "an attribute"  # what is written; else it is an item
_SILENT = ("step", "pipeline")  # our decorators: what they are told does not change what the function gives
_PLAIN: tuple[str, ...] = (
    "property",
    "staticmethod",
    "classmethod",
    "cached_property",
    "wraps",
    "cache",
    "lru_cache",
    "override",
)
_PLAIN += ("dataclass", "abstractmethod", "contextmanager", "overload", "setter", "final", "total_ordering", *_SILENT)
_HIDDEN = {  # attributes through which code gets at code that nobody can name before it runs
    "__globals__": "reads __globals__",
    "__builtins__": "reads __builtins__",
    "__getattribute__": "reads attributes by names known only at run time",
    "__subclasses__": "looks for subclasses, which any module may add",
    "f_globals": "reads the globals of a frame",
    "f_locals": "reads the variables of a frame",
    "f_back": "looks at who called it",
}


class Imported(NamedTuple):
    """An import inside a function: `import name` or `from name import attribute`; level: leading dots."""

    level: int
    name: str
    attribute: str | None


class Use(NamedTuple):
    """A name from outside as it is used: `pl.read_csv(...)` is ("pl", "read_csv"), a call.

    args: of a call, its positional arguments; of an item, the key: constants, or VARIES. imported: what binds the name
    where the function itself imports it.
    """

    chain: tuple[str, ...]
    line: int
    kind: Kind
    args: tuple[Any, ...] = ()
    imported: Imported | None = None


@dataclass(frozen=True, slots=True)
class Syntax:
    """See the module. faults: what cannot be followed, each with its line."""

    digest: str
    text: str
    uses: tuple[Use, ...]
    imports: tuple[tuple[Imported, int], ...]
    faults: tuple[tuple[int, str], ...]


class File:
    """A source file, parsed and compiled once."""

    def __init__(self, lines: list[str], filename: str) -> None:
        self.lines = lines
        self.tree = ast.parse("".join(lines), filename)
        compiled = compile(self.tree, filename, "exec", dont_inherit=True)
        self.codes: dict[tuple[str, int], list[CodeType]] = {}
        for code in _codes(compiled):
            self.codes.setdefault((code.co_qualname, code.co_firstlineno), []).append(code)
        self.defs: dict[tuple[str, int], ast.stmt] = {}
        for node in _definitions(self.tree.body):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            self.defs[node.name, first] = node

    def definition(self, code: CodeType) -> ast.stmt | None:
        """The def that gave this very code; None where none did."""
        if code not in self.codes.get((code.co_qualname, code.co_firstlineno), ()):
            return None
        return self.defs.get((code.co_name, code.co_firstlineno))

    def text(self, node: ast.stmt) -> str:
        """The source of a def or a class."""
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
        return textwrap.dedent("".join(self.lines[first - 1 : node.end_lineno]))


_files: dict[str, tuple[list[str], File | None]] = {}
_known: dict[tuple[str, CodeType], Syntax] = {}


def file_of(filename: str, scope: dict[str, Any] | None = None) -> File | None:
    """The file, parsed; None where there is none that Python can read. A changed file is read again."""
    linecache.checkcache(filename)
    lines = linecache.getlines(filename, scope)
    had = _files.get(filename)
    if had is not None and (had[0] is lines or had[0] == lines):
        return had[1]
    try:
        made = File(lines, filename) if lines else None
    except (SyntaxError, ValueError):
        made = None
    _files[filename] = (lines, made)
    return made


def of_code(code: CodeType, scope: dict[str, Any]) -> Syntax:
    """The syntax of a function's code. scope: its globals. Known once for a code object of a file."""
    name = (code.co_filename, code)
    if name not in _known:
        file = file_of(code.co_filename, scope)
        node = None if file is None else file.definition(code)
        _known[name] = _of_bytecode(code) if file is None or node is None else _of_tree(file, node, code)
    return _known[name]


def of_class(file: File, node: ast.ClassDef, *, annotations: bool) -> tuple[str, str, list[Use]]:
    """A class statement: the digest of its normal form without methods, its source, and the names its body uses."""
    body = [each for each in node.body if not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    shell = ast.ClassDef(node.name, node.bases, node.keywords, body, node.decorator_list)
    ast.copy_location(shell, node)
    kept = ast.dump(shell) if annotations else ""
    normalise(shell)
    seen = _Uses({each.id for each in ast.walk(shell) if isinstance(each, ast.Name)})
    for each in (*shell.decorator_list, *shell.bases, *(word.value for word in shell.keywords), *shell.body):
        seen.visit(each)
    return digest((kept + ast.dump(shell, annotate_fields=False)).encode()), file.text(node), seen.uses


def statement(node: ast.stmt) -> str:
    """The normal form of a statement."""
    return ast.dump(normalise(node), annotate_fields=False)


# ---------------------------------------------------------------------------------------------------- the normal form


def normalise(node: ast.AST) -> ast.AST:
    """Bring a tree into the normal form, in place; twice is as once."""
    for child in ast.walk(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            read = [each for each in child.decorator_list if _last(each) not in _PLAIN]
            child.decorator_list = [each for each in child.decorator_list if _last(each) not in _SILENT]
            if not isinstance(child, ast.ClassDef) and not read:
                child.returns = None
                arguments = child.args
                for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                    each.annotation = None
                for star in (arguments.vararg, arguments.kwarg):
                    if star is not None:
                        star.annotation = None
        elif isinstance(child, ast.Constant):
            child.kind = None  # u"" and ""
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(child, name, None)
            if isinstance(statements, list):
                setattr(child, name, _statements(statements, inside=name == "body"))
        for name in ("type_comment",):
            if getattr(child, name, None) is not None:
                setattr(child, name, None)
    return node


def _statements(given: list[Any], *, inside: bool) -> list[Any]:
    """Without what has no effect: docstrings and other bare constants, `pass`; annotated assignments as plain ones."""
    made: list[Any] = []
    for each in given:
        if isinstance(each, ast.Pass) or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)):
            continue
        if isinstance(each, ast.AnnAssign):
            if each.value is None and isinstance(each.target, ast.Name):
                # `x: int` declares a field of a class by its name, whatever the annotation says.
                made.append(ast.copy_location(ast.Expr(ast.Name(each.target.id, ast.Store())), each))
                continue
            if each.value is not None:
                made.append(ast.copy_location(ast.Assign([each.target], each.value), each))
                continue
        made.append(each)
    return made or ([ast.Pass()] if inside else [])


def _last(node: ast.expr) -> str:
    """The last name of a decorator: "step" for @tm.step(retries=2)."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


# ------------------------------------------------------------------------------------------------ names from outside


class _Uses(ast.NodeVisitor):
    """Collects how names from outside are used: globals, free variables, and what the function imports itself."""

    def __init__(self, outside: set[str]) -> None:
        self.outside = outside
        self.local: dict[str, list[Imported]] = {}
        self.uses: list[Use] = []
        self.imports: list[tuple[Imported, int]] = []
        self.faults: list[tuple[int, str]] = []

    def visit_Call(self, node: ast.Call) -> None:
        chain = _chain(node.func)
        if chain is None:
            self.visit(node.func)
        else:
            named = bool(node.keywords) or any(isinstance(each, ast.Starred) for each in node.args)
            args = tuple(each.value if isinstance(each, ast.Constant) else VARIES for each in node.args)
            self._add(chain, node, "call", (*args, VARIES) if named else args)
        for each in (*node.args, *node.keywords):
            self.visit(each)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        chain = _chain(node.value)
        if chain is None:
            self.visit(node.value)
        elif isinstance(node.ctx, ast.Load):
            self._add(chain, node, "item", (node.slice.value if isinstance(node.slice, ast.Constant) else VARIES,))
        else:
            self._add(chain, node, "write")
        self.visit(node.slice)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = _chain(node)
        if chain is None:
            self._hidden(node.attr, node.lineno)
            self.visit(node.value)
        else:
            loads = isinstance(node.ctx, ast.Load)
            self._add(chain, node, "other" if loads else "write", () if loads else (ATTRIBUTE,))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._add((node.id,), node, "other")

    def visit_Import(self, node: ast.Import) -> None:
        for each in node.names:
            whole = Imported(0, each.name, None)
            self.imports.append((whole, node.lineno))
            bound = whole if each.asname else Imported(0, each.name.partition(".")[0], None)
            self.local.setdefault(each.asname or bound.name, []).append(bound)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for each in node.names:
            one = Imported(node.level, node.module or "", each.name)
            self.imports.append((one, node.lineno))
            self.local.setdefault(each.asname or each.name, []).append(one)

    def _add(self, chain: tuple[str, ...], node: ast.expr, kind: Kind, args: tuple[Any, ...] = ()) -> None:
        for name in chain:
            self._hidden(name, node.lineno)
        if chain[0] in self.outside:
            self.uses.append(Use(chain, node.lineno, kind, args))
        # Imports may follow their uses in the text; which of several counts is not known, so all do.
        for each in self.local.get(chain[0], ()):
            self.uses.append(Use(chain, node.lineno, kind, args, each))

    def _hidden(self, name: str, line: int) -> None:
        if name in _HIDDEN:
            self.faults.append((line, _HIDDEN[name]))


def _chain(node: ast.expr) -> tuple[str, ...] | None:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else None


def _of_tree(file: File, node: ast.stmt, code: CodeType) -> Syntax:
    text = file.text(node)
    normalise(node)
    outside = set(code.co_freevars)
    faults: list[tuple[int, str]] = []
    for inner in _codes(code):
        for one in dis.get_instructions(inner):
            if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                outside.add(str(one.argval))
            elif one.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                faults.append((inner.co_firstlineno, f"changes the global {one.argval}"))
            elif one.opname in ("STORE_DEREF", "DELETE_DEREF") and one.argval in code.co_freevars:
                faults.append((inner.co_firstlineno, f"changes {one.argval}, which outlives the call"))
    seen = _Uses(outside)
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            seen.visit_Import(each)
        elif isinstance(each, ast.ImportFrom):
            seen.visit_ImportFrom(each)
    imports = tuple(seen.imports)
    for child in ast.iter_child_nodes(node):
        seen.visit(child)
    used = {use.chain[0] for use in seen.uses}
    for name in outside - used:
        if "__" in name:  # a private name in a class has another name in its code than in its text
            seen.uses.append(Use((name,), code.co_firstlineno, "other"))
    shape = ast.dump(node, annotate_fields=False)
    return Syntax(digest(shape.encode()), text, tuple(seen.uses), imports, tuple(faults + seen.faults))


# ---------------------------------------------------------------------------------------------------- without a source


def _of_bytecode(code: CodeType) -> Syntax:
    uses: list[Use] = []
    imports: list[tuple[Imported, int]] = []
    faults: list[tuple[int, str]] = []
    for inner in _codes(code):
        line = inner.co_firstlineno
        chain: tuple[str, ...] = ()
        constants: list[Any] = []
        for one in dis.get_instructions(inner):
            name = str(one.argval)
            if chain and one.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                chain = (*chain, name)
                continue
            if chain and one.opname not in ("PUSH_NULL", "PRECALL", "CACHE"):
                uses.append(Use(chain, line, "other"))
                chain = ()
            if one.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"):
                chain = (name,)
            elif one.opname == "LOAD_CONST":
                constants.append(one.argval)
            elif one.opname == "IMPORT_NAME":
                level, names = constants[-2:]
                for each in names or (None,):
                    imports.append((Imported(level, name, each), line))
                    uses.append(Use((each or name,), line, "other", (), Imported(level, name, each)))
            elif one.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                faults.append((line, f"changes the global {name}"))
            elif one.opname in ("STORE_DEREF", "DELETE_DEREF") and name in code.co_freevars:
                faults.append((line, f"changes {name}, which outlives the call"))
        faults += [(line, _HIDDEN[name]) for name in inner.co_names if name in _HIDDEN]
        if chain:
            uses.append(Use(chain, line, "other"))
    shape = json_digest(["bytecode", *_of_one(code)])
    return Syntax(shape, f"# {code.co_qualname}: no source text", tuple(uses), tuple(imports), tuple(faults))


def _of_one(code: CodeType) -> Iterator[Any]:
    yield [code.co_name, code.co_code.hex(), code.co_exceptiontable.hex(), code.co_flags]
    yield [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount]
    yield [*code.co_names, None, *code.co_varnames, None, *code.co_freevars, None, *code.co_cellvars]
    for each in code.co_consts:
        yield list(_of_one(each)) if isinstance(each, CodeType) else _constant(each)


def _constant(value: Any) -> Any:
    if isinstance(value, frozenset):
        return ["frozenset", *sorted(map(repr, value))]
    if isinstance(value, tuple):
        return ["tuple", *map(_constant, value)]
    return repr(value)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _definitions(body: list[Any]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, None)
            if isinstance(inner, list):
                yield from _definitions(inner)
        for name in ("handlers", "cases"):
            for each in getattr(node, name, ()):
                yield from _definitions(each.body)
