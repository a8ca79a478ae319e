"""All that a function's result may depend on besides its arguments: the code it reaches and the values that code finds.

The walk goes over the objects that are loaded, not over names in files: a helper that was replaced at run time, a
closure, a method of an instance in a dict are what they are now. Each piece is a part with a name and a digest:

    code clean, helper mod.f, class mod.Model, global mod.RATE, module mod, package polars, environment LANG

What cannot be followed is a reason why the function has no key: it names file and line.
"""

from __future__ import annotations

import builtins
import functools
import importlib.util
import inspect
import os
import sys
from collections import deque
from pathlib import Path
from types import FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from tidemill.core.ids import digest, json_digest
from tidemill.flow.caching import dynamic, modules, origins, syntax
from tidemill.flow.caching.contents import Contents, NoContent, fingerprint, readable
from tidemill.flow.caching.syntax import Imported, Use
from tidemill.flow.caching.unchanged import MISSING, Watch, in_cell

_GENERATED = frozenset(
    (  # noqa: SIM905  they read better so
        "__module__ __dict__ __weakref__ __doc__ __qualname__ __annotations__ __slots__ __abstractmethods__ "
        "__parameters__ __orig_bases__ __firstlineno__ __static_attributes__ __dataclass_params__ __match_args__ "
        "__type_params__ __annotate__ __annotations_cache__ __annotate_func__ __non_callable_proto_members__"
    ).split()
)
_CHANGING = frozenset(
    (  # noqa: SIM905  they read better so
        "append add update pop setdefault extend insert remove clear discard popitem sort reverse appendleft popleft "
        "extendleft rotate __setitem__ __delitem__ move_to_end subtract"
    ).split()
)
_WRITTEN = (FunctionType, classmethod, staticmethod, property)
_AT_IMPORT = ("__init_subclass__", "__set_name__")  # called when a class is made: what they changed is found changed
_CHANGEABLE = (list, dict, set, deque, bytearray)


