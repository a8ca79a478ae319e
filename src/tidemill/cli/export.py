"""`tidemill export airflow|kfp`: a pipeline as a file of another orchestrator."""

from __future__ import annotations

from pathlib import Path

import click

from tidemill.cli.show import as_json, show


@click.command()
@click.argument("target", type=click.Choice(["airflow", "kfp"]))
@click.argument("entry")
@click.option("--out", "-o", type=click.Path(path_type=Path), help="The file; default: NAME_dag.py or NAME.yaml here.")
@click.option("--image", help="The container image in which Kubeflow runs the tasks.")
@as_json
def export(target: str, entry: str, out: Path | None, image: str | None, json_: bool) -> None:
    """Write the pipeline at ENTRY as a DAG of Airflow 3 or KFP v2 YAML; what has no form there is named by its line."""
    from tidemill.core.errors import NoRoom
    from tidemill.flow import entries
    from tidemill.flow.export import export as written

    pipeline = entries.load(entry)
    made = written(pipeline, target, image=image)
    path = out or Path(f"{pipeline.name}_dag.py" if target == "airflow" else f"{pipeline.name}.yaml")
    try:
        path.write_text(made)
    except OSError as error:
        raise NoRoom(f"cannot write {path}: {error.strerror}; choose another place with --out") from error
    value = {"pipeline": pipeline.name, "target": target, "file": str(path), "size_bytes": len(made.encode())}
    then = "" if target == "kfp" else f"tidemill flow plan {entry}"
    show(value, json_=json_, people=lambda: click.echo(f"{path} written"), then=then)
