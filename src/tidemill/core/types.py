"""The records that phases meet in: runs, artifacts, what joins them, and typed views of the artifacts' kinds.

Everything that ever happened is a Run; everything that it read or made is an Artifact; a run has inputs and outputs and
nothing else is an edge. Mutable things are events (Event) with a current value derived from the last one of a subject.
All records are frozen. Times are UTC. `meta`, `params` and `body` hold JSON values only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tidemill.core.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

# Any below stands for a JSON value: a recursive alias would turn each read of a record into a cast.
Json = Mapping[str, Any]
Status = Literal["running", "done", "failed", "cancelled"]
Role = Literal["in", "out"]
Direction = Literal["down", "up"]


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of anything: an import, a cleaning, a fit, a trial, a deployment, a monitor check, a promotion.

    kind: the verb, dotted ("data.import", "train.trial"); name: what it worked on ("flights").
    key: the cache key: equal keys mean equal outputs; None where a run is not to be found again.
    code: digest of the code that ran, its text is in the store; environment: digest of the JSON that describes Python,
    distributions and machine, in the store. cpu_s: CPU seconds of this process and its children, seen at the end.
    """

    id: str
    kind: str
    name: str
    status: Status
    started_at: datetime
    ended_at: datetime | None = None
    key: str | None = None
    params: Json = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    environment: str | None = None
    parent: str | None = None
    actor: str = "local"
    error: str | None = None
    cpu_s: float | None = None

    @property
    def duration_s(self) -> float | None:
        """Wall-clock seconds, None while it runs."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


class Trails(Protocol):
    """What an artifact needs to answer `.trace()`: a graph."""

    def trail(self, node_id: str, direction: Direction, *, depth: int | None = None) -> Trail:
        """See Graph.trail."""
        ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something immutable that a run read or made: named, versioned, identified by the digest of its content.

    kind: "dataset", "labels", "recipe", "profile", "model", "deployment", "predictions", "report", "code" ...
    version: 1, 2, 3 ... within (kind, name). digest: of the content; bytes of that digest are in the store unless the
    kind says otherwise (a dataset's rows are in a table, `meta` says where).
    """

    id: str
    kind: str
    name: str
    version: int
    digest: str
    created_at: datetime
    run_id: str | None = None
    meta: Json = field(default_factory=dict)
    graph: Trails | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """How people read it: kind/name@version."""
        return f"{self.kind}/{self.name}@{self.version}"

    def trace(self, *, depth: int | None = None) -> Trail:
        """All that it came from, down to imports."""
        return self._trails().trail(self.id, "down", depth=depth)

    def impact(self, *, depth: int | None = None) -> Trail:
        """All that came from it."""
        return self._trails().trail(self.id, "up", depth=depth)

    def _trails(self) -> Trails:
        if self.graph is None:
            raise LookupError(
                f"{self.label} was not read from a graph; get it from a project: mill.lineage.get({self.id!r})"
            )
        return self.graph