class Reach:
    """See the module. parts: by name. reasons: why it cannot be keyed; empty where it can. texts: the sources."""

    def __init__(self, function: Any, env: frozenset[str]) -> None:
        self.parts: dict[str, str] = {}
        self.reasons: list[str] = []
        self.texts: list[str] = []
        self.watch = Watch()
        self._env = env
        self._labels: dict[int, str] = {}
        self._waiting: deque[tuple[Any, str]] = deque()
        self._modules: set[str] = set()
        self._where = ""
        self._root(function)
        while self._waiting:
            thing, label = self._waiting.popleft()
            if isinstance(thing, FunctionType):
                self._function(thing, label)
            elif isinstance(thing, type):
                self._class(thing, label)
            else:
                self._whole_module(thing, label)
        self.parts["package python"] = origins.PYTHON.version
        self.watch.labels = self._labels

    @functools.cached_property
    def digest(self) -> str:
        """Of all parts."""
        return json_digest(self.parts)

    # ------------------------------------------------------------------------------------------------ labels

    def _root(self, function: Any) -> None:
        name = getattr(function, "__name__", type(function).__name__)
        if isinstance(function, FunctionType) and origins.of_file(function.__code__.co_filename) is None:
            self._label(function, f"code {name}")
        else:
            self.parts[f"code {name}"] = self._content(function, "the step")

    def _label(self, thing: Any, name: str) -> str:
        if id(thing) not in self._labels:
            taken = set(self._labels.values())
            label, count = name, 1
            while label in taken:
                count += 1
                label = f"{name}#{count}"
            self._labels[id(thing)] = label
            self.watch.kept.append(thing)
            self._waiting.append((thing, label))
        return self._labels[id(thing)]

    def _refer(self, thing: Any) -> str:
        """The label of a function, class or module; what is the user's own is walked. Raises NoContent."""
        if id(thing) in self._labels:
            return self._labels[id(thing)]
        if isinstance(thing, ModuleType):
            package = origins.of_module(thing)
            if package is None:
                return self._label(thing, f"module {modules.name_of(thing)} as a whole")
            return f"module {thing.__name__} of {self._package(package)}"
        if isinstance(thing, FunctionType):
            return self._function_label(thing)
        if isinstance(thing, type):
            if origins.of_object(thing) is None:
                return self._label(thing, f"class {modules.qualified(thing)}")
            return f"{modules.qualified(thing)} of {self._package(origins.of_object(thing) or origins.PYTHON)}"
        return self._builtin(thing)

    def _function_label(self, thing: FunctionType) -> str:
        package = origins.of_file(thing.__code__.co_filename)
        if package is None:
            return self._label(thing, f"helper {modules.qualified(thing)}")
        name = f"{modules.qualified(thing)} of {self._package(package)}"
        if not thing.__closure__ and not hasattr(thing, "__wrapped__"):
            return name
        if modules.found(thing) is thing and origins.of_object(thing) is not None:
            return name  # a library's own, wrapped by itself
        # A library's wrapper around something of the user: what it holds counts.
        self._labels[id(thing)] = name
        self.watch.kept.append(thing)
        held = [in_cell(cell) for cell in thing.__closure__ or ()]
        inside = self._content((*held, thing.__defaults__, thing.__kwdefaults__, dict(vars(thing))), name)
        self._labels[id(thing)] = f"{name} around {inside}"
        return self._labels[id(thing)]

    def _builtin(self, thing: Any) -> str:
        held = getattr(thing, "__self__", None)
        if held is not None and not isinstance(held, ModuleType | type):
            return f"{thing.__name__} of {self._content(held, thing.__name__)}"
        owner = thing if held is None or isinstance(held, ModuleType) else held
        package = origins.of_object(getattr(thing, "__objclass__", owner))
        if package is not None:
            return f"{modules.qualified(thing)} of {self._package(package)}"
        module = sys.modules.get(getattr(thing, "__module__", None) or "")
        file = getattr(module, "__file__", None)
        if file is None:
            raise NoContent(f"is {modules.qualified(thing)}, whose file is not known")
        return f"{modules.qualified(thing)} of {digest(Path(file).read_bytes())}"  # an extension module of the user

    def _package(self, package: origins.Package) -> str:
        self.parts[f"package {package.name}"] = package.version
        return package.name

    def _content(self, value: Any, where: str) -> str:
        """A value's digest, watched; a NoContent becomes a reason."""
        contents = Contents(self._refer)
        try:
            found = contents.digest(value)
        except (NoContent, RecursionError) as error:
            said = "goes too deep" if isinstance(error, RecursionError) else str(error)
            self._fault(f"{where} {said}")
            return f"cannot be keyed: a {type(value).__qualname__}"
        if contents.mutable:
            self.watch.contents.append((value, found, fingerprint(value)))
        return found

    def _fault(self, said: str) -> None:
        self.reasons.append(f"{said} ({self._where})" if self._where else said)

    # ------------------------------------------------------------------------------------------------ functions

    def _function(self, thing: FunctionType, label: str) -> None:
        found = syntax.of_code(thing.__code__, thing.__globals__)
        self.texts.append(found.text)
        file = Path(thing.__code__.co_filename).name
        self.watch.functions.append((thing, thing.__code__, thing.__defaults__, thing.__kwdefaults__))
        self._module_of(thing)
        for line, said in found.faults:
            self._where = f"{file}:{line}"
            self._fault(f"{thing.__qualname__} {said}")
        for each, line in found.imports:  # first: `import a.b` makes b an attribute of a
            self._where = f"{file}:{line}"
            self._imported(each, thing)
        uses: dict[str, list[str]] = {}
        for use in found.uses:
            self._where = f"{file}:{use.line}"
            uses.setdefault(".".join(use.chain), []).append(self._use(use, thing))
        self._where = f"{file}:{thing.__code__.co_firstlineno}"
        held = [thing.__defaults__, thing.__kwdefaults__]
        known = {name: each for name, each in vars(thing).items() if name != "__wrapped__"}
        if thing.__closure__:  # free variables are uses; here only the order of what they hold
            for cell in thing.__closure__:
                self.watch.cells.append((cell, in_cell(cell)))
        content = self._content((*held, known), f"a default or attribute of {thing.__qualname__}")
        self.parts[label] = json_digest([found.digest, content, sorted(uses.items())])

    def _use(self, use: Use, thing: FunctionType) -> str:
        """What a name stands for, as a token; the walk goes on with it."""
        root, *rest = use.chain
        name = f"{modules.name_in(thing.__globals__)}.{root}"
        if use.imported is not None:
            value = self._imported(use.imported, thing)
        elif root in thing.__code__.co_freevars:
            value = in_cell((thing.__closure__ or ())[thing.__code__.co_freevars.index(root)])
            name = f"{modules.qualified(thing)}.{root}"
        else:
            value = thing.__globals__.get(root, MISSING)
            self.watch.names.append((thing.__globals__, root, value))
            if value is MISSING:
                value = getattr(builtins, root, MISSING)
                self.watch.names.append((vars(builtins), root, value))
                if isinstance(value, FunctionType) and origins.of_file(value.__code__.co_filename) is not None:
                    return f"builtin {root}"  # a library has replaced it for this process, as Ray does with print
        library: origins.Package | None = None
        if use.args == (syntax.ATTRIBUTE,) and thing.__name__ not in _AT_IMPORT:
            self._fault(f"{thing.__qualname__} changes {name}.{'.'.join(rest)}, which outlives the call")
        while isinstance(value, ModuleType) and rest and rest[0] != "__dict__":
            said = dynamic.hidden(f"{value.__name__}.{rest[0]}", use)
            if said is not None:
                self._fault(f"{thing.__qualname__} {said}")
            library = origins.of_module(value)
            inside = vars(value)
            name = f"{modules.name_of(value)}.{rest[0]}"
            value, owner = inside.get(rest[0], MISSING), value
            self.watch.names.append((inside, rest[0], value))
            rest = rest[1:]
            if library is not None:
                self._package(library)
            if value is MISSING:
                if library is None and "__getattr__" in inside:
                    self._fault(f"{thing.__qualname__} reads {name}, which {owner.__name__}.__getattr__ makes up")
                return f"{name} is not there"
        return self._found(value, name, tuple(rest), use, thing, library)

    def _found(
        self,
        value: Any,
        name: str,
        rest: tuple[str, ...],
        use: Use,
        thing: FunctionType,
        library: origins.Package | None,
    ) -> str:
        if value is MISSING:
            return f"{name} is not there"
        variables = dynamic.environment(value, rest, use)
        if variables is not None:
            return self._environment(variables, thing)
        said = dynamic.hidden(modules.qualified(value) if hasattr(value, "__qualname__") else "", use, value)
        if said is not None:
            self._fault(f"{thing.__qualname__} {said}")
            return name
        changes = isinstance(value, _CHANGEABLE) and thing.__name__ not in _AT_IMPORT
        if changes and (use.kind == "write" or (rest and rest[-1] in _CHANGING)):
            self._fault(f"{thing.__qualname__} changes {name}, which outlives the call")
            return name
        of_library = library is not None and callable(value) and origins.of_object(type(value)) is not None
        if isinstance(value, FunctionType | type | ModuleType) or of_library:
            try:
                return self._refer(value) if isinstance(value, FunctionType | type | ModuleType) else name
            except NoContent as error:
                self._fault(f"{name} {error}")
                return name
        if value is getattr(builtins, name.rpartition(".")[2], MISSING):
            return f"builtin {name.rpartition('.')[2]}"
        if library is not None:
            return self._of_library(value, name)
        said_plainly = readable(value)
        self.parts[f"global {name}"] = said_plainly or self._content(
            value, f"{name}, which {thing.__qualname__} reads,"
        )
        return f"global {name}"

    def _of_library(self, value: Any, name: str) -> str:
        """A library's data: its version stands for it, unless it is a setting that may have been set."""
        try:
            contents = Contents(self._refer)
            found = (
                contents.digest(value) if isinstance(value, str | int | float | tuple | list | dict) else "by version"
            )
        except NoContent:
            return name
        if contents.mutable:
            self.watch.contents.append((value, found, fingerprint(value)))
        return f"{name} {found}"

    def _environment(self, variables: tuple[str, ...], thing: FunctionType) -> str:
        if syntax.VARIES in variables:
            if not self._env:
                self._fault(
                    f"{thing.__qualname__} reads environment variables whose names are known only at run time; declare "
                    f'them: env=("NAME",)'
                )
            return "environment"
        for name in variables:
            had = os.environ.get(name)
            self.parts[f"environment {name}"] = variable(had)
            self.watch.environ.append((name, had))
        return f"environment {variables}"

    def _imported(self, given: Imported, thing: FunctionType) -> Any:
        """What an import inside a function gives; a library is not loaded for it."""
        name = given.name
        if given.level:
            try:
                package = thing.__globals__.get("__package__") or ""
                name = importlib.util.resolve_name("." * given.level + name, package)
            except ImportError as error:
                self._fault(f"{thing.__qualname__} imports from {'.' * given.level}{name}: {error}")
                return MISSING
        package = origins.of_named(name)
        if package is not None:
            self._package(package)
            if given.attribute is not None:
                said = dynamic.hidden(f"{name}.{given.attribute}", None)
                if said is not None:
                    self._fault(f"{thing.__qualname__} {said}")
            module = sys.modules.get(name)
            if module is None or given.attribute is None:
                return MISSING if module is None else module
            return vars(module).get(given.attribute, MISSING)
        try:
            module = importlib.import_module(name)
            if given.attribute is None:
                return module
            value = vars(module).get(given.attribute, MISSING)
            if value is MISSING:
                value = importlib.import_module(f"{name}.{given.attribute}")
            self.watch.names.append((vars(module), given.attribute, value))
            return value
        except ImportError as error:
            if not isinstance(error, ModuleNotFoundError):
                self._fault(f"{thing.__qualname__} imports {name}: {error}")
            # Not installed: a try/except around it takes the other way, and the day it is there, it is another package.
            self.parts[f"module {name}"] = "not installed"
            self.watch.absent.append(name)
            return MISSING

    # ------------------------------------------------------------------------------------------------ classes, modules

    def _class(self, kind: type, label: str) -> None:
        module = sys.modules.get(kind.__module__)
        scope = dict(vars(module)) if module is not None else {}
        self._where = f"{Path(getattr(module, '__file__', None) or '<no file>').name}: class {kind.__qualname__}"
        self.watch.classes.append((kind, dict(vars(kind))))
        self._module_of(kind)
        made_by_library = any(origins.of_object(each) is not None for each in (type(kind), *kind.__mro__[1:]))
        plain = not made_by_library or all(each.__module__ in modules.HARMLESS for each in _foreign(kind))
        shell, text, uses = modules.class_statement(kind, annotations=not plain)
        self.texts.append(text or f"# class {kind.__qualname__}: no source text")
        tokens: dict[str, str] = {}
        for name in (chain[0] for chain in uses):
            value = scope.get(name, MISSING)
            if isinstance(value, FunctionType | type):
                tokens[f"names {name}"] = self._refer(value)
            elif not plain and value is not MISSING:
                tokens[f"names {name}"] = self._attribute(value, kind, f"__{name}", shell)
        bases = [self._refer(each) for each in (type(kind), *kind.__bases__)]
        for name, value in sorted(vars(kind).items()):
            if name in _GENERATED or isinstance(value, MemberDescriptorType) or name in modules.made_for(kind):
                continue
            if shell and not plain and name.startswith("__") and not isinstance(value, _WRITTEN):
                continue  # made by a library from the class statement, which counts with its annotations
            tokens[name] = self._attribute(value, kind, name, shell)
        fields = modules.fields_of(kind)
        self.parts[label] = json_digest([shell, bases, sorted(tokens.items()), self._content(fields, "a field")])

    def _attribute(self, value: Any, kind: type, name: str, shell: str) -> str:
        contents = Contents(self._refer)
        try:
            found = contents.digest(value)
        except (NoContent, RecursionError) as error:
            if shell and name.startswith("__"):
                return "made from the class statement"  # by a library, whose version and whose input count
            self._fault(f"{kind.__qualname__}.{name} {error}")
            return "cannot be keyed"
        if contents.mutable:
            self.watch.contents.append((value, found, fingerprint(value)))
        return found

    def _whole_module(self, module: ModuleType, label: str) -> None:
        """A module that is handed on as an object: anything in it may be used."""
        self._where = f"{Path(module.__file__ or module.__name__).name}, used as a whole"
        found: dict[str, str] = {}
        for name, value in sorted(vars(module).items()):
            if not (name.startswith("__") and name.endswith("__")):
                self.watch.names.append((vars(module), name, value))
                found[name] = self._content(value, f"{module.__name__}.{name}")
        self.parts[label] = json_digest(found)

    def _module_of(self, thing: FunctionType | type) -> None:
        """What the module brings besides: the distributions it imports, and what it does to libraries on import."""
        module = inspect.getmodule(thing) if isinstance(thing, type) else modules.of_function(thing)
        name = "" if module is None else module.__name__
        if module is None or name in self._modules:
            return
        self._modules.add(name)
        imports, effects = modules.at_import(module)
        for each in imports:
            package = origins.of_named(each)
            if package is not None:
                self._package(package)
        if effects:
            self.parts[f"module {modules.name_of(module)}"] = effects


def variable(value: str | None) -> str:
    """An environment variable's part."""
    return "not set" if value is None else digest(value.encode("utf-8", "surrogateescape"))


def _foreign(kind: type) -> list[type]:
    return [each for each in (type(kind), *kind.__mro__[1:]) if origins.of_object(each) is not None]
