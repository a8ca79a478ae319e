"""Cleaning as data: frozen steps over a frame, each reporting what it found, what it changed and what is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tidemill.core.errors import BadInput, EmptyInput, WrongType, require_columns
from tidemill.core.recording import recorded
from tidemill.core.types import Artifact, DatasetVersion
from tidemill.core.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

SAMPLES = 10  # keys shown for each step
How = Literal["median", "mean", "most_common"]
Number = int | float


@dataclass(frozen=True, slots=True)
class DropDuplicates:
    """Keep the first row of each combination of these columns."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NullOutside:
    """Make numbers outside low..high missing: an impossible value says only that the true one is not known."""

    column: str
    low: Number
    high: Number


@dataclass(frozen=True, slots=True)
class FillFrom:
    """Fill missing values from another column, or by a statistic of this one over the rows given."""

    column: str
    other: str | None = None
    how: How | None = None


@dataclass(frozen=True, slots=True)
class DropWhereNull:
    """Leave out rows in which the column is missing."""

    column: str


Step = DropDuplicates | NullOutside | FillFrom | DropWhereNull


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did: rows found at fault, changed or dropped by it, and still at fault after it; some keys."""

    step: str
    found: int
    changed: int
    left: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a cleaning did: rows before and after, and each step's report in order."""

    rows_before: int
    rows_after: int
    steps: tuple[StepReport, ...]

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object, its format first."""
        return {
            "format": 1,
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "steps": [{**asdict(step), "keys": list(step.keys)} for step in self.steps],
        }

    def text(self) -> str:
        """The report for people, a line a step."""
        lines = [f"{self.rows_before:,} rows in, {self.rows_after:,} out"]
        for step in self.steps:
            sample = f", for example {', '.join(step.keys[:3])}" if step.keys else ""
            lines.append(f"{step.step}: {step.found:,} found, {step.changed:,} changed, {step.left:,} left{sample}")
        return "\n".join(lines)


def drop_duplicates(*keys: str) -> DropDuplicates:
    """Keep the first row of each combination of these columns."""
    if not keys:
        raise BadInput("drop_duplicates() needs the columns that identify a row, for example drop_duplicates('id')")
    return DropDuplicates(keys)


def null_outside(column: str, low: Number, high: Number) -> NullOutside:
    """Make numbers outside low..high missing; both ends are allowed values."""
    if not low <= high:
        raise BadInput(f"null_outside({column!r}, {low}, {high}): low must not be above high")
    return NullOutside(column, low, high)


def fill_from(column: str, other: str | None = None, *, how: How | None = None) -> FillFrom:
    """Fill missing values from the column `other` of the same row, or by `how` over all rows given.

    A statistic over all rows looks at later ones too: for features, fill in the recipe instead, which learns from the
    training rows only.
    """
    if (other is None) == (how is None):
        raise BadInput(f"fill_from({column!r}) needs one of another column's name or how='median'")
    if how not in (None, "median", "mean", "most_common"):
        raise BadInput(f"fill_from({column!r}, how={how!r}); allowed: 'median', 'mean', 'most_common'")
    return FillFrom(column, other, how)


def drop_where_null(column: str) -> DropWhereNull:
    """Leave out rows in which the column is missing."""
    return DropWhereNull(column)


class _Done(NamedTuple):
    """A step's result: the frame after it, which rows of the frame before were at fault, rows changed, rows left."""

    frame: pl.DataFrame
    at_fault: pl.Series
    changed: int
    left: int


def clean(frame: pl.DataFrame, *steps: Step, key: str | None = None) -> tuple[pl.DataFrame, Report]:
    """Apply the steps in order. key: the column whose values the report shows (the row number without one).

    Raises EmptyInput for no rows, UnknownColumn, WrongType for a step that does not suit its column's type.
    """
    if frame.height == 0:
        raise EmptyInput("no rows to clean; check the file or the time range")
    if key is not None:
        require_columns([key], frame.columns, where="the rows")
    before, reports = frame.height, []
    for step in steps:
        if type(step) not in _DO:
            raise BadInput(
                f"{step!r} is no cleaning step; use drop_duplicates, null_outside, fill_from or drop_where_null"
            )
        require_columns(_columns(step), frame.columns, where="the rows")
        done = _DO[type(step)](frame, step)
        keys = _keys(frame, done.at_fault, key)
        reports.append(StepReport(describe(step), int(done.at_fault.sum()), done.changed, done.left, keys))
        frame = done.frame
    return frame, Report(before, frame.height, tuple(reports))


