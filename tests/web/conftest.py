"""A workspace whose deployment has a history, and its pages on a real socket."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from serving import serving

import tidemill as tm
from tidemill.core.ids import iso
from tidemill.core.types import Traffic
from tidemill.data import datasets
from tidemill.data.catalogue import governance
from tidemill.data.feature_store import features
from tidemill.data.filesets import files
from tidemill.data.quality import contract, contracts
from tidemill.data.transfer import importing
from tidemill.data.versioning import branches
from tidemill.improve.watching import watch_day
from tidemill.serve import deploy
from tidemill.watch import log

TOKEN = "the token of the page tests, 0123"
BEGIN = datetime(2013, 4, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 6
PNG = base64.b64decode(  # one transparent pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def logistic(train: tm.Matrix, strength: float = 1.0) -> Any:  # Any: an estimator
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength).fit(train.X, train.y)


def rows() -> pl.DataFrame:
    """One an hour from thirty days before BEGIN to DAYS after it; a name that must be escaped is among them."""
    random = np.random.default_rng(3)
    hours = (30 + DAYS) * 24
    length = random.uniform(0, 10, hours)
    return pl.DataFrame(
        {
            "id": [f"row {number}" for number in range(hours)],
            "begun": [BEGIN - 30 * DAY + timedelta(hours=number) for number in range(hours)],
            "length": length,
            "port": [("Brest", "<b>Bari</b>")[number % 2] for number in range(hours)],
            "late": (length + random.normal(0, 2, hours) > 5).astype(int),
        }
    )


def play(mill: tm.Project) -> None:
    """Six days of answers with their truth: a second model takes over, and is rolled back."""
    mill.add("tides", rows(), key="id", event_time="begun", known_time="begun", message="a month & six days")
    past, live = mill.dataset("tides").split(time=[BEGIN])
    train, test = past.split(time=[BEGIN - 8 * DAY])
    recipe = tm.recipe(tm.scale("length"), tm.one_hot("port"))

    def build(project: tm.Project, strength: float = 1.0) -> tm.ModelVersion:
        fitted = project.fit(logistic, train, recipe, target="late", params={"strength": strength})
        return project.register(fitted, "tides", on=test, slices=["port"])

    first = build(mill)
    mill.evaluate(first, on=test, slices=["port", "length"], groups=["port"], costs={"false_negative": 4})
    served = deploy.deploy(mill.at(BEGIN).ws, first, name="tides", lifetime="parent")
    monitor = tm.Monitor("tides", min_rows=20, p95_ms=0.0001)
    for number in range(DAYS):
        day = BEGIN + number * DAY
        if number == 2:
            second = deploy.add_revision(mill.at(day).ws, "tides", build(mill.at(day), 1e-4))
            deploy.set_traffic(mill.at(day).ws, "tides", Traffic(second.revision, shadow=1), why="a <quick> trial")
        if number == 4:
            deploy.set_traffic(mill.at(day).ws, "tides", Traffic(1), why="it was worse")
        asked = live.where(since=day, until=day + DAY).frame()
        sent = asked.drop("late").with_columns(pl.col("begun").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_dicts()
        served.predict(sent, keys=asked["id"].to_list(), at=[row["begun"] for row in sent])
        truth = asked.select(row_key="id", value="late", known_time=pl.lit(day + DAY - timedelta(hours=1)))
        mill.at(day + DAY).deployments.truth("tides", truth)
        log.compact(mill.at(day + DAY).ws, "tides")
        watch_day(mill.at(day + DAY).ws, monitor, day, first, 1)
    loop = {"at": iso(BEGIN + DAY), "text": "tides@2 rebuilt, in the shadow"}
    mill.ws.graph.record("loop/tides", "shadow", loop, actor="loop")
    served.stop()


def manage(mill: tm.Project, folder: Path) -> None:
    """Guests with personal columns, a contract that keeps one out, a tag and a branch; pictures; a feature view."""
    ws = mill.ws
    guests = pl.DataFrame({"age": [36, 51], "guest": ["g1", "g2"], "email": ["ada@example.org", "bob@example.org"]})
    datasets.add(ws, "guests", guests, key="guest", message="two <guests>")
    governance.describe(ws, "guests", owner="ada", description="Who came", classification="confidential")
    governance.tag(ws, "guests", "email", "pii:email", "subject")
    contracts.set_contract(ws, "guests", contract.rules(["guest unique", "age between 0 130"]))
    late = pl.DataFrame({"age": [44, 444], "guest": ["g3", "g4"], "email": ["cy@example.org", "di@example.org"]})
    importing.add(ws, "guests", late, key="guest", message="later")
    datasets.update(ws, "guests", pl.DataFrame({"guest": ["g2"], "age": [52]}), message="a birthday")
    datasets.tag(ws, "guests", 2, "opening")
    branches.branch(ws, "guests", "trial")
    (folder / "seals").mkdir(parents=True)
    (folder / "seals" / "one.png").write_bytes(PNG)
    (folder / "notes.txt").write_text("a <b>note</b>")
    files.add_folder(ws, "pictures", folder)
    features.define(ws, features.View("port", (features.Source("tides", ("port",), ("length",)),)))


@pytest.fixture
def token() -> str:
    """What opens the pages. A fixture: every folder has a module named conftest, so none can be imported by name."""
    return TOKEN


@pytest.fixture(scope="session")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tm.Project]:
    with tm.open(tmp_path_factory.mktemp("web") / "tides.mill") as project:
        play(project)
        manage(project, tmp_path_factory.mktemp("pictures") / "folder")
        yield project


def listening(project: tm.Project) -> AbstractContextManager[str]:
    """Serve the pages from a thread; gives their address."""
    return serving(project, TOKEN)


@pytest.fixture(scope="session")
def address(mill: tm.Project) -> Iterator[str]:
    """Where the pages are served."""
    with listening(mill) as found:
        yield found


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[], AbstractContextManager[httpx.Client]]:
    """Serves an empty workspace to who is signed in."""

    @contextmanager
    def make() -> Iterator[httpx.Client]:
        headers = {"authorization": f"Bearer {TOKEN}"}
        with tm.open(tmp_path / "empty.mill") as project, listening(project) as at:  # noqa: SIM117  readable
            with httpx.Client(base_url=at, headers=headers, trust_env=False) as client:
                yield client

    return make


@pytest.fixture
def stranger(address: str) -> Iterator[httpx.Client]:
    """A browser without a cookie."""
    with httpx.Client(base_url=address, trust_env=False) as client:
        yield client


@pytest.fixture
def browser(stranger: httpx.Client) -> httpx.Client:
    """A browser that has followed the link of `tidemill up`."""
    assert stranger.get("/login", params={"token": TOKEN}).status_code == 303
    return stranger


@pytest.fixture
def paths(mill: tm.Project) -> dict[str, str]:
    """A path of each page, by what it is."""
    answer = mill.deployments.predictions("tides").to_dicts()[-1]["id"]
    fit = mill.lineage.runs(kind="train.fit")[0].id
    evaluation = mill.evaluate.of(mill.model("tides", 1))[0].id
    return {
        "overview": "/",
        "runs": "/runs",
        "run": f"/runs/{fit}",
        "datasets": "/datasets",
        "dataset": "/datasets/tides",
        "guests": "/datasets/guests",
        "profile": "/datasets/guests/profile",
        "diff": "/datasets/guests/diff?old=1",
        "card": "/datasets/guests/card",
        "contract": "/datasets/guests/contract",
        "files": "/datasets/pictures/files",
        "features": "/features",
        "feature": "/features/port",
        "audit": "/audit?subject=dataset/guests",
        "models": "/models",
        "model": "/models/tides/1",
        "evaluation": f"/evaluations/{evaluation}",
        "deployments": "/deployments",
        "deployment": "/deployments/tides",
        "prediction": f"/predictions/{answer}",
        "alerts": "/alerts",
        "trace": f"/trace/{answer}",
        "impact": f"/trace/{mill.dataset('tides').base.id}?direction=up",
    }
