"""A search on a Ray cluster: the same trials as in one process."""

import os

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # servers on 127.0.0.1 only

import search_fits as fits
from test_search import RECIPE, trials

from tidemill.flow.engines import ray as rays
from tidemill.train.tuning.tune import tune

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # the warnings are Ray's own
    pytest.mark.xdist_group("ray"),  # one cluster at a time
]

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


def test_trials_on_ray_are_the_trials_of_one_process(ws, flights, train, valid, engine):
    def tuned(**options):
        return tune(
            ws, fits.linear, train, valid, RECIPE, target="late", key="id", time="at", trials=4, sampler="random",
            inputs=(flights,), **options,
        )  # fmt: skip

    tuned(plan_digest="there", engine=engine)
    there = {run.params["c"]: run.metrics["auc"] for run in trials(ws)}
    tuned(plan_digest="here")
    assert {run.params["c"]: run.metrics["auc"] for run in trials(ws)[4:]} == there
    assert len(there) == 4
