"""A step that starts another process and takes too long."""

import os
import subprocess
import sys
from pathlib import Path

import tidemill as tm


@tm.step(timeout="3s", cache=False)
def slow() -> int:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    Path(os.environ["CHILD"]).write_text(str(child.pid))
    child.wait()
    return 1


@tm.pipeline(name="too-long")
def flow() -> int:
    return slow()
