"""Imports: rows through the dataset's contract into its next version, from memory or streamed from any source.

A streamed import holds a few batches and 8 bytes a row for the keys, and writes one commit at its end: until then
nothing of it is visible, and an import that was killed is simply run again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Literal

import numpy as np
import polars as pl

from tidemill.core.errors import BadInput, EmptyInput, require_columns
from tidemill.core.recording import recorded
from tidemill.core.rowhash import row_words
from tidemill.core.schema import fitted
from tidemill.core.tables import BATCH_ROWS
from tidemill.core.types import DatasetVersion, Pinned
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.quality import contracts
from tidemill.data.quality.contracts import Quarantined, Sieve
from tidemill.data.transfer.importplan import Plan, Progress
from tidemill.data.transfer.increments import remembered
from tidemill.data.transfer.sources import open_source
from tidemill.data.transfer.spool import spool
from tidemill.data.transfer.streamkeys import Keys
from tidemill.data.versioning import keys, layers, shapes
from tidemill.data.versioning.layers import Content
from tidemill.data.versioning.versions import head

SMALL_ROWS = 100_000  # as many are added from memory, where a replacement can be stored as its differences

Told = Callable[[Quarantined], None]


def add(
    ws: Workspace,
    name: str,
    frame: pl.DataFrame,
    *,
    key: str,
    event_time: str | None = None,
    known_time: str | None = None,
    mode: Literal["append", "replace"] = "append",
    message: str = "",
    source: str = "frame",
    branch: str = datasets.MAIN,
    ordered: bool | None = None,
    made_of: Sequence[DatasetVersion] = (),
    told: Told | None = None,
) -> DatasetVersion:
    """Add rows from memory (see `datasets.add`) that keep the dataset's contract; the others go to quarantine.

    told: called with what became of rows that do not keep it. EmptyInput where none does.
    """
    good, kept_out = contracts.sieve(ws, name, frame, key=key, append=mode == "append", branch=branch, source=source)
    if kept_out is not None and told is not None:
        told(kept_out)
    if kept_out is not None and good.height == 0:
        raise _none_left(name, kept_out)
    return datasets.add(
        ws,
        name,
        good,
        key=key,
        event_time=event_time,
        known_time=known_time,
        mode=mode,
        message=message,
        source=source,
        branch=branch,
        ordered=ordered,
        made_of=made_of,
    )


def import_from(
    ws: Workspace,
    name: str,
    url: str,
    *,
    key: str,
    event_time: str | None = None,
    known_time: str | None = None,
    mode: Literal["append", "replace"] = "append",
    query: str | None = None,
    incremental: str | None = None,
    columns: Sequence[str] | None = None,
    zone: str | None = None,
    message: str = "",
    branch: str = datasets.MAIN,
    made_of: Sequence[DatasetVersion] = (),
    progress: Progress | None = None,
    told: Told | None = None,
) -> DatasetVersion:
    """Import the rows at `url` (see `sources.open_source`) as the next version of a branch, in bounded memory.

    incremental: a column that grows, such as a change time: its largest imported value is remembered, and the next
    import asks for rows from that value on; where there is nothing new the version that is there is returned.
    zone: of the clocks' times that have none, for example "UTC"; without it such times are refused. progress: called
    with rows done and rows in all (None where that is not known). made_of, told: as for `datasets.add` and `add`.
    Rows that are all there already give the version that is there, so an import can be run again.
    Raises what `open_source` and `datasets.add` raise; EmptyInput where no row keeps the contract.
    """
    before = _head(ws, name, branch)
    append = mode == "append"
    least = remembered(ws, before, incremental) if append and before is not None and incremental else None
    since = (incremental, least) if incremental and least is not None else None
    types = _types(ws, name, before) if append and before is not None else {}
    with open_source(url, query=query, since=since, columns=columns, types=types, spool=spool(ws)) as source:
        times = [column for column in (event_time, known_time) if column is not None]
        _require_one_column(key, source.schema)
        require_columns([key, *times, *([incremental] if incremental else [])], source.schema, where=source.name)
        plan = Plan(
            ws,
            name,
            source,
            key,
            event_time,
            known_time,
            mode,
            incremental,
            zone,
            message,
            branch,
            since,
            progress,
            made_of=made_of,
        )
        if incremental is None and source.rows is not None and source.rows <= SMALL_ROWS:
            rows = [plan.clocked(batch) for batch in source.batches()]
            if progress is not None:
                progress(source.rows, source.rows)
            return add(
                ws,
                name,
                pl.concat(rows) if rows else pl.DataFrame(schema=dict(source.schema)),
                key=key,
                event_time=event_time,
                known_time=known_time,
                mode=mode,
                message=message,
                source=source.describe(),
                branch=branch,
                made_of=made_of,
                told=told,
            )
        with ExitStack() as stack:
            stack.enter_context(datasets.writing(ws, name))
            contract = contracts.get(ws, name)
            sieve = stack.enter_context(
                contracts.sifting(ws, name, contract, key=key, append=append, branch=branch, source=source.describe())
            )
            return _streamed(plan, sieve, told)


def _streamed(plan: Plan, sieve: Sieve, told: Told | None) -> DatasetVersion:
    """Write the batches as one version; the dataset is held by the caller."""
    ws, name = plan.ws, plan.name
    before = _head(ws, name, plan.branch)
    held: Content | None = None
    if before is not None and plan.mode == "append":
        shapes.check_same(before, plan.key, plan.event_time, plan.known_time, None)
        held = layers.content(before)
        plan.schema = layers.schema(ws.tables, held)
    plan.ordered = before is not None and layers.content(before).ordered
    batches = _sifted(plan, sieve, held)
    first = next(batches, None)
    if first is None:
        kept_out = sieve.finish()
        if kept_out is not None:
            if told is not None:
                told(kept_out)
            raise _none_left(name, kept_out)
        if before is not None and plan.since is not None:
            return before
        raise EmptyInput(f"no rows to add to dataset {name!r}; {plan.source.name} gives none")
    if before is not None and held is not None and len(keys.taken(ws.tables, held, first[plan.key])):
        return _there_already(plan, sieve, before, held, first, batches)
    inputs = ([] if before is None else [("parent", before)]) + [("made of", each) for each in plan.made_of]
    params = {"source": plan.source.describe(), "mode": plan.mode}
    with recorded(ws, "data.import", name, inputs=inputs, params=params) as run, Keys(spool(ws)) as seen:
        parent = datasets.plain(ws, before) if before is not None and held is not None else None
        checked = _checked(plan, sieve, held, itertools.chain([first], batches), seen, told)
        pinned = _written(ws, name, checked, parent, append=held is not None)
        if before is not None and held is None and _same(plan, before, pinned):
            run.link_output(before)
            return before
        return datasets.record(
            run,
            name,
            Content(plan.key, pinned, (), pinned.rows, pinned.digest, plan.ordered),
            step=plan.mode,
            branch=plan.branch,
            event_time=plan.event_time,
            known_time=plan.known_time,
            parent=before,
            added=plan.rows,
            first_known=plan.first_known if plan.mode == "append" else None,
            message=plan.message,
            more=plan.more(),
        )


def _require_one_column(key: str, columns: Mapping[str, object]) -> None:
    """Whoever knows tables with keys of several columns is told how a row is named here."""
    parts = [part.strip() for part in key.split(",")]
    if key not in columns and len(parts) > 1 and set(parts) <= set(columns):
        raise BadInput(
            f"key {key!r} names {len(parts)} columns; a row is named by one: join them into a column of the source "
            f"first, for example in Polars pl.concat_str({', '.join(map(repr, parts))}, separator='|').alias('id')"
        )


def _same(plan: Plan, before: DatasetVersion, pinned: Pinned) -> bool:
    """Whether a replacement gave the same version again."""
    return (
        (before.key, before.event_time, before.known_time) == (plan.key, plan.event_time, plan.known_time)
        and before.digest == pinned.digest
        and datasets.reads(plan.ws, before, plan.made_of)
        and before.artifact.meta.get("first_known") is None
        and dict(before.columns) == {column: str(kind) for column, kind in plan.schema.items()}
    )


def _head(ws: Workspace, name: str, branch: str) -> DatasetVersion | None:
    """Where the next version begins, whatever the clock; None for a dataset that is not there yet."""
    return head(ws, name) if branch == datasets.MAIN else datasets.required(ws, name, branch)


def _written(ws: Workspace, name: str, rows: Iterable[pl.DataFrame], parent: Pinned | None, *, append: bool) -> Pinned:
    """What is newer than `parent` was never recorded, or is a branch's: it is set aside by a commit of metadata."""
    table = f"datasets/{name}"
    if not append:
        return ws.tables.write_stream(table, rows, mode="replace")
    assert parent is not None
    if ws.tables.latest(table) != parent:
        parent = ws.tables.restore(parent)
    return ws.tables.write_stream(table, rows, parent=parent)


