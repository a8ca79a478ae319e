"""Optuna's own storage suite over our graphs, and what it doesn't ask: processes that share a study, and die."""

import os
import signal
import subprocess
import sys
import threading
import time

import optuna
import pytest
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from tidemill.core.types import Query
from tidemill.core.workspace import open_workspace
from tidemill.train.tuning.storage import GraphStorage


class TestOverSqlite(StorageTestCase):
    @pytest.fixture
    def storage(self, ws):
        made = GraphStorage(ws)
        yield made
        made.close()


class TestOverPostgres(StorageTestCase):
    @pytest.fixture
    def storage(self, new_database, tmp_path, monkeypatch):
        monkeypatch.setenv("TIDEMILL_STATE_FOLDER", str(tmp_path / "state"))
        ws = open_workspace(new_database())
        made = GraphStorage(ws)
        yield made
        made.close()
        ws.close()


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def squared(trial):
    return trial.suggest_float("x", -1, 1) ** 2


def study_in(ws, **options):
    return optuna.create_study(
        storage=GraphStorage(ws), study_name="squares", load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(seed=0), **options,
    )  # fmt: skip


def test_a_trial_that_ended_is_a_run(ws):
    study = study_in(ws)
    study.optimize(squared, n_trials=3)
    runs = ws.graph.find(Query("run", kind="train.trial"))[::-1]
    assert [run.params for run in runs] == [trial.params for trial in study.trials]
    assert [run.metrics["value"] for run in runs] == [trial.value for trial in study.trials]
    assert {run.status for run in runs} == {"done"}
    assert ws.graph.verify() == []


def test_what_one_process_wrote_another_reads(ws):
    first = study_in(ws)
    first.optimize(squared, n_trials=3)
    with open_workspace_again(ws) as other:
        assert [trial.params for trial in study_in(other).trials] == [trial.params for trial in first.trials]


def test_the_one_writer_of_a_study_lets_a_second_in(ws):
    first = study_in(ws)
    first.optimize(squared, n_trials=2)
    with open_workspace_again(ws) as other:
        second = study_in(other)
        second.optimize(squared, n_trials=2)
        first.optimize(squared, n_trials=2)
        assert [trial.number for trial in second.trials] == [0, 1, 2, 3, 4, 5]
        assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]


def test_threads_and_storages_at_once_lose_no_trial(ws):
    with open_workspace_again(ws) as other:
        studies = [study_in(ws), study_in(other), study_in(ws)]
        threads = [threading.Thread(target=study.optimize, args=(squared, 10)) for study in studies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [trial.number for trial in studies[0].trials] == list(range(30))
        assert [trial.state for trial in studies[1].trials] == [TrialState.COMPLETE] * 30


def test_who_reads_that_another_asked_to_share_waits_for_the_writer_too(ws):
    one, two, three = studies = [study_in(ws) for _ in range(3)]
    first, second, third = (study._storage for study in studies)
    one.ask()  # the one writer, which has not written it yet
    study_id = one._study_id
    with first.log.lock:  # it does not answer
        asking = threading.Thread(target=two.ask)
        asking.start()
        while not ws.graph.events(f"study/{study_id}", kind="share"):
            time.sleep(0.01)
        third.log.read(study_id)
        reading = threading.Thread(target=three.ask)
        reading.start()
        time.sleep(0.3)
        assert asking.is_alive()
        assert reading.is_alive()
    asking.join()
    reading.join()
    owners = [log.read(study_id).owners for log in (first.log, second.log, third.log)]
    assert owners[0] == owners[1] == owners[2]
    assert owners[0][0] == first.log.me
    assert len(owners[0]) == 3


PROGRAM = """
import sys, time, optuna
from tidemill.core.workspace import open_workspace
from tidemill.train.tuning.storage import GraphStorage

def slow(trial):
    x = trial.suggest_float("x", -1, 1)
    storage.remove_session()  # which makes its parameter durable
    print(trial.number, flush=True)
    time.sleep(float(sys.argv[2]))
    return x * x

storage = GraphStorage(open_workspace(sys.argv[1]))
study = optuna.create_study(storage=storage, study_name="squares", load_if_exists=True)
study.optimize(slow, n_trials=int(sys.argv[3]))
"""


def start(ws, sleep_s, trials):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(ws.root), str(sleep_s), str(trials)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ,
    )  # fmt: skip


def test_the_trial_of_a_killed_process_is_queued_again_with_its_parameters(ws):
    killed = start(ws, 60, 1)
    assert killed.stdout.readline() == "0\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    other = start(ws, 0.2, 8)
    other.communicate(timeout=120)
    assert other.returncode == 0
    first, *rest = study_in(ws).trials
    assert first.state is TrialState.FAIL
    (again,) = [trial for trial in rest if trial.system_attrs.get("requeued_from") == 0]
    assert (again.params, again.state) == (first.params, TrialState.COMPLETE)
    assert [trial.number for trial in rest] == list(range(1, len(rest) + 1))


def test_the_trial_of_a_process_that_lives_is_left_alone(ws):
    living = start(ws, 60, 1)
    assert living.stdout.readline() == "0\n"
    storage = GraphStorage(ws)
    assert storage.requeue_stale(storage.get_study_id_from_name("squares")) == []
    living.kill()
    living.communicate()
    assert storage.requeue_stale(storage.get_study_id_from_name("squares")) == [0]
    assert storage.requeue_stale(storage.get_study_id_from_name("squares")) == []
    storage.close()


class open_workspace_again:
    """The same workspace on connections of its own, as another process has it."""

    def __init__(self, ws):
        self.ws = open_workspace(ws.root)

    def __enter__(self):
        return self.ws

    def __exit__(self, *_):
        self.ws.close()
