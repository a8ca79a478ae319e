"""A pipeline for each row, in it a pipeline for each cell: steps two loops deep, collected twice."""

import tidemill as tm


@tm.step
def rows() -> list[list[int]]:
    return [[1, 2], [3]]


@tm.step
def double(n: int) -> int:
    return 2 * n


@tm.step
def total(numbers: list[int]) -> int:
    return sum(numbers)


@tm.pipeline
def cell(n: int) -> int:
    return double(n)


@tm.pipeline
def row(numbers: list[int]) -> int:
    return total(cell.map(numbers))


@tm.pipeline(name="nested-map")
def flow() -> dict[str, object]:
    found = row.map(rows())
    return {"rows": found, "all": total(found)}
