"""Parameters of every type, given and by default."""

from datetime import date

import tidemill as tm

PARAMS = {"n": 5, "name": "x y", "share": 0.5}


@tm.step
def described(n: int, share: float, flag: bool, name: str, day: date, parts: list[int], more: dict[str, int]) -> str:
    return repr([n, share, flag, name, day.isoformat(), parts, more])


@tm.step
def kind(of: int | None) -> str:
    return type(of).__name__


@tm.pipeline(name="parameters")
def flow(
    n: int,
    name: str,
    share: float,
    flag: bool = True,
    day: str = "2013-01-02",
    parts: list[int] = [1, 2],  # noqa: B006  it is read only
    more: dict[str, int] = {"a": 1},  # noqa: B006
    nothing: int | None = None,
) -> list[str]:
    return [described(n, share, flag, name, made(day), parts, more), kind(nothing)]


@tm.step
def made(day: str) -> date:
    return date.fromisoformat(day)
