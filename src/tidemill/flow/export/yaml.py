"""JSON values as YAML, in the few forms of it that every reader agrees on: block mappings and lists, quoted texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}  # which YAML 1.1 reads as something else


def text_of(value: Any) -> str:
    """A dict as a YAML document, its names sorted."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name in sorted(value):
            yield from _entry(f"{_scalar(name)}:", value[name], "  ")
    elif isinstance(value, list) and value:
        for each in value:
            first, *rest = _lines(each) if isinstance(each, dict | list) and each else [None]
            if first is None:
                yield from _entry("-", each, "  ")
            else:
                yield f"- {first}"
                yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        yield from (f"{indent}{line}" for line in _lines(value))
    elif isinstance(value, str) and "\n" in value and _is_block(value):
        yield f"{head} |{'' if value.endswith(chr(10)) else '-'}"
        yield from (f"{indent}{line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _is_block(text: str) -> bool:
    """Whether a text can stand as a block as it is."""
    printable = all(letter == "\n" or letter.isprintable() for letter in text)
    return printable and text[:1] not in (" ", "\n") and not text.endswith("\n\n")


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)  # JSON is YAML
