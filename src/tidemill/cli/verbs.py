"""A group of verbs whose modules are loaded when they are asked for, so that the command line starts quickly."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from tidemill.core.errors import nearest

Table = Mapping[str, tuple[str, str]]  # verb: (module of tidemill.cli, the line in the help)


class Verbs(click.Group):
    """Verbs from a table. sections: heading of the help to its verbs."""

    def __init__(self, *args: Any, sections: Mapping[str, Table], **options: Any) -> None:  # Any: click's own
        super().__init__(*args, **options)
        self.sections = sections
        self.table = {verb: entry for verbs in sections.values() for verb, entry in verbs.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.table:
            return None
        module = import_module(f"tidemill.cli.{self.table[cmd_name][0]}")
        name = cmd_name.replace("-", "_")
        # `import` and `list` are words of Python: their functions end in "_"
        command: click.Command = getattr(module, f"{name}_", None) or getattr(module, name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A verb that is not there is answered with the nearest."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            known = ", ".join(self.table)
            raise click.UsageError(f"no verb {args[0]!r}; there are {known}.{nearest(args[0], self.table)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The lists from the table: the help loads no verb."""
        for heading, verbs in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(verb, line) for verb, (_, line) in verbs.items()])
