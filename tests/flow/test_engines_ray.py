"""The Ray engine passes the public suite on a real cluster of two nodes, of which workers and one node are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ray_clusters import two_nodes
from tidemill.core.engine import Engine, Resources
from tidemill.core.errors import BadInput, ServerFailed
from tidemill.flow.engines import ray as rays
from tidemill.flow.engines.calls import outcome, pack
from tidemill.flow.engines.pool import PoolEngine
from tidemill.testing.engines import EngineSuite, double, gone, touch_and_sleep, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # the warnings are Ray's own
    pytest.mark.xdist_group("ray"),  # one cluster at a time
]

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes({"num_cpus": 2, "memory": 2 * 2**30}, {"num_cpus": 1, "num_gpus": 2, "memory": 2**30}) as made:
        yield made


@pytest.fixture(scope="module")
def engine(cluster: Any) -> Iterator[Engine]:
    made = rays.open_engine(f"ray://{cluster.address}")
    yield made
    made.close()


class TestRay(EngineSuite):
    def whole(self, engine: Engine) -> Resources:
        return Resources(cpu=2)  # the head's, and the second node has one


def kill_the_ray_worker(_: int) -> int:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
    return 0


def write_pids_and_sleep(path: str) -> int:
    """Ours and the Ray worker's."""
    Path(f"{path}.new").write_text(f"{os.getpid()} {os.getppid()}")
    Path(f"{path}.new").rename(path)
    time.sleep(60)
    return 0


def test_it_has_what_its_nodes_have(engine: Engine) -> None:
    assert engine.resources() == Resources(cpu=3.0, gpu=2.0, memory_bytes=3 * 2**30)
    # three cores there are, but no node has them
    with pytest.raises(BadInput, match="task 'double' asks for 3 cores and 0 GPUs; this engine has 2 and 0"):
        engine.submit(double, 1, needs=Resources(cpu=3))


def seen_gpus(_: int) -> str | None:
    time.sleep(1)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_each_gpu_is_one_tasks_at_a_time(engine: Engine) -> None:
    one = Resources(cpu=0.5, gpu=1)
    tasks = [engine.submit(seen_gpus, number, needs=one) for number in range(2)]
    assert sorted(str(task.result(60)) for task in tasks) == ["0", "1"]


def test_all_nodes_listen_on_this_machine_only(engine: Engine) -> None:
    import psutil

    daemons = [each for each in psutil.Process().children(recursive=True) if each.name() in ("raylet", "gcs_server")]
    assert len(daemons) == 3
    open_to = {
        link.laddr.ip for each in daemons for link in each.net_connections("inet") if link.status == psutil.CONN_LISTEN
    }
    assert open_to <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_killed_ray_worker_fails_its_own_task_and_no_other(engine: Engine) -> None:
    lost = engine.submit(kill_the_ray_worker, 1, name="lost")
    others = [engine.submit(double, number) for number in range(4)]
    with pytest.raises(ServerFailed, match="a Ray worker or its node ended in the middle of task 'lost'"):
        lost.result(60)
    assert [task.result(60) for task in others] == [0, 2, 4, 6]


def test_a_function_of_main_travels_as_code(engine: Engine, cluster: Any) -> None:
    program = (
        "from tidemill.flow.engines.ray import open_engine\n"
        "def triple(number):\n    return 3 * number\n"
        f"engine = open_engine('ray://{cluster.address}')\n"
        "print(engine.submit(triple, 14).result(60))\n"
        "engine.close()\n"
    )
    assert run_python(program) == "42\n"


def test_a_killed_node_fails_its_tasks_and_the_rest_go_on(engine: Engine, cluster: Any, tmp_path: Path) -> None:
    tasks = [engine.submit(write_pids_and_sleep, str(tmp_path / f"pids{number}")) for number in range(3)]
    assert wait_until(lambda: len(list(tmp_path.glob("pids?"))) == 3, 60)  # all three cores are busy, one of the second
    (second,) = cluster.worker_nodes
    cluster.remove_node(second, allow_graceful=False)
    assert wait_until(lambda: any(task.done() for task in tasks), 60)
    (at,) = [number for number, task in enumerate(tasks) if task.done()]
    with pytest.raises(
        ServerFailed, match="a Ray worker or its node ended in the middle of task 'write_pids_and_sleep'"
    ):
        tasks[at].result(0)
    assert wait_until(lambda: all(gone(int(pid)) for pid in (tmp_path / f"pids{at}").read_text().split()), 5)
    for task in tasks:
        engine.cancel(task)
    assert engine.submit(double, 4).result(60) == 8
    assert wait_until(lambda: engine.heartbeat() == 0 and engine.resources().cpu == 2, 30)


def test_a_call_that_is_cancelled_while_it_is_handed_on_ends_too(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pids"
    submit = PoolEngine.submit_packed

    def interrupted(pool: PoolEngine, order: Any, **options: Any) -> Any:
        submit(pool, order, **options)
        assert wait_until(path.exists)
        raise KeyboardInterrupt  # what Ray does to the main thread of a worker, at any moment

    monkeypatch.setattr(PoolEngine, "submit_packed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rays.perform_on_node(pack(touch_and_sleep, str(path), "sleeper"), 60, "sleeper", ())
    assert all(gone(int(pid)) for pid in path.read_text().split())
    monkeypatch.undo()
    assert outcome(rays.perform_on_node(pack(double, 4, "double"), 60, "double", ())) == 8


def run_python(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    ).stdout


def test_a_cluster_of_this_process_alone_ends_with_it() -> None:
    program = (
        "import os\n"
        "from tidemill.core.engine import Resources\n"
        "from tidemill.flow.engines.ray import open_engine\n"
        "from tidemill.testing.engines import double\n"
        "engine = open_engine('ray://local?cpus=1')\n"
        "print(engine.resources().cpu, engine.submit(double, 3).result(60), engine._ray.util.get_node_ip_address())\n"
        "import psutil\n"
        "print(*[each.pid for each in psutil.Process().children(recursive=True)])\n"
    )
    said, pids = run_python(program).splitlines()
    assert said == "1.0 6 127.0.0.1"
    assert len(pids.split()) > 2
    assert wait_until(lambda: all(gone(int(pid)) for pid in pids.split()), 30)


def test_no_cluster_is_told_with_what_to_do() -> None:
    program = (
        "from tidemill.flow.engines.ray import open_engine\n"
        "try:\n    open_engine('ray://127.0.0.1:1')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    assert run_python(program) == (
        "BadInput engine 'ray://127.0.0.1:1': no Ray cluster answers ([Errno 111] Connection refused); start one with "
        "`ray start --head --node-ip-address=127.0.0.1`, name one by ray://host:6379, "
        "or have one for this process by ray://local\n"
    )


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(BadInput, match="engine 'ray://local\\?cpu=2': no option 'cpu'; known are cpus, working_dir"):
        rays.open_engine("ray://local?cpu=2")
