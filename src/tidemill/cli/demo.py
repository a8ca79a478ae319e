"""`tidemill demo`: runs examples/departures/departures.py."""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import click

from tidemill.cli.show import settings
from tidemill.core.errors import NotFound

EXAMPLE = Path("examples", "departures", "departures.py")


@click.command()
@click.option("--json", "json_", is_flag=True, help="Print the end's figures as one JSON object.")
@click.option("--months", type=click.IntRange(4, 12), default=12, show_default=True, help="Play until this month.")
@click.option("--port", type=int, default=0, help="Of the model server; 0 takes a free one.")
@click.pass_context
def demo(ctx: click.Context, json_: bool, months: int, port: int) -> None:
    """A real year of flights through all eight phases; killed and called again, it goes on where it was."""
    chosen = settings(ctx)
    workspace = chosen.workspace if "workspace" in chosen.origins else "departures.mill"
    # Threads of OpenMP spin while they wait: for a moment only, since fits share the cores with the model server. On a
    # busy machine a fit took 17 s with endless spinning; on a quiet one 3,000 turns cost nothing (2.01 against 1.95 s).
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    path = _find()
    sys.path.insert(0, str(path.parent))
    spec = spec_from_file_location("departures", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["departures"] = module
    spec.loader.exec_module(module)
    arguments = ["--workspace", workspace, "--months", str(months), "--port", str(port)]
    code = module.main([*arguments, *(["--json"] if json_ else [])])
    if not json_:
        click.echo(f"\nnext: tidemill -w {workspace} up", err=True)
    ctx.exit(code)


def _find() -> Path:
    package = Path(__file__).resolve().parents[1]
    for root in (package, package.parents[1]):  # installed inside the package; beside src/ in a checkout
        if (root / EXAMPLE).is_file():
            return root / EXAMPLE
    raise NotFound(f"the demo's program {EXAMPLE} is not installed; install tidemill from a wheel or a checkout")
