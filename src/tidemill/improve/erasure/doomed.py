"""What erasing a person takes: their rows in any version, the ids of those rows, and texts that only they have.

A row belongs to the person when one of the dataset's subject columns holds the subject, in any version, layer or
quarantine; then the row goes from all versions, whatever its other versions say. All of it is found before anything is
removed, since it cannot be found again afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, get_args

import polars as pl

from tidemill.core import checks
from tidemill.core.delta import table_erasing
from tidemill.core.delta.table_place import Place
from tidemill.core.errors import NotFound, UnknownColumn, nearest
from tidemill.core.ids import iso
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue import governance, policies
from tidemill.data.catalogue.upstream import upstream
from tidemill.data.filesets.files import is_files
from tidemill.data.quality import contracts, quarantine
from tidemill.data.versioning.writing import Step
from tidemill.improve.erasure.redacting import is_distinctive, is_identifier
from tidemill.improve.erasure.taken import Doomed, Rows, Taken

Progress = Callable[[int, int | None], None]
MOST_MERGED = 2_000
FIRST_COMMIT = "/_delta_log/00000000000000000000.json"


def find(ws: Workspace, subject: str, columns: Mapping[str, Sequence[str]], progress: Progress | None = None) -> Doomed:
    """Look for the person in every dataset that has subject columns, then for rows elsewhere that hang on those.

    Such rows hold the subject in a column of the same name, or in any column if it is an identifier (letters with
    digits or @, as an address or an order's number; a word alone may be anybody's); or the id of a row of theirs, if
    distinctive, in a column with the name of that dataset's key; or any id of theirs in a column that the contract
    says refers to it. Raises NotFound, UnknownColumn for wrong names.
    """
    every = tables_of(ws)
    own = {name: Taken((), tuple(each), ()) for name, each in columns.items()}
    taken: dict[str, Taken] = {}
    searched = 0

    def search(name: str, by: Taken) -> Taken:
        nonlocal searched
        found = _taken(ws, name, subject, by, (), every)
        searched += len(found.tables)
        if progress is not None:
            progress(searched, None)
        return found

    taken |= {name: search(name, by) for name, by in own.items()}
    while True:
        again = {}
        for name, links in _links(ws, subject, taken).items():
            known = taken.get(name) or Taken((), (), ())
            if (links.linked, links.references) != (known.linked, known.references):
                again[name] = search(name, replace(links, subjects=known.subjects))
        if not again:
            break
        grown = any(set(each.keys) - set(taken[name].keys if name in taken else ()) for name, each in again.items())
        taken |= again
        if not grown:
            break
    taken = {name: each for name, each in taken.items() if name in own or each.keys}
    taken = _without_shared_files(ws, subject, taken, every)
    return Doomed(subject, taken, _texts(ws, subject, taken, every))


def find_rows(ws: Workspace, name: str, keys: Sequence[Any]) -> Doomed:
    """The same for rows of one dataset by their keys, whoever they are about."""
    every = tables_of(ws)
    taken = {name: _taken(ws, name, "", Taken((), (), ()), tuple(sorted({str(key) for key in keys})), every)}
    taken = _without_shared_files(ws, "", taken, every)
    return Doomed("", taken, _texts(ws, "", taken, every))


def tables_of(ws: Workspace) -> list[str]:
    """The names of all tables below the workspace's."""
    names = (entry.name for entry in Place(ws.tables.root).entries())
    return sorted(name.removesuffix(FIRST_COMMIT) for name in names if name.endswith(FIRST_COMMIT))


