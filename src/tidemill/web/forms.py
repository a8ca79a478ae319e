"""Forms that a page of ours sends, and where a browser goes after one."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs, quote

from fastapi import Request

from tidemill.core.errors import BadInput

MOST_FIELDS = 20


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a form, the last value of each; BadInput for more than any form of ours has."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return {name: values[-1] for name, values in parse_qs(body, max_num_fields=MOST_FIELDS).items()}
    except ValueError as error:
        raise BadInput(f"a form of more than {MOST_FIELDS} fields is not taken; send only those of the page") from error


def local(path: str | None) -> str | None:
    """The path if it leads to one of our own pages, else None: a form must not send a browser elsewhere."""
    if not path or not path.startswith("/") or path.startswith("//") or "\\" in path:
        return None
    return quote(path, safe="/?=&.*:%+@-_~")
