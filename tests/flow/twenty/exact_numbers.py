"""Integers stay integers, however large, floats floats, and nothing nothing."""

import tidemill as tm


@tm.step
def several(n: int) -> dict[str, object]:
    return {"int": n, "large": 2**63 + 1, "float": 2.0, "none": None, "true": True, "text": "3", "list": [1, 2.5, "é"]}


@tm.step
def kinds(given: dict[str, object]) -> dict[str, object]:
    return {"given": given, "kinds": [type(each).__name__ for each in given.values()]}


@tm.pipeline(name="exact-numbers")
def flow(n: int = 3) -> dict[str, object]:
    return kinds(several(n))
