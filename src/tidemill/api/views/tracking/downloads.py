"""The table of runs as a file: what a filter found, all pages of it."""

from __future__ import annotations

import csv
import io
import math
import tempfile
from collections.abc import Iterator

from tidemill.core.ids import iso
from tidemill.project import Project
from tidemill.track import experiments, tables
from tidemill.track.searching.found import Found
from tidemill.track.searching.grammar import parse
from tidemill.track.searching.order import parse_orders

CHUNK = 1 << 18


def as_csv(project: Project, experiment_id: int, *, filter: str = "", order: str = "") -> Iterator[bytes]:
    """UTF-8 with a header, a row a run: the columns of `tables.frame`, all that the experiment has.

    Raises NotFound, BadInput at once, before the first bytes.
    """
    ws = project.ws
    found = experiments.get(ws, experiment_id)
    orders = [order] if order else []
    parse(filter)
    parse_orders(orders)
    known = tables.keys(ws, found.id, newest=None)
    columns = [f"{entity}.{name}" for entity in tables.ENTITIES for name in known[entity]]
    pages = tables.pages(ws, [found.id], filter, order_by=orders)
    return _csv(pages, columns, {found.id: found.name})


def as_parquet(project: Project, experiment_id: int, *, filter: str = "", order: str = "") -> Iterator[bytes]:
    """Parquet of `tables.frame`. Raises NotFound, BadInput at once."""
    ws = project.ws
    found = experiments.get(ws, experiment_id)
    pages = tables.pages(ws, [found.id], filter, order_by=[order] if order else [])
    frame = tables.framed({found.id: found.name}, pages)
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed by who reads it to the end
    frame.write_parquet(file)
    file.seek(0)

    def chunks() -> Iterator[bytes]:
        with file:
            while chunk := file.read(CHUNK):
                yield chunk

    return chunks()


def _csv(pages: Iterator[tuple[Found, ...]], columns: list[str], names: dict[int, str]) -> Iterator[bytes]:
    out = io.StringIO()
    write = csv.writer(out)
    write.writerow([*tables.HEADS, *columns])
    for runs in pages:
        for run in runs:
            *texts, start, end = tables.head(run, names)
            found = tables.cells(run)
            times = ["" if each is None else iso(each) for each in (start, end)]
            write.writerow([*texts, *times, *(_text(found.get(column)) for column in columns)])
        yield out.getvalue().encode()
        out.seek(0)
        out.truncate()


def _text(value: str | float | None) -> str:
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value or ""
