"""`tidemill`: the entry point. Verbs are loaded when they are called, so that `tidemill --version` stays quick."""

from __future__ import annotations

import os
import sys

import click

from tidemill import __version__
from tidemill.cli.verbs import Verbs
from tidemill.core.errors import TidemillError

# verb: (module, the line in the help)
VERBS = {
    "init": ("init", "Make the workspace, if it is not there."),
    "demo": ("demo", "A real year of flights through all eight phases."),
    "up": ("up", "Serve the workspace's pages and API on this machine."),
    "doctor": ("doctor", "Whether this machine and this workspace are in order."),
    "config": ("config", "Settings and where they come from."),
    "dataset": ("dataset", "Datasets: versions, imports, files, contracts, governance."),
    "features": ("features", "Feature views: the join in time and the online look-up."),
    "role": ("role", "Who may see personal columns."),
    "flow": ("flow", "Pipelines: run, look, answer, schedule."),
    "why": ("flow", "Why a step ran and was not taken from the cache."),
    "scheduler": ("scheduler", "Start what is due and what waits, until stopped."),
    "export": ("export", "A pipeline as a file for Airflow or Kubeflow."),
    "runs": ("runs", "Everything that ever ran."),
    "leaderboard": ("leaderboard", "Which algorithm, and how sure that is."),
    "model": ("model", "Registered models."),
    "deployment": ("deployment", "Who answers, and how well."),
    "prediction": ("prediction", "One answer and all behind it."),
    "alerts": ("alerts", "What the monitors saw."),
    "label": ("label", "Labels that wait for a person."),
    "trace": ("lineage", "All that a thing came from."),
    "impact": ("lineage", "All that came from a thing."),
    "sweep": ("sweep", "Delete bytes that nothing refers to."),
    "lineage": ("lineage", "Runs as OpenLineage events."),
    "audit": ("audit", "The append-only log: verify it, read it, ask who did what."),
}

# What a place that the user named answers, wherever it is first touched.
UNUSABLE = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)


@click.group(cls=Verbs, sections={"Verbs": VERBS}, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidemill")
@click.option("--workspace", "-w", help="Folder or postgresql:// address of the workspace.")
@click.option("--store", help="Where bytes go: a folder or s3://bucket/prefix.")
@click.option("--log-level", help="debug, info, warning or error.")
@click.pass_context
def cli(ctx: click.Context, workspace: str | None, store: str | None, log_level: str | None) -> None:
    """Tidemill: the whole machine-learning lifecycle in one package."""
    ctx.obj = {"workspace": workspace, "store": store, "log_level": log_level}


def main() -> None:
    """Run a verb; errors of ours become one clear message and their exit code (1 no, 2 asked wrongly)."""
    debug = bool(os.environ.get("TIDEMILL_DEBUG"))
    try:
        code = cli.main(standalone_mode=False)  # an exit code where a verb asked for one
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader (head, less) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except TidemillError as error:
        if debug:
            raise
        click.echo(f"tidemill: {error}", err=True)
        sys.exit(error.exit_code)
    except UNUSABLE as error:
        if debug or error.filename is None:
            raise
        click.echo(f"tidemill: cannot use {error.filename}: {error.strerror}; choose another place", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