def condition(taken: Taken, subject: str) -> table_erasing.Doomed:
    """Which rows of a dataset's tables are the person's: by what they say, or by their key."""

    def doomed(schema: Mapping[str, pl.DataType]) -> pl.Expr | None:
        named = {name: schema[name] for name in taken.subjects if _is_plain(schema.get(name))}
        wanted = [_is(name, kind, subject) for name, kind in named.items()]
        among = {name: taken.keys for name in taken.key_columns if taken.keys}
        linked = [name for name, kind in schema.items() if kind == pl.String and not name.startswith("__")]
        linked = [name for name in linked if name not in taken.apart]
        for column, values in [*among.items(), *taken.references.items(), *((each, taken.linked) for each in linked)]:
            if values and _is_plain(schema.get(column)):
                wanted.append(pl.col(column).cast(pl.String).is_in(list(values)))
        if taken.linked:
            wanted += [_is(column, pl.String(), text) for column in linked for text in taken.linked if "@" in text]
        return pl.any_horizontal(each.fill_null(value=False) for each in wanted) if wanted else None

    return doomed


def _is(column: str, kind: pl.DataType, subject: str) -> pl.Expr:
    """Whether the column says the subject: a number as a number, an address whatever its letters' case."""
    value = pl.col(column)
    if kind.is_numeric():
        try:
            return value.cast(pl.Float64) == float(subject) if kind.is_float() else value.cast(pl.String) == subject
        except ValueError:
            return pl.lit(value=False)
    text = value.cast(pl.String)
    return text.str.to_lowercase() == subject.lower() if "@" in subject else text == subject


