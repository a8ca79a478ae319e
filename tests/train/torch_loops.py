"""What a user would write to train with PyTorch. Needs torch: imported by tests that have it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn


def build(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.Dropout(0.2), nn.ReLU(), nn.Linear(width, 1))


def data() -> tuple[Any, Any]:
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(256, 2, generator=draw)
    return x, (x[:, :1] * x[:, 1:]).sign()


def train(module: nn.Module, rows: Any, job: Any, *, rate: float = 0.01, epochs: int = 6, marks: str = "") -> None:
    """Dropout and shuffling draw from PyTorch's global generator, momentum is in the optimizer: all must go on."""
    x, y = (each.to(job.device) for each in rows)
    adam = torch.optim.Adam(module.parameters(), rate)
    slower = torch.optim.lr_scheduler.StepLR(adam, 2, 0.5)
    for epoch in range(job.resume(module=module, optimizer=adam, schedule=slower), epochs):
        if marks:
            mark = Path(marks) / str(epoch)
            first = not mark.exists()
            mark.touch()
            if epoch == 3 and first:
                time.sleep(60)
        for part in torch.randperm(len(x)).split(64):
            adam.zero_grad()
            loss = nn.functional.mse_loss(module(x[part]), y[part])
            loss.backward()
            adam.step()
        slower.step()
        job.log("loss", loss.item(), epoch + 1)
        job.save(epoch + 1, module=module, optimizer=adam, schedule=slower)
    job.log("loss", loss.item())


# What a test kills in the middle: `python torch_loops.py <workspace> <marks>`.
if __name__ == "__main__":
    import sys

    import torch_loops

    from tidemill.core.workspace import open_workspace
    from tidemill.train.torching import fit_torch

    fit_torch(
        open_workspace(sys.argv[1]),
        torch_loops.build,
        torch_loops.train,
        torch_loops.data(),
        params={"marks": sys.argv[2]},
        seed=7,
        device="cpu",
    )
