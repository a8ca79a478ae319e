"""The Markdown that model cards use, as HTML: headings, paragraphs, lists, tables, bold, code. All text is escaped.

After CommonMark 0.31 for these parts; whatever else is there stays as text.
"""

from __future__ import annotations

import re
from itertools import groupby

from markupsafe import Markup, escape

BULLET = re.compile(r"^\s*[-*]\s+")
RULE = re.compile(r"^\|?[\s:|-]*-[\s:|-]*\|?$")


def html(text: str) -> Markup:
    """The text as HTML, its headings two levels down: a page has its own title.

    >>> html("# A\\n\\nsome `x < y` and **more**")
    Markup('<h3>A</h3>\\n<p>some <code>x &lt; y</code> and <strong>more</strong></p>')
    """
    blocks = [list(lines) for empty, lines in groupby(text.splitlines(), lambda line: not line.strip()) if not empty]
    return Markup("\n".join(_block(part) for block in blocks for part in _parts(block)))  # noqa: S704  escaped below


def _parts(block: list[str]) -> list[list[str]]:
    """A block cut where a heading, a list or a table begins: they need no empty line before them."""
    return [list(lines) for _, lines in groupby(block, _kind)]


def _kind(line: str) -> str:
    if line.startswith("#"):
        return line  # each heading is a part of its own
    if BULLET.match(line):
        return "list"
    return "table" if line.lstrip().startswith("|") else "text"


def _block(lines: list[str]) -> str:
    kind = _kind(lines[0])
    if kind == "list":
        items = [_inline(BULLET.sub("", line)) for line in lines]
        return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
    cells = [_cells(line) for line in lines if not RULE.match(line.strip())]
    if kind == "table" and cells:
        return _table(cells)
    if kind in ("text", "table"):  # a rule without a head is no table
        return f"<p>{_inline(' '.join(line.strip() for line in lines))}</p>"
    marks, _, title = lines[0].partition(" ")
    level = min(len(marks) + 2, 6)
    return f"<h{level}>{_inline(title.strip())}</h{level}>"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _table(rows: list[list[str]]) -> str:
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in rows[1:])
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _inline(text: str) -> str:
    parts = re.split(r"`([^`]+)`", text)  # every second part was code
    shown = [f"<code>{escape(part)}</code>" if odd % 2 else _bold(str(escape(part))) for odd, part in enumerate(parts)]
    return "".join(shown)


def _bold(text: str) -> str:
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
