"""Files of runs as a page shows them: pictures, tables, texts, sound, confusion matrices; the others as downloads."""

from __future__ import annotations

import io
import json
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidemill.api.views.shaping import Shown, plain
from tidemill.core.errors import NotFound
from tidemill.project import Project
from tidemill.track import files
from tidemill.track.files import File

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif")
SOUNDS = ("audio/wav", "audio/x-wav", "audio/mpeg", "audio/ogg", "audio/flac")
TEXTS = (".txt", ".md", ".log", ".csv", ".tsv", ".json", ".yaml", ".yml", ".toml", ".py", ".cfg", ".ini", ".sql", ".sh")
LISTED = 500  # files that are named
SHOWN = 60  # files of which more than the name is shown
TEXT_BYTES = 4_000
READ_BYTES, ALL_BYTES = 4 << 20, 16 << 20  # of a table or text, and of all of a run: what is more is a download
ROWS, COLUMNS, LABELS = 10, 12, 40
Look = Callable[[bytes], Shown | None]


def file_of(project: Project, run_id: str, path: str) -> tuple[str, bytes]:
    """The kind and the bytes of a run's file. Raises NotFound, BadInput."""
    found = files.get(project.ws, run_id, path)
    return kind_of(path), project.ws.store.get(found.digest)


def kind_of(path: str) -> str:
    """The media type that the name says."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def shown(project: Project, run_id: str) -> Shown:
    """A run's files: all by name, and a look into those that can be looked at."""
    found = files.under(project.ws, run_id)
    left, lines = ALL_BYTES, []
    for place, each in enumerate(found[:LISTED]):
        lines.append(_line(project, each, look=place < SHOWN, most=min(left, READ_BYTES)))
        left -= each.size if lines[-1]["content"] is not None else 0
    return {"in_all": len(found), "size": sum(each.size for each in found), "files": lines}


def _line(project: Project, file: File, *, look: bool, most: int) -> Shown:
    kind = kind_of(file.path)
    line = {"path": file.path, "size": file.size, "digest": file.digest, "kind": kind, "show": None, "content": None}
    if not look:
        return line
    if kind in PICTURES:
        return {**line, "show": "picture"}
    if kind in SOUNDS:
        return {**line, "show": "sound"}
    show = next((show for ends, show, _ in _LOOKS if file.path.endswith(ends)), None)
    if show is None or file.size > most:
        return line
    read = next(read for ends, _, read in _LOOKS if file.path.endswith(ends))
    try:
        content = read(project.ws.store.get(file.digest))
    except NotFound:
        return {**line, "show": "gone"}
    return line if content is None else {**line, "show": show, "content": content}


def _confusion(data: bytes) -> Shown | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    match found:
        case {"labels": [*labels], "counts": [*counts]} if 0 < len(labels) == len(counts) <= LABELS:
            if all(isinstance(row, list) and len(row) == len(labels) and all(map(_count, row)) for row in counts):
                return {"labels": [str(each) for each in labels], "counts": counts, "most": max(map(max, counts)) or 1}
    return None


def _table(data: bytes) -> Shown | None:
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(data), n_rows=ROWS)
        rows = int(pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError):
        return None
    return {
        "columns": frame.columns[:COLUMNS],
        "rows": [[_cell(value) for value in row[:COLUMNS]] for row in frame.rows()],
        "in_all": [rows, frame.width],
    }


def _text(data: bytes) -> Shown | None:
    text = data[: TEXT_BYTES + 3].decode("utf-8", "ignore")
    if "\x00" in text:
        return None
    return {"text": text[:TEXT_BYTES], "more": len(data) > TEXT_BYTES}


def _cell(value: Any) -> Any:  # Any: a value of Polars, then of JSON
    made = plain(value)
    return made if made is None or isinstance(made, int | float) else str(made)[:200]


def _count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


_LOOKS: Sequence[tuple[tuple[str, ...], str, Look]] = (
    ((".confusion.json",), "confusion", _confusion),
    ((".plotly.json",), "plotly", lambda _: {}),
    ((".parquet",), "table", _table),
    (TEXTS, "text", _text),
)


def pictures(found: Mapping[str, Sequence[File]]) -> list[str]:
    """The paths of pictures that any of these runs has, those of most runs first."""
    counted: dict[str, int] = {}
    for each in found.values():
        for file in each:
            if kind_of(file.path) in PICTURES:
                counted[file.path] = counted.get(file.path, 0) + 1
    return sorted(counted, key=lambda path: (-counted[path], path))
