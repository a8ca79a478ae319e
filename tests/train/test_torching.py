"""PyTorch trainings: recorded, found again, and after a kill the same to the bit. Skipped without torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidemill.core.errors import BadInput, Busy, MissingExtra
from tidemill.core.locks import lease
from tidemill.core.types import Query
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.testing.engines import wait_until
from tidemill.train import states
from tidemill.train.torching import Trained, device_of, fit_torch


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "torch.mill")


def test_without_torch_the_extra_is_named(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]  what import sees where it is not there
    with pytest.raises(MissingExtra, match=r"a PyTorch training needs torch: pip install 'tidemill\[torch\]'"):
        fit_torch(ws, dict, dict, None)


class TestWithTorch:
    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        pytest.importorskip("torch", reason="PyTorch is an extra")

    def fit(self, ws: Workspace, **more: Any) -> Trained:
        import torch_loops

        given = {"seed": 7, "device": "cpu", **more}
        return fit_torch(ws, torch_loops.build, torch_loops.train, torch_loops.data(), **given)

    def bits(self, made: Trained) -> bytes:
        return states.encode(made.module.state_dict())

    def test_a_training_is_a_run_with_its_curve_and_weights(self, ws: Workspace) -> None:
        made = self.fit(ws, params={"rate": 0.02, "width": 16})
        assert (made.run.kind, made.run.name, made.run.status) == ("train.torch", "train", "done")
        assert made.run.params == {"rate": 0.02, "width": 16, "seed": 7, "device": "cpu"}
        assert made.run.metrics["parameters"] == 2 * 16 + 16 + 16 + 1
        losses = [point for point in ws.graph.series(made.run.id, "loss") if point.step]
        assert [point.step for point in losses] == [1, 2, 3, 4, 5, 6]
        assert losses[-1].value < losses[0].value
        assert states.encode(states.decode(ws.store.get(made.weights.digest))) == self.bits(made)

    def test_the_same_training_is_found_and_another_is_not(self, ws: Workspace) -> None:
        first = self.fit(ws)
        again = self.fit(ws)
        assert again.cached
        assert again.run == first.run
        assert self.bits(again) == self.bits(first)
        assert not self.fit(ws, seed=8).cached
        assert not self.fit(ws, params={"rate": 0.5}).cached

    def test_the_callers_random_numbers_are_left_alone(self, ws: Workspace) -> None:
        import torch

        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        self.fit(ws)
        assert torch.equal(torch.rand(3), expected)

    def test_a_killed_training_goes_on_and_ends_the_same_to_the_bit(self, ws: Workspace, tmp_path: Path) -> None:
        import torch_loops

        marks = tmp_path / "marks"
        marks.mkdir()
        program = subprocess.Popen(
            [sys.executable, torch_loops.__file__, ws.url, str(marks)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [str(Path(torch_loops.__file__).parent), os.environ.get("PYTHONPATH", "")]
                ),
            },
        )
        assert wait_until(lambda: (marks / "3").exists(), 120)
        program.send_signal(signal.SIGKILL)
        program.wait(10)
        for epoch in range(3):
            (marks / str(epoch)).unlink()
        made = self.fit(ws, params={"marks": str(marks)})
        assert made.resumed_at == 3
        assert sorted(mark.name for mark in marks.iterdir()) == ["3", "4", "5"]
        whole = self.fit(ws)  # never killed
        assert self.bits(made) == self.bits(whole)
        # the curve is whole too, and equal
        curves = [[(p.step, p.value) for p in ws.graph.series(each.run.id, "loss") if p.step] for each in (made, whole)]
        assert curves[0] == curves[1]
        (edge,) = [edge for edge in ws.graph.edges([made.run.id]) if edge.role == "in"]
        assert edge.slot == "resumed"

    def test_a_checkpoint_of_other_parts_is_refused(self, ws: Workspace) -> None:
        import torch_loops

        def loop(module: Any, rows: Any, job: Any) -> None:
            if job.resume(module=module) == 0:
                job.save(1, module=module, other=module)
                raise RuntimeError("stopped")

        with pytest.raises(RuntimeError, match="stopped"):
            fit_torch(ws, torch_loops.build, loop, None, device="cpu")
        with pytest.raises(
            BadInput, match=r"the checkpoint at step 1 holds module, other; resume\(\) was given module"
        ):
            fit_torch(ws, torch_loops.build, loop, None, device="cpu")
        assert {run.status for run in ws.graph.find(Query("run", kind="train.torch"))} == {"failed"}

    def test_an_unknown_parameter_is_named(self, ws: Workspace) -> None:
        with pytest.raises(
            BadInput,
            match=r"neither build\(\) nor train\(\) has a parameter 'rat'; they have width, rate, epochs, marks\. "
            "Did you mean 'rate'?",
        ):
            self.fit(ws, params={"rat": 1})

    def test_the_same_training_twice_at_once_is_refused(self, ws: Workspace) -> None:
        key = self.fit(ws).run.key
        assert key is not None
        with lease(ws, key) or pytest.fail("free"), pytest.raises(Busy, match="training 'train' with these inputs"):
            self.fit(ws)

    def test_a_device_that_is_not_there_is_named(self) -> None:
        import torch

        have = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
        assert device_of(torch, "auto") == have[-1]
        with pytest.raises(BadInput, match="device 'tpu' is not there; this machine has cpu"):
            device_of(torch, "tpu")
