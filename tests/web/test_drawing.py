"""Axes, Markdown and the drawing of traces: what comes out is covered, escaped and in order, whatever goes in."""

from __future__ import annotations

import doctest
import re
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.web import axes, markdown, pages, tracing

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


@pytest.mark.parametrize("module", [axes, markdown, pages])
def test_the_examples_of_the_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(FINITE, FINITE)
def test_ticks_cover_what_is_drawn_in_even_steps(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    if high - low < 1e-6 * max(abs(low), abs(high), 1e-3):
        low, high = low, low
    found = axes.ticks(low, high)
    slack = 1e-6 * (found[1] - found[0])  # of a step: far below a pixel
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    assert 2 <= len(found) <= 8
    steps = {round((after - before) / (found[1] - found[0]), 6) for before, after in pairwise(found)}
    assert steps == {1.0}


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.integers(0, 4000))
def test_days_on_an_axis_are_few_and_within_it(first: date, days: int) -> None:
    last = first + timedelta(days=days)
    found = axes.day_ticks(first, last)
    assert len(found) <= 14
    assert all(first <= at <= last for at, _ in found)


@given(st.text(alphabet="a<>&\"'`*#|-\n \t"))
def test_markdown_makes_no_element_that_it_does_not_know(text: str) -> None:
    made = markdown.html(text)
    tags = set(re.findall(r"<\s*/?([a-z0-9]+)", made))
    known = {"h3", "h4", "h5", "h6", "p", "ul", "li", "code", "strong", "div", "table", "thead", "tbody", "tr", "th"}
    assert tags <= known | {"td"}
    assert "<a" not in made.replace("<a>", "")


def test_markdown_shows_tables_lists_and_headings_without_empty_lines_between() -> None:
    made = markdown.html("## B\n- one `x`\n- two\n| a | b |\n|---|--:|\n| 1 | **2** |\nend")
    assert made.startswith("<h4>B</h4>\n<ul><li>one <code>x</code></li><li>two</li></ul>\n")
    assert "<tr><th>a</th><th>b</th></tr>" in made
    assert "<tr><td>1</td><td><strong>2</strong></td></tr>" in made
    assert made.endswith("<p>end</p>")


def node(number: int, name: str) -> dict[str, object]:
    kind, what = ("dataset", "artifact") if number % 2 == 0 else ("data.import", "run")
    return {"id": f"{number:032x}", "what": what, "kind": kind, "name": name, "version": number, "label": name,
            "href": f"/trace/{number}"}  # fmt: skip


@given(st.lists(st.sampled_from(["flights", "weather", "<planes>"]), min_size=2, max_size=30), st.integers(284, 1200))
def test_a_trace_has_a_box_for_each_kind_and_name_within_its_width(names: list[str], width: int) -> None:
    nodes = [node(number, name) for number, name in enumerate(names)]
    links = [{"from": nodes[place]["id"], "to": nodes[place + 1]["id"], "slot": ""} for place in range(len(nodes) - 1)]
    drawn = str(tracing.plot({"root": nodes[0]["id"], "node": nodes[0], "nodes": nodes, "links": links}, width=width))
    groups = {(each["kind"], each["name"]) for each in nodes[1:]}
    assert drawn.count("<rect") == len(groups) + 1
    assert "<planes>" not in drawn
    for x, wide in re.findall(r'<rect [^>]*x="([\d.]+)" y="[\d.]+" width="(\d+)"', drawn):
        assert 0 <= float(x) <= width - int(wide)


def test_a_root_alone_draws_nothing() -> None:
    only = node(0, "flights")
    assert tracing.plot({"root": only["id"], "node": only, "nodes": [only], "links": []}, width=284) == ""


def test_a_rule_without_a_head_is_text() -> None:
    assert markdown.html("|-|") == "<p>|-|</p>"
