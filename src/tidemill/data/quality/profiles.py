"""Profiles of datasets: what is in each column, for people and pages; kept with the version that it describes.

A column is read by itself and sorted once: distinct values, quantiles, the histogram and the most common values are
then runs and places of one sorted array (NumPy sorts 1M numbers in 7 ms where AVX-512 is, a hash table takes 150 ms).
So memory is that of a few columns. All figures are exact, but that texts are told apart by 64-bit hashes where most
differ. Quantiles are type 1 of Hyndman and Fan, The American Statistician 50 (1996): values that are in the data. std
has the divisor n - 1.

Not to be mistaken for `core.profile`: bins frozen at training, which monitoring counts into.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from tidemill.core.errors import NotFound
from tidemill.core.ids import iso
from tidemill.core.recording import done_before, key_of, outputs_of, recorded
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets

FORMAT = 1
KIND = "profile-report"
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 20
TOP = 20
TEXT = 200  # letters of a common value that are shown
AT_ONCE = 1 << 28  # bytes of columns read together
EPOCH = datetime(1970, 1, 1)

Facts = dict[str, Any]  # JSON values
Numbers = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[int, int | None], None]


def of(ws: Workspace, version: DatasetVersion, *, progress: Progress | None = None) -> Facts:
    """The version's profile: computed when first asked for, by a recorded run, and kept in the store from then on.

    Under a clock it is that of the rows known then, kept for that clock. progress: called with columns done and in all.
    """
    found = kept(ws, version)
    if found is not None:
        return found
    key = _key(ws, version)
    with recorded(ws, "data.profile", version.name, inputs=[("rows", version)], key=key) as run:
        made = profile(datasets.scan(ws, version), progress=progress)
        meta = {"dataset": version.id, "rows": made["rows"], "columns": len(made["columns"])}
        run.emit_json(KIND, version.name, made, meta=meta)
        run.result({"rows": made["rows"], "columns": len(made["columns"])})
    return made


def kept(ws: Workspace, version: DatasetVersion) -> Facts | None:
    """The profile that `of` left; None where nobody asked for one yet, or where its bytes were erased since."""
    run = done_before(ws, _key(ws, version))
    for _, artifact in outputs_of(ws, run) if run is not None else ():
        if artifact.kind == KIND:
            try:
                found = json.loads(ws.store.get(artifact.digest))
            except NotFound:
                return None
            if not isinstance(found, dict) or found.get("format") != FORMAT:
                return None
            found["columns"] = {name: found["columns"][name] for name in version.columns}  # JSON is kept sorted
            return found
    return None


def _key(ws: Workspace, version: DatasetVersion) -> str:
    """The cache key of the profiling run. Under a clock a version with a known time has a profile of its own."""
    at = iso(ws.clock) if ws.clock is not None and version.known_time is not None else None
    return key_of("data.profile", FORMAT, version.id, version.digest, at)


def profile(frame: pl.LazyFrame | pl.DataFrame, *, progress: Progress | None = None) -> Facts:
    """What is in each column of the frame, as JSON: {"format", "rows", "columns": {name: facts}}.

    facts: type, kind ("number", "time", "text", "boolean" or "other"), missing, missing_share (0..1), distinct, and
        number   min, max, mean, std, zeros, negative, nan, infinite, quantiles {"0.5": x}, histogram, top
        time     min, max, quantiles, histogram, top; ISO 8601 text, days of dates
        text     min_letters, max_letters, mean_letters, empty, top
        boolean  true, false, top
    histogram: {"edges": n + 1 numbers or times, "counts": n}; 20 bins of equal width, the last one closed. top: the 20
    most common values, [{"value", "rows"}], the smaller value first where two are as common; NaN and infinities are
    counted and left out of all other figures.
    """
    scan = frame.lazy()
    schema = scan.collect_schema()
    rows = frame.height if isinstance(frame, pl.DataFrame) else int(scan.select(pl.len()).collect().item())
    columns: dict[str, Facts] = {}
    at_once = max(1, AT_ONCE // max(1, 8 * rows))
    names = list(schema)
    for start in range(0, len(names), at_once):
        part = names[start : start + at_once]
        read = frame.select(part) if isinstance(frame, pl.DataFrame) else scan.select(part).collect()
        for name in part:
            columns[name] = column_facts(read[name])
            if progress is not None:
                progress(len(columns), len(names))
    return {"format": FORMAT, "rows": rows, "columns": columns}


def column_facts(values: pl.Series) -> Facts:
    """The facts of one column, as `profile` gives them."""
    kind = values.dtype
    missing = values.null_count()
    facts: Facts = {
        "type": str(kind),
        "kind": "other",
        "missing": missing,
        "missing_share": missing / len(values) if len(values) else 0.0,
    }
    there = values.drop_nulls()
    if kind == pl.Boolean:
        true = int(there.sum())
        counted = [(True, true), (False, len(there) - true)]
        top = [{"value": value, "rows": n} for value, n in sorted(counted, key=lambda each: -each[1]) if n]
        return {**facts, "kind": "boolean", "distinct": len(top), "true": true, "false": len(there) - true, "top": top}
    if kind.is_numeric():
        return {**facts, "kind": "number", **_number(there)}
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        return {**facts, "kind": "time", **_time(there)}
    if kind == pl.String or isinstance(kind, pl.Categorical | pl.Enum):
        return {**facts, "kind": "text", **_text(there.cast(pl.String))}
    return facts


def _number(values: pl.Series) -> Facts:
    if values.dtype.is_decimal() or values.dtype == pl.Int128:
        values = values.cast(pl.Float64)
    plain = values.to_numpy()
    nan = infinite = 0
    if values.dtype.is_float():
        finite = np.isfinite(plain)
        if not finite.all():
            nan = int(np.isnan(plain).sum())
            infinite = len(plain) - int(finite.sum()) - nan
            plain = plain[finite]
    ordered = np.sort(plain)
    facts: Facts = {"nan": nan, "infinite": infinite, **_moments(ordered)}
    zero, above = np.searchsorted(ordered, 0, side="left"), np.searchsorted(ordered, 0, side="right")
    facts |= {"zeros": int(above - zero), "negative": int(zero)}
    return {**facts, **_ordered(ordered, _plain)}


def _moments(ordered: Numbers) -> Facts:
    """Mean and standard deviation, in two passes; None where there are too few values, or they are too large."""
    if not len(ordered):
        return {"mean": None, "std": None}
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(ordered.mean(dtype=np.float64))
        std = float(ordered.astype(np.float64, copy=False).std(ddof=1)) if len(ordered) > 1 else math.nan
    return {"mean": mean if math.isfinite(mean) else None, "std": std if math.isfinite(std) else None}


def _time(values: pl.Series) -> Facts:
    kind = values.dtype
    if isinstance(kind, pl.Datetime):
        micros = np.sort(values.dt.cast_time_unit("us").to_physical().to_numpy())
        zone = UTC if kind.time_zone else None
        return _ordered(micros, lambda value: _iso(int(value), zone))
    days = np.sort(values.to_physical().to_numpy().astype(np.int64))
    return _ordered(days, lambda value: (date(1970, 1, 1) + timedelta(days=int(value))).isoformat())


def _iso(micros: int, zone: Any) -> str:
    at = EPOCH + timedelta(microseconds=micros)
    return iso(at.replace(tzinfo=UTC)) if zone else at.isoformat(timespec="microseconds")


def _ordered(ordered: Numbers, shown: Any) -> Facts:
    """What is read off sorted values: ends, quantiles, distinct and common values, the histogram."""
    n = len(ordered)
    if not n:
        empty: Facts = {"edges": [], "counts": []}
        return {"distinct": 0, "min": None, "max": None, "quantiles": {}, "histogram": empty, "top": []}
    places = {f"{q:g}": min(n - 1, max(0, math.ceil(q * n) - 1)) for q in QUANTILES}
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(starts, append=n)
    return {
        "distinct": len(starts),
        "min": shown(ordered[0]),
        "max": shown(ordered[-1]),
        "quantiles": {name: shown(ordered[place]) for name, place in places.items()},
        "histogram": _histogram(ordered, shown),
        "top": [{"value": shown(ordered[starts[i]]), "rows": int(lengths[i])} for i in _largest(lengths)],
    }


def _largest(lengths: Numbers) -> list[int]:
    """The places of the twenty largest, the earlier first where two are as large."""
    if len(lengths) <= TOP:
        candidates = np.arange(len(lengths))
    else:
        least = np.partition(lengths, len(lengths) - TOP)[-TOP]
        above = np.flatnonzero(lengths > least)
        candidates = np.concatenate([above, np.flatnonzero(lengths == least)[: TOP - len(above)]])
    return [int(i) for i in sorted(candidates, key=lambda i: (-lengths[i], i))]


def _histogram(ordered: Numbers, shown: Any) -> Facts:
    low, high = ordered[0], ordered[-1]
    if low == high:
        return {"edges": [shown(low), shown(high)], "counts": [len(ordered)]}
    if ordered.dtype.kind in "iu" and int(high) - int(low) < BINS:
        steps: Numbers = np.arange(int(low), int(high) + 2)  # a bin a whole number
    else:
        steps = _edges(ordered, BINS)
    counts = np.diff(np.searchsorted(ordered, steps[:-1], side="left"), append=len(ordered))
    return {"edges": [shown(edge) for edge in steps], "counts": [int(each) for each in counts]}


def _edges(ordered: Numbers, bins: int) -> Numbers:
    """bins + 1 edges of equal width; for whole numbers and times rounded to whole ones, which cannot overflow."""
    low, high = ordered[0], ordered[-1]
    if ordered.dtype.kind in "iu":
        first, span = int(low), int(high) - int(low)
        return np.array([first + span * i // bins for i in range(bins)] + [int(high)], dtype=ordered.dtype)
    share = np.arange(bins + 1) / bins
    edges = np.float64(low) * (1 - share) + np.float64(high) * share
    edges[0], edges[-1] = low, high
    return edges


def _plain(value: Any) -> int | float:
    return int(value) if isinstance(value, np.integer | int) else float(value)


def _text(values: pl.Series) -> Facts:
    if not len(values):
        return {"distinct": 0, "min_letters": None, "max_letters": None, "mean_letters": None, "empty": 0, "top": []}
    letters = values.str.len_chars()
    distinct, top = _common(values)
    return {
        "distinct": distinct,
        "min_letters": letters.min(),
        "max_letters": letters.max(),
        "mean_letters": letters.mean(),
        "empty": int((letters == 0).sum()),
        "top": [{"value": value[:TEXT], "rows": rows} for value, rows in top],
    }


def _common(values: pl.Series) -> tuple[int, list[tuple[str, int]]]:
    """The number of distinct texts, and the most common ones.

    Texts are counted by their 64-bit hashes, sorted (20 ms for 1M different ones, a hash table of texts 300 ms); only
    where few hashes are there, or some repeat, are texts themselves looked at.
    """
    hashes = values.hash().to_numpy()
    order = np.sort(hashes)
    starts = np.flatnonzero(np.concatenate([[True], order[1:] != order[:-1]]))
    lengths = np.diff(starts, append=len(order))
    if lengths.max() == 1:  # all differ: the smallest texts are the most common ones
        return len(starts), [(value, 1) for value in values.bottom_k(TOP).sort().to_list()]
    if len(starts) <= len(values) // 4:
        counted = values.alias("value").value_counts(name="rows")
        top = counted.sort(["rows", "value"], descending=[True, False]).head(TOP)
        return counted.height, list(zip(top["value"], top["rows"], strict=True))
    least = np.partition(lengths, len(lengths) - min(TOP, len(lengths)))[-min(TOP, len(lengths))]
    wanted = order[starts[lengths >= max(least, 2)]]
    picked = values.filter(pl.Series(np.isin(hashes, wanted))).alias("value").value_counts(name="rows")
    top = picked.sort(["rows", "value"], descending=[True, False]).head(TOP)
    found = list(zip(top["value"], top["rows"], strict=True))
    if len(found) < TOP:
        once = values.filter(pl.Series(~np.isin(hashes, wanted))).bottom_k(TOP - len(found)).sort()
        found += [(value, 1) for value in once.to_list()]
    return len(starts), found
