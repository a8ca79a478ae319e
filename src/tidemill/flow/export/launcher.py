"""The text that stands in every exported file: how a task of another orchestrator asks ours, and ends it in time.

It runs in the orchestrator's own interpreter, which has no Tidemill, so it imports nothing but the standard library.
"""

import json
import os
import signal
import subprocess
from typing import Any


def ask(request: dict[str, Any], timeout_s: float | None = None) -> Any:
    """Run a request with the interpreter that has Tidemill and the program; its messages go to stderr."""
    command = [os.environ.get("TIDEMILL_PYTHON", "python3"), "-m", "tidemill.flow.export.task"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        answer, _ = process.communicate(json.dumps(request), timeout=timeout_s)
    except BaseException:  # a timeout, a cancellation: the step's whole process group ends with it
        for number, wait_s in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(process.pid, number)
                process.wait(wait_s)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        raise
    if process.returncode != 0:
        raise RuntimeError(f"{request['do']} {request.get('of', '')} failed; the log above says why")
    return json.loads(answer)
