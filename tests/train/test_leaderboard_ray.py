"""A leaderboard on a Ray cluster: the same table as in one process."""

import os

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # servers on 127.0.0.1 only

import board_fits as fits
from test_leaderboard import RECIPE

from tidemill.flow.engines import ray as rays
from tidemill.train.selecting.candidates import candidates
from tidemill.train.selecting.leaderboard import leaderboard

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # the warnings are Ray's own

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def engine():
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=2, node_ip_address="127.0.0.1", include_dashboard=False, object_store_memory=80 * 2**20)
    made = rays.open_engine(f"ray://{cluster.address}")
    yield made
    made.close()
    cluster.shutdown()


def test_a_table_from_ray_is_that_of_one_process(ws, flights, train, valid, engine):
    def board(**options):
        given = [*candidates("classification", include=["tree", "logistic"]), fits.plain, fits.breaks]
        return leaderboard(
            ws, given, train, valid, RECIPE, target="late", key="id", time="at", inputs=(flights,), **options
        )

    there, here = board(plan_digest="there", engine=engine), board(plan_digest="here")
    assert [line.cached for line in here.lines] == [False] * 5
    assert [(line.name, line.standing) for line in there.lines] == [(line.name, line.standing) for line in here.lines]
    assert there.line("breaks").error == "RuntimeError: no luck"
