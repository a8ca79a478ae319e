"""What the tasks of an exported pipeline answer each other, as JSON, and how an argument is made of it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.flow import formats, tasks
from tidemill.flow.executing.nodes import Node
from tidemill.flow.refs import Ref, node_of, path_of

HANDED_ON = 200  # letters of a value that stand in an answer; orchestrators keep answers in their databases


@dataclass(frozen=True)
class Around:
    """What an argument is made of, at one point of the loops."""

    given: Mapping[str, Any]
    chains: Mapping[str, list[str]]
    items: Mapping[str, list[Any]]

    def at(self, loop: str, place: int) -> Around:
        """One step into a loop."""
        given, chains = dict(self.given), dict(self.chains)
        for source, chain in self.chains.items():
            if chain[:1] == [loop]:
                given[source], chains[source] = given[source][place], chain[1:]
        items = self.items
        if f"spread {loop}" in given and given[f"spread {loop}"] is not self.given[f"spread {loop}"]:
            items = {**items, **given[f"spread {loop}"]["items"]}
        return Around(given, chains, items)


def instance(node: str, loops: list[str], place: list[int]) -> str:
    """The name of a node at a point of the loops around it."""
    made, rest = "", node
    for number, loop in enumerate(loops):
        inner = loop.removeprefix(loops[number - 1]) if number else loop
        made += f"{inner}[{place[number]}]"
        rest = node.removeprefix(loop)
    return made + rest


def plain(value: Any) -> Any:
    """The value of a literal."""
    return formats.decode("json", json.dumps(value).encode())


def described(node: Node) -> dict[str, Any]:
    """What tasks hand on of a node. Longer texts stay in the graph: a loop's points repeat what the list is."""
    assert node.output is not None
    told: dict[str, Any] = {"node": node.id, "run": node.source, "output": node.output.to_json(), "path": []}
    if node.artifact is None:
        return told
    told["artifact"] = node.artifact
    if len(node.output.inline) > HANDED_ON:
        del told["output"]["value"]
        told["kept"] = True
    return told


def told_again(made: Any) -> dict[str, Any]:
    """An argument again, of what was made of one."""
    if isinstance(made, Ref):
        return {**described(node_of(made)), "path": list(path_of(made))}
    if isinstance(made, tasks.Secret):
        return {"secret": made.name}
    if type(made) is list or type(made) is tuple:
        return {type(made).__name__: [told_again(each) for each in made]}
    if type(made) is dict:
        return {"dict": {name: told_again(each) for name, each in made.items()}}
    packed = formats.encode(made)
    assert packed is not None
    return {"literal": json.loads(packed[1])}


def as_json(value: Any) -> Any:
    """A value as plain JSON for those who read the answer; None where it has none. (Tuples are lists there.)"""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return None


def read(given: Any) -> Any:
    """An answer, which some orchestrators hand on as its text."""
    if isinstance(given, list):
        return [read(each) for each in given]
    return json.loads(given) if isinstance(given, str) else given