def _sifted(plan: Plan, sieve: Sieve, held: Content | None) -> Iterator[pl.DataFrame]:
    """The batches that keep the contract, as the dataset takes them, without what the last import had of them."""
    for raw in plan.source.batches():
        plan.note(raw)
        batch = sieve.sift(plan.clocked(raw) if not _again(plan, held) else _fresh(plan, held, raw))
        if batch.height:
            shapes.check(batch, plan.key, plan.times, plan.where)
            yield plan.fit(batch)


def _again(plan: Plan, held: Content | None) -> bool:
    """Whether rows may come that the last import had: those of its largest value."""
    return plan.since is not None and held is not None


def _fresh(plan: Plan, held: Content | None, raw: pl.DataFrame) -> pl.DataFrame:
    """Without the rows of the largest value so far that the dataset has exactly so."""
    assert plan.since is not None
    assert held is not None
    column, least = plan.since
    batch = plan.clocked(raw)
    edge = batch.filter(raw[column] == least)
    if edge.height == 0:
        return batch
    edge = fitted(edge, plan.schema, table=f"dataset {plan.name!r}", where=plan.where)
    there = (
        layers.scan(plan.ws.tables, held, verify=False)
        .join(edge.lazy().select(plan.key), on=plan.key, how="semi")
        .collect()
    )
    known = pl.Series(np.isin(row_words(edge)[0], row_words(there)[0]))
    old = edge.filter(known)[plan.key]
    return batch.filter(~batch[plan.key].cast(old.dtype).is_in(old.implode()))


