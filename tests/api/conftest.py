"""A small workspace with everything in it, and the JSON API over it on a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import httpx
import polars as pl
import pytest
from trips_mill import FIRST, TOKEN, linear, listening, trips

import tidemill as tm
from tidemill.api import app as api
from tidemill.core.types import Alert
from tidemill.serve import deploy as deploying
from tidemill.watch import alerts, log


@pytest.fixture(scope="session")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tm.Project]:
    """Rows, a model with alias, a deployment that answered 200 rows, their truth, and an alert."""
    with tm.open(tmp_path_factory.mktemp("api") / "trips.mill") as project:
        project.add("trips", trips(), key="trip", event_time="begun", known_time="begun", message="first rows")
        train, test = project.dataset("trips").split(time=[FIRST - timedelta(days=12)])
        recipe = tm.recipe(tm.scale("distance"), tm.one_hot("borough"))
        fitted = project.fit(linear, train, recipe, target="late", params={"strength": 0.5})
        model = project.register(fitted, "trips", on=test, slices=["borough"])
        from tidemill.serve import registry

        registry.alias(project.ws, "trips", "champion", 1, why="the first one")
        served = deploying.deploy(project.ws, model, name="trips", lifetime="parent")
        asked = test.frame().drop("late").head(200)
        served.predict(asked.with_columns(pl.col("begun").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_dicts(),
                       keys=asked["trip"].to_list(), at=FIRST.isoformat())  # fmt: skip
        served.stop()
        log.compact(project.ws, "trips")
        known = test.frame().head(200).select(row_key="trip", value="late", known_time=pl.lit(FIRST))
        project.deployments.truth("trips", known)
        alerts.raise_alert(
            project.ws, Alert("trips", "latency", FIRST, "p95 latency 80 ms, allowed 50 ms", {"p95_ms": 80.0})
        )
        yield project


@pytest.fixture(scope="session")
def address(mill: tm.Project) -> Iterator[str]:
    """Where the API of `mill` answers."""
    with listening(api.create(mill, TOKEN)) as found:
        yield found


@pytest.fixture
def call(address: str) -> Iterator[Callable[..., httpx.Client]]:
    """Makes clients of the API; without a token, or with headers of your own."""
    with ExitStack() as stack:

        def make(token: str | None = TOKEN, **headers: str) -> httpx.Client:
            shown = headers if token is None else {"Authorization": f"Bearer {token}", **headers}
            return stack.enter_context(httpx.Client(base_url=address, headers=shown, trust_env=False))

        yield make


@pytest.fixture
def client(call: Callable[..., httpx.Client]) -> httpx.Client:
    """A client that shows the token."""
    return call()


@pytest.fixture
def prediction_id(mill: tm.Project) -> str:
    """The id of a logged answer."""
    return str(log.predictions(mill.ws, "trips")["id"][0])