def plain(value: Any) -> Any:  # Any: a value of a frame, then a JSON value
    """A value as a request or a report holds it."""
    if isinstance(value, datetime):
        return iso(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None  # noqa: PLR0124  NaN
    return value if isinstance(value, str | int | bool | None) else str(value)


def _taken(
    ws: Workspace,
    name: str,
    subject: str,
    by: Taken,
    given: tuple[str, ...],
    every: Sequence[str],
) -> Taken:
    """by: its subject columns and links say which rows are theirs; given: row ids that are."""
    versions = datasets.log(ws, name)
    columns = by.subjects
    _require_columns(name, columns, versions)
    tables = tuple(each for each in every if _belongs(each, name))
    key_columns = tuple(sorted({version.key for version in versions}))
    by_name = replace(by, tables=tables, key_columns=key_columns)
    keys = set(given)
    keys |= _keys(_found(ws, tables, condition(by_name, subject)), by_name.key_columns)
    by_key = replace(by_name, keys=tuple(sorted(keys)))
    frames = list(_found(ws, tables, condition(by_key, subject)))
    if given:
        by_key = replace(by_key, keys=tuple(sorted(_keys(frames, by_key.key_columns) & keys)))
    # Rows as a model or a person saw them, layers merged; of thousands only those of the newest version: they tell
    # which golden rows go.
    seen = _of_versions(ws, versions if len(keys) <= MOST_MERGED else versions[:1], condition(by_key, subject))
    rows = [{column: plain(value) for column, value in row.items()} for frame in seen for row in _plain_rows(frame)]
    rows = list({json.dumps(row, sort_keys=True): row for row in rows}.values())
    numbers = _only_theirs(ws, by_key, subject, frames, lambda kind: kind.is_numeric(), tables)
    files = _only_theirs(ws, by_key, subject, frames, lambda kind: kind == pl.String, tables, only=("digest",))
    return Taken(
        tables,
        columns,
        by_name.key_columns,
        by_key.keys,
        rows,
        _distinctive(frames, (*columns, *by_name.key_columns)),
        {column: sorted(float(each) for each in values) for column, values in numbers.items()},
        tuple(sorted(files.get("digest", ()))) if is_files(versions[0]) else (),
        by.linked,
        by.references,
        by.apart,
    )


def _links(ws: Workspace, subject: str, taken: Mapping[str, Taken]) -> dict[str, Taken]:
    """By dataset, what makes its rows theirs by way of rows that are known already to be."""
    linked = (subject,) if is_identifier(subject) else ()
    by_name: dict[str, set[str]] = {}
    for each in taken.values():
        for column in each.subjects:
            by_name.setdefault(column, set()).add(subject)
        for column in each.key_columns:
            by_name.setdefault(column, set()).update(filter(is_distinctive, each.keys))
    links: dict[str, Taken] = {}
    for name in datasets.names(ws):
        contract = contracts.get(ws, name)
        newest = datasets.log(ws, name)[0]
        # Names of files say nothing outside of their folder: many have a 0001.jpg.
        apart = is_files(newest) and not (upstream(ws, newest.artifact).datasets - {name}) & taken.keys()
        columns = (newest.key,) if apart else ()
        meant = {column: set(by_name.get(column, ())) for column in newest.columns if column not in columns}
        for check in contract.checks if contract is not None else ():
            owner = taken.get(str(check.args[0])) if check.kind == "references" else None
            if owner is not None and check.args[1] in owner.key_columns:
                meant.setdefault(check.column, set()).update(owner.keys)
        references = {column: tuple(sorted(values)) for column, values in meant.items() if values}
        links[name] = Taken((), (), (), linked=linked, references=references, apart=columns)
    return links


def _without_shared_files(
    ws: Workspace, subject: str, taken: Mapping[str, Taken], every: Sequence[str]
) -> dict[str, Taken]:
    """Without the files whose bytes a row of anybody else names, in whatever dataset."""
    theirs_only = {each for one in taken.values() for each in one.files}
    owner = {table: one for one in taken.values() for table in one.tables}
    for table in every if theirs_only else ():
        if table.startswith(("datasets/", "layers/", "quarantine/")):
            theirs = condition(owner[table], subject) if table in owner else None
            others = _of_others(theirs, "digest", theirs_only)
            for frame in table_erasing.matching(ws.tables, table, others, distinct=["digest"]):
                theirs_only -= set(frame["digest"].to_list())
    return {
        name: replace(one, files=tuple(each for each in one.files if each in theirs_only))
        for name, one in taken.items()
    }


def _keys(frames: Iterable[pl.DataFrame], columns: Iterable[str]) -> set[str]:
    return {
        key
        for frame in frames
        for column in columns
        if column in frame.columns
        for key in frame[column].drop_nulls().cast(pl.String).to_list()
    }


def _distinctive(frames: Iterable[pl.DataFrame], naming: Iterable[str]) -> dict[str, list[str]]:
    """Texts of the rows by column; long numbers too where a column names people or rows: an account, a phone."""
    found: dict[str, set[str]] = {}
    for frame in frames:
        for column, kind in frame.schema.items():
            if not column.startswith("__") and (kind == pl.String or (column in naming and _is_plain(kind))):
                values = frame[column].drop_nulls().cast(pl.String).unique().to_list()
                found.setdefault(column, set()).update(filter(is_distinctive, values))
    return {column: sorted(values) for column, values in found.items() if values}


def _belongs(table: str, dataset: str) -> bool:
    own = (f"datasets/{dataset}", quarantine.table_of(dataset))
    return table in own or table.rpartition("/")[0] == f"layers/{dataset}"


def _require_columns(name: str, columns: Iterable[str], versions: Sequence[DatasetVersion]) -> None:
    known = sorted({column for version in versions for column in version.columns})
    for column in columns:
        if column not in known:
            raise UnknownColumn(
                f"no column {column!r} in any version of dataset {name!r}; they have {', '.join(known[:40])}."
                f"{nearest(column, known)}"
            )


def _found(ws: Workspace, tables: Iterable[str], wanted: table_erasing.Doomed) -> Iterator[pl.DataFrame]:
    for table in tables:
        yield from table_erasing.matching(ws.tables, table, wanted)


def _of_versions(
    ws: Workspace, versions: Iterable[DatasetVersion], wanted: table_erasing.Doomed
) -> Iterator[pl.DataFrame]:
    for version in versions:
        rows = datasets.scan(ws, version, verify=False)
        theirs = wanted(dict(rows.collect_schema()))
        if theirs is not None:
            yield rows.filter(theirs).collect()


def _plain_rows(frame: pl.DataFrame) -> Rows:
    return frame.select(name for name, kind in frame.schema.items() if _is_plain(kind)).to_dicts()


def _only_theirs(
    ws: Workspace,
    taken: Taken,
    subject: str,
    frames: Sequence[pl.DataFrame],
    is_meant: Callable[[pl.DataType], bool],
    tables: Iterable[str],
    *,
    only: Sequence[str] = (),
) -> dict[str, set[Any]]:
    """By column, the values of the person's rows that no other row of the dataset has."""
    found: dict[str, set[Any]] = {}
    for frame in frames:
        for name, kind in frame.schema.items():
            if is_meant(kind) and (not only or name in only) and not name.startswith("__"):
                found.setdefault(name, set()).update(frame[name].drop_nulls().unique().to_list())
    theirs = condition(taken, subject)
    for name, values in found.items():
        for table in tables:
            others = _of_others(theirs, name, values)
            for frame in table_erasing.matching(ws.tables, table, others, distinct=[name]):
                values -= set(frame[name].to_list())
    return found


def _of_others(theirs: table_erasing.Doomed | None, name: str, values: Iterable[Any]) -> table_erasing.Doomed:
    wanted = list(values)

    def others(schema: Mapping[str, pl.DataType]) -> pl.Expr | None:
        kind = schema.get(name)
        if kind is None or not wanted or (isinstance(wanted[0], str) != (kind == pl.String)):
            return None
        is_theirs = None if theirs is None else theirs(schema)
        held = pl.col(name).is_in(pl.Series(wanted, dtype=kind, strict=False).drop_nulls().implode())
        return held if is_theirs is None else held & ~is_theirs

    return others


def _texts(ws: Workspace, subject: str, taken: Mapping[str, Taken], every: Sequence[str]) -> tuple[str, ...]:
    """The distinctive texts of the person's rows that stand in no row of anybody else, in no dataset's column of the
    same name, and are no name of the workspace's own."""
    by_column: dict[str, set[str]] = {}
    for one in taken.values():
        for column, theirs_only in one.texts.items():
            by_column.setdefault(column, set()).update(theirs_only)
    owner = {table: one for one in taken.values() for table in one.tables}
    for table in every:
        if not table.startswith(("datasets/", "layers/", "quarantine/")):
            continue
        theirs = condition(owner[table], subject) if table in owner else None
        for column, values in by_column.items():
            for frame in table_erasing.matching(
                ws.tables, table, _of_others(theirs, column, values), distinct=[column]
            ):
                values -= set(frame[column].to_list())
    found = {text for values in by_column.values() for text in values} | {subject}
    found = {text for text in found if is_distinctive(text)}
    return tuple(sorted(found - _own_words(ws) | ({subject} if is_distinctive(subject) else set())))


def _own_words(ws: Workspace) -> set[str]:
    """Words that the workspace itself uses: names of datasets and columns, types, tags, purposes, legal bases."""
    words = {*policies.BASES, governance.SUBJECT, *get_args(Step), *checks.KINDS, datasets.MAIN}
    for name in datasets.names(ws):
        words.add(name)
        for version in datasets.log(ws, name):
            words |= {*version.columns, *version.columns.values()}
        words |= {tag for tags in governance.tags(ws, name).values() for tag in tags}
        words |= set(policies.get(ws, name).permits)
    return words


def _is_plain(kind: pl.DataType | None) -> bool:
    return kind is not None and not kind.is_nested() and kind != pl.Binary


def require_datasets(ws: Workspace, columns: Mapping[str, Sequence[str]]) -> None:
    """NotFound for a dataset that is not there."""
    known = datasets.names(ws)
    for name in columns:
        if name not in known:
            raise NotFound(f"no dataset {name!r}; there are {', '.join(known) or 'none'}.{nearest(name, known)}")