def _checked(
    plan: Plan,
    sieve: Sieve,
    held: Content | None,
    batches: Iterable[pl.DataFrame],
    seen: Keys,
    told: Told | None,
) -> Iterator[pl.DataFrame]:
    """The batches on their way to the table; after the last one nothing may be wrong with them as a whole."""
    for batch in batches:
        if held is not None and held.base.rows <= keys.MOST_ROWS:
            taken = keys.taken(plan.ws.tables, held, batch[plan.key])
            if len(taken):
                raise _taken(plan, taken)
        seen.add(batch[plan.key])
        yield layers.placed(batch, plan.rows) if plan.ordered else batch
        plan.rows += batch.height
        first = shapes.first_known(batch, plan.known_time)
        plan.first_known = min(filter(None, (first, plan.first_known)), default=None)
        if plan.progress is not None:
            plan.progress(plan.rows, plan.source.rows)
    twice = seen.repeated()
    if len(twice):
        shown = ", ".join(map(str, twice.head(shapes.SHOWN)))
        raise BadInput(
            f"key column {plan.key!r} of {plan.where} repeats {len(twice)} values, such as {shown}; "
            "drop the duplicates first (tm.drop_duplicates)"
        )
    if held is not None and held.base.rows > keys.MOST_ROWS:  # one look at all keys that are there, not one a batch
        there = layers.scan(plan.ws.tables, held, columns=[plan.key], verify=False)
        taken = seen.met(batch[plan.key] for batch in there.collect_batches(chunk_size=BATCH_ROWS))
        if len(taken):
            raise _taken(plan, taken)
    kept_out = sieve.finish()
    if kept_out is not None and told is not None:
        told(kept_out)


def _there_already(
    plan: Plan,
    sieve: Sieve,
    before: DatasetVersion,
    held: Content,
    first: pl.DataFrame,
    batches: Iterable[pl.DataFrame],
) -> DatasetVersion:
    """The version itself where it has all these rows exactly so; BadInput otherwise. In 8 bytes a row."""
    taken = keys.taken(plan.ws.tables, held, first[plan.key])
    if len(taken) < first.height:
        raise _taken(plan, taken)
    there = np.sort(
        np.concatenate(
            [
                row_words(batch)[0]
                for batch in layers.scan(plan.ws.tables, held, verify=False).collect_batches(chunk_size=BATCH_ROWS)
            ]
        )
    )
    for batch in itertools.chain([first], batches):
        words = row_words(batch)[0]
        found = there[np.minimum(np.searchsorted(there, words), len(there) - 1)] == words
        if not found.all():
            raise _taken(plan, keys.taken(plan.ws.tables, held, batch[plan.key]), first=taken)
    sieve.finish()
    return before


def _taken(plan: Plan, taken: pl.Series, *, first: pl.Series | None = None) -> BadInput:
    shown = taken if len(taken) or first is None else first
    return BadInput(
        f"keys of {plan.where} are there already, such as {', '.join(map(str, shown.head(shapes.SHOWN)))}; "
        "give rows with new keys, mode='replace', or an incremental column"
    )


def _types(ws: Workspace, name: str, before: DatasetVersion) -> Mapping[str, pl.DataType]:
    """What a text file is read as: what the dataset has, but where a contract judges values of other types."""
    contract = contracts.get(ws, name)
    judged = set() if contract is None else set(contract.types)
    have = layers.schema(ws.tables, layers.content(before))
    clocks = (before.event_time, before.known_time)
    return {column: kind for column, kind in have.items() if column not in judged and column not in clocks}


def _none_left(name: str, kept_out: Quarantined) -> EmptyInput:
    return EmptyInput(f"no row keeps the contract of dataset {name!r}: {kept_out.text}; mend and release them")
