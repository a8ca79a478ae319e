"""What the machine does while a run goes on: processor, memory, disk, network, GPUs, as metrics "system/..."."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tidemill.core.errors import BadInput

SHORTEST_S = 0.1
_GPU = "index,utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu"


class Sampler:
    """Samples every so many seconds while its body runs; every_s None: never. log: takes (key, value, step)."""

    def __init__(self, log: Callable[[str, float, int], object], every_s: float | None) -> None:
        if every_s is not None and every_s < SHORTEST_S:
            raise BadInput(f"system metrics every {every_s} s; give {SHORTEST_S} or more")
        self._log, self._every_s = log, every_s
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._gpus = shutil.which("nvidia-smi")

    def __enter__(self) -> Sampler:
        if self._every_s is not None:
            self._thread = threading.Thread(target=self._serve, name="tidemill machine", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _serve(self) -> None:
        assert self._every_s is not None
        before, step = _Counts.now(), 0
        while not self._over.wait(self._every_s):
            now = _Counts.now()
            for key, value in {**now.since(before), **_levels(), **self._gpu()}.items():
                self._log(f"system/{key}", value, step)
            before, step = now, step + 1

    def _gpu(self) -> dict[str, float]:
        if self._gpus is None:
            return {}
        found: dict[str, float] = {}
        command = [self._gpus, f"--query-gpu={_GPU}", "--format=csv,noheader,nounits"]
        with suppress(OSError, subprocess.SubprocessError, ValueError):
            text = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
            for line in text.splitlines():
                index, busy, used, total, power, warm = (part.strip() for part in line.split(","))
                for name, value in (("utilization_percentage", busy), ("power_usage_watts", power),
                                    ("temperature_celsius", warm)):  # fmt: skip
                    with suppress(ValueError):  # a card that does not say
                        found[f"gpu_{index}_{name}"] = float(value)
                found[f"gpu_{index}_memory_usage_megabytes"] = float(used) * 1.048576
                found[f"gpu_{index}_memory_usage_percentage"] = 100.0 * float(used) / float(total)
        return found


class _Counts:
    """Counters that only grow, by Linux's /proc; zero where there is none."""

    def __init__(self, at_s: float, own_s: float, busy: float, whole: float, network: tuple[float, float]) -> None:
        self.at_s, self.own_s, self.busy, self.whole, self.network = at_s, own_s, busy, whole, network

    @staticmethod
    def now() -> _Counts:
        busy, whole = 0.0, 0.0
        with suppress(OSError, ValueError):
            ticks = [float(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
            whole, busy = sum(ticks), sum(ticks) - ticks[3] - ticks[4]
        got, sent = 0.0, 0.0
        with suppress(OSError, ValueError, IndexError):
            for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
                name, _, rest = line.partition(":")
                if name.strip() != "lo":
                    counts = rest.split()
                    got, sent = got + float(counts[0]), sent + float(counts[8])
        own = resource.getrusage(resource.RUSAGE_SELF)
        return _Counts(time.monotonic(), own.ru_utime + own.ru_stime, busy, whole, (got, sent))

    def since(self, before: _Counts) -> dict[str, float]:
        took_s = max(self.at_s - before.at_s, 1e-9)
        found = {"process_cpu_percentage": 100.0 * (self.own_s - before.own_s) / took_s}
        if self.whole > before.whole:
            found["cpu_utilization_percentage"] = 100.0 * (self.busy - before.busy) / (self.whole - before.whole)
        for place, name in enumerate(("receive", "transmit")):
            found[f"network_{name}_megabytes"] = (self.network[place] - before.network[place]) / 1e6
        return found


def _levels() -> dict[str, float]:
    found: dict[str, float] = {}
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        found["process_memory_megabytes"] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    with suppress(OSError, ValueError, KeyError):
        lines = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        said = {name: float(value.split()[0]) for name, value in lines}
        used = said["MemTotal"] - said["MemAvailable"]
        found["system_memory_usage_megabytes"] = used * 1.024 / 1000
        found["system_memory_usage_percentage"] = 100.0 * used / said["MemTotal"]
    with suppress(OSError):
        disk = shutil.disk_usage("/")
        found["disk_usage_percentage"] = 100.0 * disk.used / disk.total
    return found
