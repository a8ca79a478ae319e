"""How a shell, a scheduler or a worker finds a pipeline again: "path/file.py:name" or "package.module:name"."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.types import Run
from tidemill.flow.pipelines import Pipeline
from tidemill.flow.steps import Step


def load(entry: str, *, folder: Path | None = None) -> Pipeline[..., Any]:
    """The pipeline at that entry; a module is looked for in `folder` too (default: the current one).

    Without ":name" the file's only pipeline. Raises NotFound for a file, module or name that is not there, BadInput
    for a name that is no pipeline; whatever the user's module raises comes through.
    """
    place, _, name = entry.partition(":")
    module = _module(place, folder or Path.cwd())
    found = {key: each for key, each in vars(module).items() if isinstance(each, Pipeline)}
    if not name:
        if len(found) != 1:
            raise BadInput(f"{place} has {len(found)} pipelines ({', '.join(found) or 'none'}); name one: {place}:NAME")
        return next(iter(found.values()))
    for key, each in found.items():
        if name in (key, each.name):
            return each
    if hasattr(module, name):
        raise BadInput(f"{name} in {place} is no pipeline; put @tm.pipeline over its def")
    known = sorted({each.name for each in found.values()} | set(found))
    raise NotFound(f"no pipeline {name!r} in {place}; it has {', '.join(known) or 'none'}.{nearest(name, known)}")


def step_of(entry: str, name: str, *, folder: Path) -> Step[..., Any]:
    """The step of that name which is at the entry, or under another name in its module. Raises NotFound."""
    place, _, variable = entry.partition(":")
    module = _module(place, folder)
    for each in (getattr(module, variable, None), *vars(module).values()):
        if isinstance(each, Step) and each.name == name:
            return each
    known = sorted({each.name for each in vars(module).values() if isinstance(each, Step)})
    raise NotFound(f"no step {name!r} in {place}; it has {', '.join(known) or 'none'}.{nearest(name, known)}")


def of_run(run: Run) -> str:
    """The entry of an execution; BadInput for one of a pipeline that nobody else can find."""
    if "entry" not in run.tags:
        raise BadInput(f"execution {run.id} of {run.name!r} does not say where its pipeline is; name it: FILE.py:NAME")
    return run.tags["entry"]


def entry_of(pipeline: Pipeline[..., Any]) -> tuple[str, Path]:
    """The entry of a pipeline of this process, and the folder in which it holds.

    Raises BadInput for one that is defined inside a function or at a prompt: nobody else could find it.
    """
    function = pipeline.function
    if "<locals>" in function.__qualname__:
        raise BadInput(f"pipeline {pipeline.name!r} is defined inside a function; others find it only in a module")
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        raise BadInput(f"pipeline {pipeline.name!r} was typed at a prompt; put it in a .py file to run it by itself")
    path = Path(file).resolve()
    package = getattr(module, "__package__", None)
    if package and module is not None and module.__name__ != "__main__":  # its imports may be relative
        return f"{module.__name__}:{function.__qualname__}", path.parents[module.__name__.count(".")]
    return f"{path.name}:{function.__qualname__}", path.parent


def _module(place: str, folder: Path) -> ModuleType:
    if place.endswith(".py"):
        path = (folder / place).resolve()
        if not path.is_file():
            raise NotFound(f"no file {path}; give path/file.py:pipeline")
        return _of_file(path)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not place.startswith(error.name):
            raise
        raise NotFound(
            f"no module {place!r} in {folder} or installed; give package.module:pipeline or a file"
        ) from None


def _of_file(path: Path) -> ModuleType:
    """The module in that file, under its own name, so that workers find its steps by that name too."""
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) and Path(str(known.__file__)).resolve() == path:
        return known
    main = sys.modules.get("__main__")
    if main is not None and getattr(main, "__file__", None) and Path(str(main.__file__)).resolve() == path:
        return main
    if known is not None:  # another module has that name
        name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{path} cannot be imported as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
