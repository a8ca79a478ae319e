"""The pages of traces: those of an experiment, found by a filter, and one as a tree of spans along the time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import serving, signed_in
from test_chromium import CONTRAST, HOSTILE, SIZES, UNNAMED, WIDER, chromium
from test_pages import Shape

import tidemill as tm
from tidemill.core.graphs.committing import committer_of
from tidemill.track.tracing import assessments, otlp, traces

browser = chromium  # the fixture
TOKEN = "the token of the trace pages"
ONE = f"tr-{1:032x}"
START = 1_700_000_000_000_000_000


def a_span(number: int, parent: int | None, **more: Any) -> dict[str, Any]:
    ids = {"id": f"{number:016x}", "parent": None if parent is None else f"{parent:016x}"}
    begun = START + number * 10**7
    made = {**ids, "name": f"step {number} {HOSTILE}", "start": begun, "end": begun + 10**8, "status": "OK"}
    return {**made, **more}


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tm.Project]:
    with tm.open(tmp_path_factory.mktemp("traces") / "shop.mill") as project:
        call = committer_of(project.ws).call
        said = {"mlflow.spanInputs": {"q": HOSTILE * 20}, "mlflow.spanOutputs": "x" * 400, "n": 7, HOSTILE: HOSTILE}
        usage = {"mlflow.chat.tokenUsage": {"input_tokens": 900, "output_tokens": 100, "total_tokens": 1000}}
        raised = {"name": "exception", "at": START, "attributes": {"exception.message": HOSTILE}}
        failed = {"status": "ERROR", "message": f"no {HOSTILE}", "events": [raised]}
        deep = [a_span(number, number - 1) for number in range(5, 150)]
        spans = [a_span(1, None, attributes=said), a_span(2, 1, attributes=usage), a_span(3, 2, **failed),
                 a_span(4, 1, end=START), *deep, a_span(200, 999), a_span(201, 202), a_span(202, 201)]  # fmt: skip
        call(traces.logging_spans(project.ws, 0, [otlp.Sent(ONE, spans, {"who": HOSTILE})]))
        for number in range(2, 70):
            sent = otlp.Sent(f"tr-{number:032x}", [a_span(number, None, status="ERROR" if number % 9 == 0 else "OK")])
            call(traces.logging_spans(project.ws, 0, [sent]))
        given = {"assessment_name": f"right {HOSTILE}", "feedback": {"value": [HOSTILE]}, "rationale": HOSTILE}
        call(assessments.creating(project.ws, ONE, given))
        call(traces.starting(project.ws, traces.Given("tr-empty", 0, 0, None, "IN_PROGRESS", None, None, None, {}, {})))
        yield project


@pytest.fixture(scope="module")
def at(mill: tm.Project) -> Iterator[str]:
    with serving(mill, TOKEN) as found:
        yield found


@pytest.fixture
def read(at: str) -> Iterator[httpx.Client]:
    with signed_in(at, TOKEN) as client:
        yield client


PATHS = {
    "list": "/traces",
    "found": "/traces?filter=status = 'ERROR'&order=name ASC",
    "none": "/traces?filter=name = 'x'",
    "one": f"/traces/{ONE}",
    "empty": "/traces/tr-empty",
}


@pytest.mark.parametrize("name", PATHS)
def test_a_page_of_traces_is_whole_and_json_too(read: httpx.Client, name: str) -> None:
    answer = read.get(PATHS[name])
    assert answer.status_code == 200, answer.text
    shape = Shape()
    shape.feed(answer.text)
    assert (shape.open, shape.forbidden) == ([], [])
    assert all(link.startswith(("/", "#", "?")) for link in shape.links), shape.links
    [as_json] = [link for link in shape.links if ".json" in link]
    assert read.get(as_json).headers["content-type"] == "application/json"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_page_of_traces_fits_and_is_legible(
    browser: Any, at: str, width: int, height: int, scheme: str, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, wrong = context.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{at}/login?token={TOKEN}")
    for name, path in PATHS.items():
        page.goto(at + path)
        for each in page.locator("details:not([open]) > summary").all()[:4]:
            each.click()
        page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        assert page.evaluate(WIDER) <= 0, f"{name} is wider than {width} px"
        assert page.evaluate(CONTRAST) == [], f"{name} in {scheme}"
        assert page.evaluate(UNNAMED) == [], name
        assert page.evaluate("() => window.taken") is None, name
    assert wrong == []
    context.close()


def test_a_list_is_filtered_and_paged_without_gaps(read: httpx.Client) -> None:
    seen, token = [], ""
    while token is not None:
        page = read.get("/traces.json", params={"limit": 30, "token": token}).json()
        seen += [each["id"] for each in page["traces"]]
        token = page["next"]
    assert len(seen) == len(set(seen)) == 70
    found = read.get("/traces.json", params={"filter": "status = 'ERROR' AND span.name LIKE 'step 9%'"}).json()
    assert [each["id"] for each in found["traces"]] == [f"tr-{9:032x}"]
    wrong = read.get("/traces", params={"filter": "stratus = 'x'"})
    assert wrong.status_code == 422
    assert "status" in wrong.text
    assert read.get("/traces", params={"experiment": 99}).status_code == 404


def test_spans_stand_below_their_parents_each_once(read: httpx.Client) -> None:
    page = read.get(f"/traces/{ONE}.json").json()
    depths = {each["id"].lstrip("0"): each["depth"] for each in page["spans"]}
    assert (depths["1"], depths["2"], depths["3"], depths["4"]) == (0, 1, 2, 1)
    assert len(page["spans"]) == page["in_all"] == 152
    assert {depths[f"{each:x}"] for each in (200, 201, 202)} == {0}
    assert [each["took_ms"] for each in page["spans"] if each["id"].endswith("04")] == [0]
    assert (page["tokens"], page["judged"][0]["by"]) == (1000, "default")
    assert read.get("/traces/tr-none").status_code == 404
