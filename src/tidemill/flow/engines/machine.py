"""What this machine has for tasks: cores, GPUs, memory, within the limits of its container."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from tidemill.core.engine import Resources


@cache
def machine() -> Resources:
    """Cores that this process may use, NVIDIA GPUs it can see, bytes of memory of the machine or of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return Resources(cpu=float(cores), gpu=float(_gpus()), memory_bytes=_memory_bytes())


def _gpus() -> int:
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return len([each for each in shown.split(",") if each.strip() and each.strip() != "-1"])
    return sum(1 for each in Path("/dev").glob("nvidia[0-9]*") if each.name.removeprefix("nvidia").isdigit())


def _memory_bytes() -> int | None:
    limits: list[int] = []
    with suppress(ValueError, OSError, AttributeError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max", or no cgroup
            limits.append(int(Path(limit).read_text()))
    return min(limits, default=None)
