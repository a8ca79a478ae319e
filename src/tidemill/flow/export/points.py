"""The text that stands in every exported DAG file: which answers of earlier tasks a task of a loop is given.

A loop's task answers with points, one for each element: `at` is its place in each loop around it, from outside. What
stands in a loop is mapped over its points. It runs in Airflow's interpreter: standard library only.
"""

from typing import Any, Protocol


class Pull(Protocol):
    """All answers of a task, of each point one."""

    def __call__(self, task_id: str) -> list[Any]:
        """See the class."""
        ...


def given(spec: dict[str, Any], pull: Pull, at: list[int]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The answers that a task at that point needs, by source, and the loops over which each is a list."""
    answers: dict[str, Any] = {}
    chains: dict[str, list[str]] = {}
    for name, source in spec["sources"].items():
        loops, shared = source["loops"], 0
        while shared < min(len(loops), len(spec["loops"]), len(at)) and loops[shared] == spec["loops"][shared]:
            shared += 1
        found = {tuple(each["at"]): each for each in pull(source["task"])}
        answers[name] = _nested(found, source["spreads"], pull, shared, tuple(at[:shared]))
        chains[name] = loops[shared:]
    return answers, chains


def _nested(found: dict[Any, Any], spreads: list[str], pull: Pull, depth: int, at: tuple[int, ...]) -> Any:
    if depth == len(spreads):
        return found.get(at)
    inside = [tuple(point["at"]) for point in pull(spreads[depth])]
    return [_nested(found, spreads, pull, depth + 1, each) for each in inside if each[:depth] == at]
