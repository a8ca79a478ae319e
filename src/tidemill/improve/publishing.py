"""From what a run logged to a version of a registered model, joined with the run, its data and its files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.graphs.committing import reading
from tidemill.core.ids import canonical_json, digest, new_id, utc_now
from tidemill.core.types import Artifact, Run
from tidemill.core.workspace import Workspace
from tidemill.serve import registry
from tidemill.serve.registered import states, versions
from tidemill.serve.registered.states import Version
from tidemill.serve.registered.versions import Source
from tidemill.track import files, logged_models

SCHEME = "mlflow-artifacts"
_OURS = re.compile(rf"{SCHEME}:(?://[^/]*)?/(.+)")
_MODEL = re.compile(r"models:/([^/@]+)(?:/([^/@]+)|@([^/@]+))?")
_RUN = re.compile(r"runs:/([^/]+)/(.+)")
_LOCAL = re.compile(r"(file:|/|\.|~|[A-Za-z]:[\\/]|[^:]*$)")  # a place on some machine's disk


def publish(
    ws: Workspace,
    name: str,
    uri: str,
    *,
    run: str = "",
    model_id: str = "",
    run_link: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
    local: bool = False,
) -> Version:
    """Register what `uri` names as the model's next version: "runs:/<run>/<path>", "models:/<logged model>",
    "models:/<name>/<version>", "mlflow-artifacts:/...". Another address is kept as a text and never opened.

    local: let it be a text that reads as a place on a disk, which is kept as a text too; else BadInput.
    Raises NotFound for a model, run or version that is not there.
    """
    source = source_of(ws, uri, run=run, model_id=model_id)
    if not local and not source.files and not source.made_of and not source.made and _LOCAL.match(uri):
        raise BadInput(
            f"Invalid model version source: '{uri}'. A path on a machine's own disk is no source that others can read: "
            "log the files with a run, then name them as 'runs:/<run id>/<path>'"
        )
    made = Source(
        uri, source.files, source.made_of, run or source.run, run_link, model_id or source.model_id, source.made
    )
    return versions.add(ws, name, made, description=description, tags=tags)


def source_of(ws: Workspace, uri: str, *, run: str = "", model_id: str = "") -> Source:
    """What an address names here, with its files as they are now; nothing but the text where it names nothing here."""
    if found := _MODEL.fullmatch(uri):
        name, version, alias = found.groups()
        if version is None and alias is None:
            return _logged(ws, uri, name)
        return _version(ws, uri, name, alias or version)
    if found := _RUN.fullmatch(uri):
        return _files(ws, uri, found[1], found[2])
    if found := _OURS.fullmatch(uri):
        parts = [*found[1].split("/"), "", "", ""]
        first, second, rest = parts[0], parts[1], parts[2:]
        path = "/".join(part for part in rest[1:] if part)
        if first == "registered":
            return _version(ws, uri, _named(ws, second), rest[0])
        if second == "models":
            return _logged(ws, uri, rest[0])
        return _files(ws, uri, second, path)
    if model_id:
        return _logged(ws, uri, model_id)
    return Source(uri, run=run)


def _named(ws: Workspace, key: str) -> str:
    found = states.snapshot(ws).models.get(key)
    if found is None:
        raise NotFound(f"no model of key {key!r}")
    return found.name


def _logged(ws: Workspace, uri: str, model_id: str) -> Source:
    model = logged_models.get(ws, model_id)
    with reading(ws) as link:
        made_of = [logged_models.artifact_of(link, model_id)]
    found = [(file.path, file.digest, file.size) for file in files.under(ws, model_id)]
    return Source(uri, found, made_of, model.source_run, model_id=model_id)


def _version(ws: Workspace, uri: str, name: str, asked: str) -> Source:
    number = int(asked) if asked.isdigit() else registry.get(ws, name, asked).version
    version = versions.get(ws, name, number)
    return Source(
        uri,
        version.files,
        [version.artifact.id],
        version.said("run"),
        version.said("run_link"),
        version.said("model_id"),
    )


def _files(ws: Workspace, uri: str, run_id: str, path: str) -> Source:
    """The files below a folder of a run, or one file, with an artifact that says that the run made them."""
    try:
        run = ws.graph.get(run_id)
    except NotFound:
        return Source(uri)
    if not isinstance(run, Run):
        return Source(uri)
    start = f"{files.require_path(path)}/" if path else ""
    found: Sequence[tuple[str, str, int]] = [
        (file.path.removeprefix(start), file.digest, file.size) for file in files.under(ws, run_id, path)
    ]
    if not found and path:
        try:
            file = files.get(ws, run_id, path)
        except NotFound:
            return Source(uri, run=run_id)
        found = [(path.rpartition("/")[2], file.digest, file.size)]
    content = canonical_json([list(each) for each in found])
    made = Artifact(
        new_id(),
        "run.files",
        f"{run.name}/{path}",
        0,
        digest(content),
        utc_now(),
        run_id,
        {"run": run_id, "path": path},
    )
    return Source(uri, found, run=run_id, made=[("files", made)])
