"""Views of an experiment that are kept: a name, and the query of the table. Each is a tag of the experiment."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from tidemill.api.views.shaping import Shown
from tidemill.core.errors import BadInput
from tidemill.project import Project
from tidemill.track import experiments
from tidemill.track.experiments import Experiment

TAG = "tidemill.view."
MOST = 100  # views of an experiment
NAME_LENGTH, QUERY_LENGTH = 100, 4000
FIELDS = ("filter", "order", "columns", "group", "metric", "best", "limit")


def views(found: Experiment) -> list[Shown]:
    """The kept views, by name."""
    kept = {name.removeprefix(TAG): value for name, value in found.tags.items() if name.startswith(TAG)}
    return [{"name": name, "query": clean(kept[name])} for name in sorted(kept)]


def save_view(project: Project, experiment_id: int, name: str, query: str) -> Shown:
    """Keep a view under a name; one of that name is replaced. Raises BadInput for no name, or too many views."""
    name = name.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise BadInput(f"view name {name[:60]!r}: give 1 to {NAME_LENGTH} characters that can be read")
    if len(query) > QUERY_LENGTH:
        raise BadInput(f"a view of {len(query):,} characters; at most {QUERY_LENGTH:,}: choose fewer columns")
    found = experiments.get(project.ws, experiment_id)
    if len(views(found)) >= MOST and TAG + name not in found.tags:
        raise BadInput(f"{found.name!r} has {MOST} views; remove one first")
    experiments.set_tags(project.ws, experiment_id, {TAG + name: clean(query)})
    return {"name": name, "query": clean(query)}


def forget_view(project: Project, experiment_id: int, name: str) -> Shown:
    """Remove a view. Raises NotFound."""
    experiments.delete_tag(project.ws, experiment_id, TAG + name)
    return {"name": name}


def clean(query: str) -> str:
    """The query with the fields of a table alone: whoever set the tag, it leads to this table and nowhere else."""
    pairs = parse_qsl(query.removeprefix("?"), max_num_fields=200)
    return urlencode([(name, value) for name, value in pairs if name in FIELDS])
