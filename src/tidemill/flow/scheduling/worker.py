"""The process of one execution: `python -m tidemill.flow.scheduling.worker WORKSPACE RUN [--store STORE]`.

A scheduler starts it in the execution's folder, with its actor as TIDEMILL_ACTOR. It loads the pipeline from the run's
tag "entry", runs it from where it stands, and ends: with 0 when the execution ended well or is parked, 1 when it
failed, 2 when somebody else has it. An entry that cannot be loaded ends the execution as failed: no worker is lost.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from tidemill.core import extend, logs
from tidemill.core.engine import Engine
from tidemill.core.errors import Busy, NoRoom, ServerFailed, TidemillError
from tidemill.core.ids import utc_now
from tidemill.core.locks import lease
from tidemill.core.types import Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow import entries
from tidemill.flow.executing import execution

ENGINE = "pool"
FAILED, TAKEN = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one execution; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m tidemill.flow.scheduling.worker", description=__doc__)
    parser.add_argument("workspace")
    parser.add_argument("run")
    parser.add_argument("--store")
    asked = parser.parse_args(arguments)
    ws = open_workspace(asked.workspace, store=asked.store, create=False)
    logs.set_up(ws.settings)
    try:
        return work(ws, asked.run)
    except TidemillError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return TAKEN
    finally:
        ws.close()


def work(ws: Workspace, run_id: str) -> int:
    """Run the execution of that id from where it stands; returns the process's exit code."""
    run = ws.graph.get(run_id)
    if not isinstance(run, Run) or run.status != "running":
        sys.stderr.write(f"{run_id} has ended, or is no execution\n")
        return TAKEN
    url = run.tags.get("engine", ENGINE)
    engine: Engine = extend.load("engine", url.partition("://")[0])(url)
    try:
        pipeline = entries.load(run.tags["entry"])
        done = execution.resume(ws, run.id, pipeline=pipeline, engine=engine)
    except (Busy, NoRoom, ServerFailed):
        raise  # nothing of the execution's: a later worker may have more luck
    except Exception as error:  # a user's module, or a parameter, may be wrong in any way
        traceback.print_exc()
        _end(ws, run.id, error)
        return FAILED
    finally:
        engine.close()
    return FAILED if done.status in ("failed", "cancelled") else 0


def _end(ws: Workspace, run_id: str, error: Exception) -> None:
    """End an execution that could not be begun: another worker would fail at the same."""
    with lease(ws, f"flow/{run_id}") or nullcontext() as held:
        run = ws.graph.get(run_id)
        if held is not None and isinstance(run, Run) and run.status == "running":
            text = f"{type(error).__name__}: {error}"
            ws.graph.put_run(replace(run, status="failed", ended_at=utc_now(), error=text))


if __name__ == "__main__":
    sys.exit(main())
