"""`tidemill dataset describe|tag-column|find-pii|tagged`: who answers for data, and what is personal in it."""

from __future__ import annotations

from typing import Any, Literal

import click

from tidemill.cli.show import as_json, facts, of_version, project, show, table
from tidemill.core.types import Artifact


@click.command()
@click.argument("name")
@click.option("--owner")
@click.option("--steward")
@click.option("--description")
@click.option("--licence")
@click.option("--classification", help="public, internal, confidential or restricted.")
@as_json
@click.pass_context
def describe(ctx: click.Context, /, name: str, json_: bool, **said: str | None) -> None:
    """Set what is given, keep the rest, and show all; an empty text takes a fact back."""
    mill = project(ctx)
    governance = mill.governance
    mill.data.get(name)
    given = {fact: value for fact, value in said.items() if value is not None}
    found = governance.describe(name, **given) if given else governance.get(name)
    _show(found, name, json_=json_)


@click.command("tag-column")
@click.argument("name")
@click.argument("column")
@click.argument("tags", nargs=-1)
@click.option("--remove", "how", flag_value="remove", help="Take the tags away (all, if none is named).")
@click.option("--reject", "how", flag_value="reject", help="Say that the column does not have them.")
@as_json
@click.pass_context
def tag_column(
    ctx: click.Context,
    name: str,
    column: str,
    tags: tuple[str, ...],
    how: Literal["remove", "reject"] | None,
    json_: bool,
) -> None:
    """Give a column TAGS: pii:email, pii:phone ..., "subject" (it names a person), or a word of yours."""
    governance = project(ctx).governance
    if not tags and how != "remove":
        raise click.UsageError("name at least one tag, such as pii:email or subject")
    change = {"remove": governance.untag, "reject": governance.reject, None: governance.tag}[how]
    _show(change(name, column, *tags), name, json_=json_)


@click.command("find-pii")
@click.argument("name")
@of_version
@click.option("--confirm", multiple=True, metavar="COLUMN", help="It is right: give the column its tag; repeat it.")
@click.option("--reject", multiple=True, metavar="COLUMN", help="It is wrong; repeat it.")
@as_json
@click.pass_context
def find_pii(
    ctx: click.Context, name: str, ref: str | None, confirm: tuple[str, ...], reject: tuple[str, ...], json_: bool
) -> None:
    """Columns that seem to hold personal data and that nobody has confirmed or rejected."""
    mill = project(ctx)
    findings = mill.governance.find_pii(mill.data.get(name, ref))
    wrong = [column for column in (*confirm, *reject) if column not in {each.column for each in findings}]
    if wrong:
        known = ", ".join(each.column for each in findings) or "no column"
        raise click.UsageError(f"nothing was found in column {wrong[0]!r}; found: {known}")
    rows: list[dict[str, Any]] = []
    for each in findings:
        said = "confirmed" if each.column in confirm else "rejected" if each.column in reject else "open"
        if said == "confirmed":
            mill.governance.confirm(each, dataset=name)
        elif said == "rejected":
            mill.governance.reject(name, each.column, each.tag)
        rows.append(each.as_json() | {"tag": each.tag, "said": said})
    columns = {"column": "column", "tag": "tag", "share": "share of rows", "examples": "looks like", "said": "said"}
    show(rows, json_=json_, people=lambda: table(rows, columns),
         then=f"tidemill dataset find-pii {name} --confirm COLUMN")  # fmt: skip


@click.command()
@click.argument("what")
@as_json
@click.pass_context
def tagged(ctx: click.Context, what: str, json_: bool) -> None:
    """Tags of the columns of WHAT (a dataset's name, or the id of a model or log), and where they come from."""
    mill = project(ctx)
    known = what.partition("@")[0] in mill.data.names()
    artifact = mill.data.get(what).artifact if known else mill.lineage.get(what)
    if not isinstance(artifact, Artifact):
        raise click.UsageError(f"{what!r} is a run; name a dataset, or the id of an artifact: tidemill trace {what}")
    found = mill.governance.tagged(artifact)
    rows = [{"column": column, "tags": each["tags"], "from": each["from"]} for column, each in found.items()]
    show(found, json_=json_, people=lambda: table(rows, {"column": "column", "tags": "tags", "from": "from"}),
         then=f"tidemill trace {artifact.id[:12]}")  # fmt: skip


def _show(found: Any, name: str, *, json_: bool) -> None:  # Any: catalogue.governance.Governance
    value = found.body() | {"dataset": name}

    def people() -> None:
        said = ("owner", "steward", "licence", "classification", "description")
        facts({each: getattr(found, each) or None for each in said})
        rows = [{"column": column, "tags": list(tags)} for column, tags in found.tags.items()]
        rows += [{"column": column, "tags": [f"not {tag}" for tag in tags]} for column, tags in found.rejected.items()]
        if rows:
            table(rows, {"column": "column", "tags": "tags"})

    show(value, json_=json_, people=people, then=f"tidemill dataset find-pii {name}")