@dataclass(frozen=True, slots=True)
class Edge:
    """A run read ("in") or made ("out") an artifact; `slot` names the part it played ("train", "recipe")."""

    run_id: str
    artifact_id: str
    role: Role
    slot: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the append-only, hash-chained log.

    hash = SHA-256 of the canonical JSON of (prev, seq, at, actor, subject, kind, key, body as JSON text). `key` makes
    it idempotent.
    """

    seq: int
    at: datetime
    actor: str
    subject: str
    kind: str
    body: Json
    prev: str
    hash: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append; see `Graph.record`."""

    subject: str
    kind: str
    body: Json
    actor: str = "local"
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Many records for one transaction (`Graph.write`): runs, (slot, artifact) pairs, edges, then events.

    An edge may name the id of one of the batch's artifacts, even where that content is recorded already.
    """

    runs: Sequence[Run] = ()
    artifacts: Sequence[tuple[str, Artifact]] = ()
    edges: Sequence[Edge] = ()
    events: Sequence[NewEvent] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric series: step is the training step, epoch or window number; at is when."""

    key: str
    value: float
    step: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Trail:
    """The part of the graph reached from `root`: artifacts and runs in breadth-first order, and the edges walked."""

    root: str
    direction: Direction
    runs: tuple[Run, ...]
    artifacts: tuple[Artifact, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that a verification found: where, and what is wrong with it."""

    where: str
    what: str


# ------------------------------------------------------------------------------------------- typed views of artifacts


@dataclass(frozen=True, slots=True)
class View:
    """A typed reading of one artifact's `meta`; two views are equal when their artifacts are."""

    artifact: Artifact

    @property
    def id(self) -> str:
        """The artifact's id."""
        return self.artifact.id

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.artifact.name

    @property
    def version(self) -> int:
        """The artifact's version."""
        return self.artifact.version

    @property
    def digest(self) -> str:
        """The digest of the content."""
        return self.artifact.digest

    def trace(self, *, depth: int | None = None) -> Trail:
        """All that it came from."""
        return self.artifact.trace(depth=depth)

    def impact(self, *, depth: int | None = None) -> Trail:
        """All that came from it."""
        return self.artifact.impact(depth=depth)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A table at one version, with what must be found there: `Tables.scan(pinned)` returns exactly that or raises.

    version: of the Delta table. digest: 32 hexadecimal digits, a sum over rows: independent of layout and order.
    """

    table: str
    version: int
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class DatasetVersion(View):
    """A dataset at one version. Artifact kind "dataset"; meta as written by `data.datasets`.

    meta: table, table_version, rows, columns {name: dtype}, key (row id column), event_time and
    known_time (column names, or None), parent (artifact id, or None), message, added (rows added by this version),
    first_known (ISO: when the first of the added rows became known, or None). Optional: branch (absent: "main"), step
    ("append", "replace", "update", "columns", "delete", "revert", "merge"), merged (id of the version merged in),
    ordered (the digest depends on the order of the rows), layers (versioning.layers) and with them base {rows, digest}.
    """

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.artifact.meta["rows"])

    @property
    def columns(self) -> Mapping[str, str]:
        """Name to Polars dtype, as text."""
        return dict(self.artifact.meta["columns"])

    @property
    def key(self) -> str:
        """The column that identifies a row."""
        return str(self.artifact.meta["key"])

    @property
    def event_time(self) -> str | None:
        """The column that says when it happened."""
        value = self.artifact.meta.get("event_time")
        return None if value is None else str(value)

    @property
    def known_time(self) -> str | None:
        """The column that says from when on it could be known."""
        value = self.artifact.meta.get("known_time")
        return None if value is None else str(value)

    @property
    def pinned(self) -> Pinned:
        """The base table, and what must be found there: all of the rows, unless `meta["layers"]` lie over it.

        `data.datasets.scan` reads the rows of any version.
        """
        meta = self.artifact.meta
        base = meta.get("base") or {"rows": meta["rows"], "digest": self.digest}
        return Pinned(str(meta["table"]), int(meta["table_version"]), int(base["rows"]), str(base["digest"]))


@dataclass(frozen=True, slots=True)
class ModelVersion(View):
    """A registered, packaged, signed model. Artifact kind "model"; meta as written by `serve.registry`.

    meta: package (digest of the manifest in the store), recipe, profile, estimator, params, metrics, target, schema,
    data_time (ISO: training rows known until), format ("onnx" or "native").
    """

    @property
    def package(self) -> str:
        """Digest of the package's manifest. Raises BadInput for a version that was registered with files alone."""
        try:
            return str(self.artifact.meta["package"])
        except KeyError:
            raise BadInput(
                f"{self.artifact.label} is no package that can be checked and served: it was registered with files "
                "alone; fit it with Tidemill, or download its files and load them as they were logged"
            ) from None

    @property
    def metrics(self) -> Mapping[str, float]:
        """Scores on the test rows at registration."""
        return dict(self.artifact.meta.get("metrics", {}))


@dataclass(frozen=True, slots=True)
class Deployment(View):
    """One revision of a deployment. Artifact kind "deployment"; version = revision.

    meta: model (artifact id), package (digest), url or None. The traffic between revisions is an event of subject
    "deployment/<name>", kind "traffic": body {"champion": revision, "canary": revision|None, "share": 0..1,
    "shadow": revision|None}.
    """

    @property
    def revision(self) -> int:
        """Number of the revision."""
        return self.version

    @property
    def model_id(self) -> str:
        """The model version that answers."""
        return str(self.artifact.meta["model"])


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who answers a deployment's requests. Revisions are numbers; share is the canary's, 0..1."""

    champion: int
    canary: int | None = None
    share: float = 0.0
    shadow: int | None = None

    def body(self) -> dict[str, Any]:
        """As the body of an event."""
        return {"champion": self.champion, "canary": self.canary, "share": self.share, "shadow": self.shadow}

    @staticmethod
    def of(body: Json) -> Traffic:
        """From the body of an event."""
        return Traffic(body["champion"], body.get("canary"), float(body.get("share", 0.0)), body.get("shadow"))


@dataclass(frozen=True, slots=True)
class Prediction:
    """One durable record of one answer, as the prediction log holds it (JSON, one segment record each).

    id: of the prediction, the same when a request with the same row key is repeated to the same deployment.
    at: the time for which the caller asked (its clock; features were known then); logged_at: the server's clock.
    role: "live" answered the caller, "shadow" did not. score: probability of the positive class.
    features: the raw input row as received. latency_s: from parsed request to encoded answer, per request.
    """

    id: str
    deployment: str
    revision: int
    model_id: str
    row_key: str
    at: str
    logged_at: str
    role: Literal["live", "canary", "shadow"]
    score: float
    features: Json
    latency_s: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a monitor saw. In the graph: an event of subject "alert/<deployment>", kind "raised".

    what: "input drift", "score drift", "performance", "latency", "errors", "missing truth". at: the simulated or real
    day's end. evidence: the statistic, p-value, threshold, column; of an input drift such lines as "columns".
    """

    deployment: str
    what: str
    at: datetime
    text: str
    evidence: Json


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows ready for an estimator.

    X: shape (n, d), float64, C-contiguous, NaN where a recipe leaves a value missing. y: shape (n,), float64 (0/1 for a
    binary target). names: the d feature names. keys: shape (n,), the row ids, text. times: shape (n,), event times as
    microseconds since 1970 UTC, int64; zeros where rows have no event time.
    """

    X: np.ndarray[Any, np.dtype[np.float64]]
    y: np.ndarray[Any, np.dtype[np.float64]]
    names: tuple[str, ...]
    keys: np.ndarray[Any, np.dtype[Any]]
    times: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class Query:
    """What to find in a graph. All given fields must match; newest first.

    what: "run" or "artifact". kind: exact, or a prefix ending in ".*". key: the run's cache key. keys: runs whose cache
    key is one of these (mind `limit`). status: the run's. version: the artifact's. digest: the artifact's. run:
    artifacts made by that run. parent: runs inside that run. text: a part of the name. before: only ids smaller than
    this one (the next page). limit: at most so many.
    """

    what: Literal["run", "artifact"]
    kind: str | None = None
    name: str | None = None
    key: str | None = None
    status: Status | None = None
    version: int | None = None
    digest: str | None = None
    run: str | None = None
    parent: str | None = None
    text: str | None = None
    before: str | None = None
    limit: int = 100
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation of a column, as data: kind "unique", "between", "not_null", "one_of", "matches", and arguments.

    `tidemill.core.checks` makes and evaluates them.
    """

    kind: str
    column: str
    args: Sequence[Any] = ()
    severity: Literal["error", "warn"] = "error"
