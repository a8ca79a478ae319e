"""The user's own runs: what is logged goes into a spool at once, and to the graph by itself.

with mill.run("look", params={"depth": 3}) as run:
    run.log("loss", 0.3, step=1)
    run.log_text("notes.txt", "...")

A log call takes some microseconds, waits for nobody and raises nothing, whether the database answers or not.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tidemill.core import locks
from tidemill.core.errors import BadInput, ServerFailed
from tidemill.core.graphs.records import OWN
from tidemill.core.ids import iso, new_id, utc_now
from tidemill.core.locks import Lease
from tidemill.core.recording import PROCESS, Recorder, cpu_seconds, inside
from tidemill.core.types import Artifact, Run, View
from tidemill.core.workspace import Workspace
from tidemill.track import files, media, showing
from tidemill.track.machine import Sampler
from tidemill.track.sinking import GraphSink
from tidemill.track.spool import Sender, Spool

FOLDER = "spool"
FLUSH_S = 10.0  # how long the end of a run waits for a database that is away
KEY_LENGTH = 250
_opened_before: set[str] = set()  # folders of workspaces in which this process has begun a run


class OwnRun(Recorder):
    """A run that is going on. Any method from any thread."""

    def __init__(self, ws: Workspace, run: Run, sender: Sender, spool: Spool) -> None:
        super().__init__(ws, run)
        self._sender, self._spool = sender, spool
        self._names: dict[str, bytes] = {}
        self._params: dict[str, Any] = dict(run.params)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id

    def _repr_html_(self) -> str:  # what a notebook shows
        return showing.run(self.run.id, self.run.name, self.run.status, self._params, self.metrics)

    # ------------------------------------------------------------------------------------------------ logging

    def log(self, key: str | Mapping[str, float], value: float | None = None, step: int | None = None) -> None:
        """Log one metric, or several at the same step; without a step it is also the run's result under that key.

        Raises BadInput for a key that is no name, or a value that is no number.
        """
        if not isinstance(key, str):
            for one, each in key.items():
                self.log(one, each, step)
            return
        name = self._names.get(key) or self._name(key)
        try:
            number = float(value)  # type: ignore[arg-type]  # told below
        except (TypeError, ValueError):
            raise BadInput(f"metric {key!r} is {value!r}; log a number") from None
        if step is None:
            self.metrics[key] = number
            step = 0
        text = repr(number) if number - number == 0 else _odd(number)
        at = time.time_ns() // 1000
        self._spool.append(b'{"k":"m","n":%s,"v":%s,"s":%d,"t":%d}' % (name, text.encode(), step, at))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters: JSON values. Raises BadInput where one has another value already."""
        for key, value in params.items():
            self._name(key)
            if key in self._params and self._params[key] != value:
                raise BadInput(
                    f"parameter {key!r} is {self._params[key]!r} already, not {value!r}: a parameter keeps its value; "
                    "log it under another name, or as a tag"
                )
        self._append({"k": "params", "values": dict(params)})
        self._params.update(params)

    def tag(self, **tags: str) -> None:
        """Set tags."""
        self._append({"k": "tags", "values": {key: str(value) for key, value in tags.items()}})

    # ------------------------------------------------------------------------------------------------ files

    def log_file(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Keep a file as it is now; under its own name, or as `name` ("plots/roc.png")."""
        source = Path(path)
        if not source.is_file():
            raise BadInput(f"there is no file {source}; name one that is there")
        self._keep(files.require_path(name or source.name), source)

    def log_bytes(self, name: str, data: bytes) -> None:
        """Keep bytes as a file."""
        place = self._place()
        place.write_bytes(data)
        self._keep(files.require_path(name), place, own=True)

    def log_text(self, name: str, text: str) -> None:
        """Keep a text as a file."""
        self.log_bytes(name, text.encode())

    def log_json(self, name: str, value: Any) -> None:  # Any: a JSON value
        """Keep a JSON value as a file."""
        self.log_bytes(name, json.dumps(value, ensure_ascii=False, indent=1).encode())

    def log_table(self, name: str, rows: Any) -> None:  # Any: see media.table
        """Keep a table (Polars, Arrow, a mapping of columns, a list of rows) as Parquet."""
        self.log_bytes(media.named(name, ".parquet"), media.table(rows))

    def log_figure(self, name: str, figure: Any) -> None:  # Any: see media.figure
        """Keep a figure of Matplotlib (PNG) or Plotly (JSON)."""
        suffix, data = media.figure(figure)
        self.log_bytes(media.named(name, suffix), data)

    def log_image(self, name: str, pixels: Any) -> None:  # Any: see media.image
        """Keep an image as PNG: an array (height, width) or (height, width, 3 or 4), uint8 or floats from 0 to 1."""
        self.log_bytes(media.named(name, ".png"), media.image(pixels))

    def log_audio(self, name: str, samples: Any, rate: int) -> None:  # Any: see media.audio
        """Keep sound as WAV: an array (n,) or (n, channels), floats from -1 to 1 or int16. rate: samples a second."""
        self.log_bytes(media.named(name, ".wav"), media.audio(samples, rate))

    def log_confusion(self, name: str, truth: Collection[Any], predicted: Collection[Any]) -> None:
        """Keep the confusion matrix of labels, as JSON {"labels", "counts"}: rows are the truth."""
        self.log_json(media.named(name, ".confusion.json"), media.confusion(truth, predicted))

    # ------------------------------------------------------------------------------------------------ the graph

    def flush(self, wait_s: float = 60.0) -> None:
        """Wait until all that was logged is in the graph. Raises ServerFailed after that time."""
        if not self._sender.flush(self._spool, wait_s):
            raise ServerFailed(
                f"run {self.run.id} could not be sent within {wait_s:g} s: {self._sender.trouble}; it is kept in "
                f"{self._spool.path} and sent when the workspace is used again"
            )

    def use(self, artifact: Artifact | View, slot: str = "") -> None:
        """Record that this run read the artifact."""
        self.flush()
        super().use(artifact, slot)

    def link_output(self, artifact: Artifact | View, slot: str = "") -> None:
        """Record that this run's result is an artifact which a run inside it made."""
        self.flush()
        super().link_output(artifact, slot)

    def emit(
        self,
        kind: str,
        name: str,
        *,
        digest: str,
        meta: Mapping[str, Any] | None = None,
        slot: str = "",
        last: bool = False,
    ) -> Artifact:
        """Record an artifact that this run made; see Recorder.emit."""
        if last:
            raise BadInput("a run of one's own ends at the end of its `with` block; emit without last=True")
        self.flush()
        return super().emit(kind, name, digest=digest, meta=meta, slot=slot)

    @contextmanager
    def child(self, name: str, *, params: Mapping[str, Any] | None = None) -> Iterator[OwnRun]:
        """A run inside this one, in the same experiment."""
        with _opened(self.ws, self._sender, name, params=params, tags={}, inputs=(), experiment=self._experiment,
                     parent=self.run.id) as made:  # fmt: skip
            yield made

    # ------------------------------------------------------------------------------------------------ inside

    _experiment: str = ""

    def _name(self, key: str) -> bytes:
        if not isinstance(key, str) or not key or len(key) > KEY_LENGTH or "\x00" in key:
            raise BadInput(f"the name {str(key)[:60]!r} cannot be logged; give a text of 1 to {KEY_LENGTH} characters")
        made = self._names[key] = json.dumps(key).encode()
        return made

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            content = json.dumps(record, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise BadInput(
                f"{record['k']} cannot be kept as JSON: {error}; log numbers, text, lists, mappings"
            ) from error
        self._spool.append(content)

    def _place(self) -> Path:
        self._spool.files.mkdir(exist_ok=True)
        return self._spool.files / new_id()

    def _keep(self, name: str, source: Path, *, own: bool = False) -> None:
        """Into the store at once where it answers, else a copy into the spool."""
        try:
            found = {"digest": self.ws.store.put_file(source), "size": source.stat().st_size}
            if own:
                source.unlink(missing_ok=True)
            self._append({"k": "file", "path": name, **found})
        except OSError:  # what a store raises that is away, or full
            place = source if own else self._place()
            if not own:
                shutil.copyfile(source, place)
            self._append({"k": "file", "path": name, "at": str(place)})

    def _end(self, error: BaseException | None) -> None:
        status = "done" if error is None else "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"
        self._append(
            {
                "k": "end",
                "status": status,
                "error": None if error is None else f"{type(error).__name__}: {error}",
                "ended_at": iso(utc_now()),
                "cpu_s": round(cpu_seconds() - self._began_s, 4),
                "metrics": self.metrics,
            }
        )
        if not self._sender.flush(self._spool, FLUSH_S):
            warnings.warn(
                f"run {self.run.id} is not in the workspace yet ({self._sender.trouble}); it is kept in "
                f"{self._spool.path} and sent when the workspace is used again",
                stacklevel=4,
            )
        self._sender.close(self._spool)
        with suppress(Exception):
            found = self.ws.graph.get(self.run.id)
            assert isinstance(found, Run)
            self.run = found


@contextmanager
def run(
    ws: Workspace,
    name: str,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    inputs: Sequence[Artifact | View] = (),
    experiment: str = "",
    system_metrics: float | None = None,
) -> Iterator[OwnRun]:
    """A run of the user's own code; an exception ends it as "failed" with its text and is raised on.

    experiment: the name of one, made where there is none. inputs: artifacts that it reads. system_metrics: seconds
    between samples of the processor, the memory and the GPUs, logged as "system/..."; None: none are taken.
    """
    first = str(ws.root) not in _opened_before
    _opened_before.add(str(ws.root))
    sender = Sender(ws.root / FOLDER, GraphSink(ws), first=first)
    pairs = [(item.name, item.id) for item in inputs]
    with (
        _opened(ws, sender, name, params=params, tags=tags or {}, inputs=pairs, experiment=experiment,
                parent=inside.get()) as made,
        Sampler(made.log, system_metrics),
    ):  # fmt: skip
        yield made


def recover(ws: Workspace) -> list[str]:
    """Send what runs of dead processes on this machine left behind; returns their ids."""
    return Sender(ws.root / FOLDER, GraphSink(ws)).recover()


@contextmanager
def _opened(
    ws: Workspace,
    sender: Sender,
    name: str,
    *,
    params: Mapping[str, Any] | None,
    tags: Mapping[str, str],
    inputs: Sequence[tuple[str, str]],
    experiment: str,
    parent: str | None,
) -> Iterator[OwnRun]:
    run_id = new_id()
    alive = _lease(ws, run_id)
    hidden = {PROCESS: f"{socket.gethostname()}/{os.getpid()}"} if alive is not None else {}
    if ws.clock is not None:
        hidden["clock"] = ws.clock.isoformat()
    header = Run(
        id=run_id,
        kind=OWN,
        name=name,
        status="running",
        started_at=utc_now(),
        params=dict(params or {}),
        tags={**tags, **hidden},
        parent=parent,
        actor=ws.settings.who,
    )
    made = OwnRun(ws, header, sender, sender.open(run_id))
    made._experiment = experiment
    given = {
        name: getattr(header, name) for name in ("id", "kind", "name", "status", "params", "tags", "parent", "actor")
    }
    given["started_at"] = iso(header.started_at)
    made._append({"k": "start", "run": given, "inputs": list(inputs), "experiment": experiment})
    try:
        yield made
    except BaseException as error:
        made._end(error)
        raise
    else:
        made._end(None)
    finally:
        if alive is not None:
            with suppress(Exception):
                alive.release()


def _lease(ws: Workspace, run_id: str) -> Lease | None:
    """What says that the run's process lives; None where the database is away."""
    try:
        return locks.lease(ws, f"run/{run_id}")
    except Exception:
        return None


def _odd(number: float) -> str:
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"  # noqa: PLR0124  NaN
