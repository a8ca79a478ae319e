"""The words of a filter: names, texts in quotes, numbers, operators, brackets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidemill.core.errors import BadInput

LONGEST = 1_000_000  # characters of a filter: some clients list thousands of run ids
WORDS = frozenset(("and", "or", "not", "like", "ilike", "in", "is", "null"))


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a filter.

    kind: name, text, number, operator, open, close, comma, word or end. text: as written. at: where it begins. entity
    and key: of a name, such as metrics."a b"; key: of a text in double quotes too, which may be a name.
    """

    kind: str
    text: str
    at: int
    entity: str = ""
    key: str = ""


_PART = r"(?:`(?:``|[^`])*`|'(?:''|\\'|[^'])*'|" + r'"(?:""|\\"|[^"])*"' + r"|(?:[\w$#]|::|\(\w*\)|\[[^\[\]]*\])+)"
_BARE = r"[^\W\d][\w$#]*"
_TOKEN = re.compile(
    rf"""(?P<space>\s+)
    |(?P<number>-?(?:\d+(?:\.\d+)?[eE]-?\d+|\d+\.\d*|\.\d+|\d+)(?![\w.]))
    |(?P<name>(?P<entity>{_BARE}|`{_BARE}`)\.(?P<key>\s*{_PART}(?:\.{_PART})*))
    |(?P<text>'(?:''|\\'|[^'])*')
    |(?P<double>"(?:""|\\"|[^"])*")
    |(?P<tick>`(?:``|[^`])*`)
    |(?P<word>{_BARE})
    |(?P<operator>[<>=~!]+)
    |(?P<open>\()
    |(?P<close>\))
    |(?P<comma>,)
    """,
    re.VERBOSE,
)


def tokens_of(text: str) -> list[Token]:
    """The words of a filter, and an "end". Raises BadInput for what is none, and for more than a million characters."""
    if len(text) > LONGEST:
        raise BadInput(f"a filter of {len(text)} characters; at most {LONGEST}: ask in several searches")
    require_text(text)
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadInput(_stray(text, at))
        kind, part = str(match.lastgroup), match.group()
        if match["name"] is not None:
            found.append(Token("name", part, at, match["entity"].strip("`"), unquoted(match["key"])))
        elif kind == "word" and part.lower() in WORDS:
            found.append(Token("word", part.lower(), at))
        elif kind in ("word", "tick"):
            found.append(Token("name", part, at, "", unquoted(part)))
        elif kind == "double":
            found.append(Token("text", part, at, "", unquoted(part)))
        elif kind != "space":
            found.append(Token(kind, part, at))
        at = match.end()
    return [*found, Token("end", "", at)]


def unquoted(name: str) -> str:
    """A name without the quotes around it, backticks within them too."""
    for quotes in ("'\"", "`"):
        if len(name) > 1 and name[0] == name[-1] and name[0] in quotes:
            name = name[1:-1]
    return name


def require_text(text: str) -> None:
    """Raise BadInput for a text that databases do not take."""
    if "\x00" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise BadInput(f"{text[:60]!r}: searches hold no NUL character and no half of a surrogate pair")


def _stray(text: str, at: int) -> str:
    before = text[:at].rsplit(maxsplit=1)
    name = before[-1] if before and "." in before[-1] else "metrics.val/loss"
    entity = name.split(".", 1)[0]
    return (
        f"{text[at : at + 20]!r} at character {at + 1} of {text[:400]!r}: no name, number or text begins so. A name "
        f"with such characters is quoted: {entity}.`a-b/c`; a text too: 'a'"
    )
