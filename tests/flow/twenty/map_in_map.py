"""A mapped step in a mapped pipeline, whose list is made in the loop."""

import tidemill as tm


@tm.step
def names() -> list[str]:
    return ["ab", "c"]


@tm.step
def letters(name: str) -> list[str]:
    return list(name)


@tm.step
def upper(letter: str, name: str) -> str:
    return f"{letter.upper()}/{name}"


@tm.pipeline
def one(name: str) -> list[str]:
    return upper.map(letters(name), name=name)


@tm.pipeline(name="map-in-map")
def flow() -> list[list[str]]:
    return one.map(names())