def clean_dataset(
    ws: Workspace, version: DatasetVersion, frame: pl.DataFrame, *steps: Step, name: str, key: str
) -> tuple[pl.DataFrame, Artifact]:
    """`clean` rows of a dataset version as a recorded run "prepare.clean"; its artifact is the report, as JSON.

    name: of the report. An error ends the run as failed and leaves no report.
    """
    described = [describe(step) for step in steps]
    with recorded(ws, "prepare.clean", name, inputs=[("rows", version)], params={"steps": described}) as run:
        cleaned, report = clean(frame, *steps, key=key)
        run.result(
            {
                "rows_before": report.rows_before,
                "rows_after": report.rows_after,
                "changed": sum(step.changed for step in report.steps),
            }
        )
        artifact = run.emit_json(
            "report",
            name,
            report.as_json(),
            meta={"what": "cleaning", "dataset": version.id, "steps": described},
            slot="report",
        )
    return cleaned, artifact


def describe(step: Step) -> str:
    """A step as people write it.

    >>> describe(null_outside("temp", -30, 120))
    "null_outside('temp', -30, 120)"
    """
    match step:
        case DropDuplicates(columns):
            return f"drop_duplicates({', '.join(map(repr, columns))})"
        case NullOutside(column, low, high):
            return f"null_outside({column!r}, {low}, {high})"
        case FillFrom(column, other, how):
            return f"fill_from({column!r}, {f'how={how!r}' if other is None else repr(other)})"
        case DropWhereNull(column):
            return f"drop_where_null({column!r})"


def _columns(step: Step) -> list[str]:
    match step:
        case DropDuplicates(columns):
            return list(columns)
        case FillFrom(column, other, _):
            return [column] if other is None else [column, other]
        case _:
            return [step.column]


def _keys(frame: pl.DataFrame, at_fault: pl.Series, key: str | None) -> tuple[str, ...]:
    rows = at_fault.arg_true().head(SAMPLES)
    return tuple(str(value) for value in (rows if key is None else frame[key].gather(rows)).to_list())


def _drop_duplicates(frame: pl.DataFrame, step: DropDuplicates) -> _Done:
    again = ~frame.select(step.columns).select(_first(step.columns)).to_series()
    return _Done(frame.filter(~again), again, int(again.sum()), 0)


def _first(columns: tuple[str, ...]) -> pl.Expr:
    import polars as pl

    return pl.struct(columns).is_first_distinct().alias("first")


def _null_outside(frame: pl.DataFrame, step: NullOutside) -> _Done:
    import polars as pl

    column = frame[step.column]
    if not column.dtype.is_numeric():
        raise WrongType(f"{describe(step)}: column {step.column!r} is {column.dtype}; it must hold numbers")
    within = pl.col(step.column).is_between(step.low, step.high)
    if column.dtype.is_float():
        within = within & pl.col(step.column).is_not_nan()
    outside = frame.select(~within.fill_null(value=True)).to_series()
    fixed = frame.with_columns(pl.when(~outside).then(pl.col(step.column)).alias(step.column))
    return _Done(fixed, outside, int(outside.sum()), 0)


def _fill_from(frame: pl.DataFrame, step: FillFrom) -> _Done:
    import polars as pl

    column = frame[step.column]
    missing = _missing(column)
    filler = pl.lit(_statistic(column, missing, step)) if step.other is None else pl.col(step.other)
    if step.other is not None and frame[step.other].dtype != column.dtype:
        raise WrongType(
            f"{describe(step)}: column {step.column!r} is {column.dtype} and {step.other!r} is "
            f"{frame[step.other].dtype}; cast one of them first"
        )
    filled = pl.when(missing).then(filler).otherwise(pl.col(step.column)).cast(column.dtype)
    fixed = frame.with_columns(filled.alias(step.column))
    left = int(_missing(fixed[step.column]).sum())
    return _Done(fixed, missing, int(missing.sum()) - left, left)


def _statistic(column: pl.Series, missing: pl.Series, step: FillFrom) -> Any:  # Any: a value of the column's type
    known = column.filter(~missing)
    if step.how == "most_common":
        return known.mode().sort().first() if len(known) else None
    if not column.dtype.is_numeric():
        raise WrongType(f"{describe(step)}: column {step.column!r} is {column.dtype}; use how='most_common'")
    value = known.median() if step.how == "median" else known.mean()
    # A whole-number column stays one: round half to even, as Python does.
    return round(float(value)) if column.dtype.is_integer() and isinstance(value, int | float) else value


def _drop_where_null(frame: pl.DataFrame, step: DropWhereNull) -> _Done:
    missing = _missing(frame[step.column])
    return _Done(frame.filter(~missing), missing, int(missing.sum()), 0)


def _missing(column: pl.Series) -> pl.Series:
    """Null, or NaN in a column of floats."""
    return (column.is_null() | column.is_nan()).fill_null(value=True) if column.dtype.is_float() else column.is_null()


_DO: dict[type, Callable[[pl.DataFrame, Any], _Done]] = {
    DropDuplicates: _drop_duplicates,
    NullOutside: _null_outside,
    FillFrom: _fill_from,
    DropWhereNull: _drop_where_null,
}
