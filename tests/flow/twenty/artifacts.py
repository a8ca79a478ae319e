"""Tables and bytes from step to step."""

import polars as pl

import tidemill as tm


@tm.step
def table(rows: int) -> pl.DataFrame:
    return pl.DataFrame({"n": list(range(rows)), "name": [f"row {n}" for n in range(rows)]})


@tm.step
def doubled(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("n") * 2)


@tm.step
def text(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()


@tm.step
def size(data: bytes, frame: pl.DataFrame) -> list[int]:
    return [len(data), int(frame["n"].sum())]


@tm.pipeline(name="artifacts")
def flow(rows: int = 1000) -> list[int]:
    frame = doubled(table(rows))
    return size(text(frame), frame)
