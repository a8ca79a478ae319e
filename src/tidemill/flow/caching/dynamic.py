"""Ways to reach code or surroundings that cannot be followed before they run: each is a reason to have no key."""

from __future__ import annotations

import os
import sys
from typing import Any

from tidemill.flow.caching.syntax import VARIES, Use

# What each does, after "step ..."; the names are where the functions live.
_ALWAYS = {
    "builtins.eval": "calls eval",
    "builtins.exec": "calls exec",
    "builtins.compile": "compiles code",
    "builtins.globals": "looks names up in globals()",
    "importlib.reload": "loads a module again",
    "importlib.util.module_from_spec": "loads a module from a file",
    "importlib.util.spec_from_file_location": "loads a module from a file",
    "importlib.metadata.entry_points": "looks for plugins",
    "runpy.run_path": "runs a file",
    "runpy.run_module": "runs a module",
    "pydoc.locate": "looks a name up",
    "pkgutil.resolve_name": "looks a name up",
    "pkgutil.iter_modules": "looks for modules",
    "pkgutil.walk_packages": "looks for modules",
    "pickle.load": "unpickles, which finds code by names in the data",
    "pickle.loads": "unpickles, which finds code by names in the data",
    "pickle.Unpickler": "unpickles, which finds code by names in the data",
    "_pickle.load": "unpickles, which finds code by names in the data",
    "_pickle.loads": "unpickles, which finds code by names in the data",
    "_pickle.Unpickler": "unpickles, which finds code by names in the data",
    "cloudpickle.load": "unpickles, which finds code by names in the data",
    "cloudpickle.loads": "unpickles, which finds code by names in the data",
    "dill.load": "unpickles, which finds code by names in the data",
    "dill.loads": "unpickles, which finds code by names in the data",
    "joblib.load": "unpickles, which finds code by names in the data",
    "joblib.numpy_pickle.load": "unpickles, which finds code by names in the data",
    "pandas.read_pickle": "unpickles, which finds code by names in the data",
    "pandas.io.pickle.read_pickle": "unpickles, which finds code by names in the data",
    "torch.load": "unpickles, which finds code by names in the data",
    "torch.serialization.load": "unpickles, which finds code by names in the data",
    "yaml.unsafe_load": "makes objects by names in the data",
    "marshal.loads": "loads code from data",
    "marshal.load": "loads code from data",
    "types.FunctionType": "makes a function from code",
    "builtins.function": "makes a function from code",
    "types.CodeType": "makes code",
    "builtins.code": "makes code",
    "sys.modules": "looks modules up in sys.modules",
    "sys._getframe": "looks at the call stack",
    "inspect.currentframe": "looks at the call stack",
    "inspect.stack": "looks at the call stack",
    "ctypes.CDLL": "loads a library by its file",
    "gc.get_objects": "looks through all objects",
    "gc.get_referrers": "looks through all objects",
}
# Positions of the arguments that must be written as constants.
_NAMED: dict[str, tuple[int | None, str]] = {
    "builtins.getattr": (1, "calls getattr with a name that is known only at run time"),
    "builtins.__import__": (0, "imports a module whose name is known only at run time"),
    "importlib.import_module": (0, "imports a module whose name is known only at run time"),
    "_operator.attrgetter": (None, "calls attrgetter with a name that is known only at run time"),
    "operator.attrgetter": (None, "calls attrgetter with a name that is known only at run time"),
    "_operator.methodcaller": (0, "calls methodcaller with a name that is known only at run time"),
    "operator.methodcaller": (0, "calls methodcaller with a name that is known only at run time"),
}


def hidden(name: str, use: Use | None, value: Any = None) -> str | None:
    """Why what has that qualified name cannot be followed in this use; None where it can."""
    if value is not None and value is sys.modules:
        name = "sys.modules"
    if name in _ALWAYS:
        return _ALWAYS[name]
    if name not in _NAMED or use is None:
        return None
    place, said = _NAMED[name]
    if value is None:
        return None  # a step on the way: looked at when its value is found
    if use.kind != "call":
        return said
    wanted = use.args if place is None else use.args[place : place + 1]
    if not wanted or any(not isinstance(each, str) or each == VARIES for each in wanted):
        return said
    if name in ("importlib.import_module", "builtins.__import__"):
        return "imports a module by a call; write an import statement instead"
    return None


def environment(value: Any, rest: tuple[str, ...], use: Use) -> tuple[str, ...] | None:
    """The environment variables that a use reads, VARIES among them where that is not known; None for another use."""
    if value is os.environ or value is getattr(os, "environb", None):
        if use.kind == "write":
            return ()
        if use.kind == "item" and not rest:
            return _text(use.args[:1])
        return _text(use.args[:1]) if use.kind == "call" and rest == ("get",) else (VARIES,)
    if value in (os.getenv, getattr(os, "getenvb", None)) if callable(value) else False:
        return _text(use.args[:1]) if use.kind == "call" else (VARIES,)
    return None


def _text(given: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(each if isinstance(each, str) else VARIES for each in given) or (VARIES,)
