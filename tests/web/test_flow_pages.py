"""The pages of pipelines and tunings: a real server, browser and program with a map, an error, a question."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import polars as pl
import pytest
from serving import serving, signed_in
from test_chromium import CONTRAST, HOSTILE, OUTSIDE, SIZES, UNNAMED, WIDER, chromium
from test_pages import Shape

import tidemill as tm
from tidemill.api import views
from tidemill.api.views.flowgraph import MOST_BOXES, grouped
from tidemill.flow.states import NodeState
from tidemill.web import dag, gantt

sys.path.insert(0, str(Path(__file__).parent))
import shop

browser = chromium  # the fixture
TOKEN = "the token of the flow pages, 0123"
BEGAN = datetime(2026, 11, 25, 3, tzinfo=UTC)


def boosted(
    train: tm.Matrix,
    strength: Annotated[float, tm.log(1e-4, 10)] = 1.0,
    kind: Annotated[str, tm.choice("a", "b")] = "a",
) -> Any:  # Any: an estimator
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, fit_intercept=kind == "a").fit(train.X, train.y)


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tm.Project]:
    """Executions of all kinds, schedules, a queue, and a tuning with two scores."""
    with pytest.MonkeyPatch.context() as patch, tm.open(tmp_path_factory.mktemp("flows") / "shop.mill") as project:
        patch.chdir(Path(__file__).parent)
        flows = project.flows
        flows.run(shop.turnover, engine="here").result()
        flows.run(shop.turnover, engine="here", wrong=HOSTILE)
        flows.run(shop.published, engine="here")
        flows.run(shop.twice, engine="here").result()
        flows.deploy("shop.py:turnover")
        flows.deploy("shop.py:sleepy", tm.every("10m"), params={"pause_s": 1})
        flows.submit("shop.py:sleepy", pause_s=1.0)
        random = np.random.default_rng(3)
        x = random.uniform(0, 1, 400)
        begun = [BEGAN + timedelta(hours=hour) for hour in range(400)]
        frame = pl.DataFrame(
            {
                "id": range(400),
                "begun": begun,
                "x": x,
                "z": x + random.normal(0, 9, 400),
                "y": (x + random.normal(0, 0.3, 400) > 0.5).astype(int),
            }
        )
        project.add("points", frame, key="id", event_time="begun", known_time="begun")
        train, valid = project.dataset("points").split(shares=[0.7, 0.3], seed=1)
        project.tune(
            boosted, train, tm.recipe(tm.scale("x", "z")), on=valid, target="y", trials=8, score=["auc", "brier"]
        )
        yield project


@pytest.fixture(scope="module")
def at(mill: tm.Project) -> Iterator[str]:
    """Where the pages are served."""
    with serving(mill, TOKEN) as found:
        yield found


@pytest.fixture
def read(at: str) -> Iterator[httpx.Client]:
    """Signed in as a browser is: by its cookie."""
    with signed_in(at, TOKEN) as client:
        yield client


@pytest.fixture(scope="module")
def paths(mill: tm.Project) -> dict[str, str]:
    """A path of each page, by what it is."""
    ids = {(each.run.name, each.status): each.run.id for each in mill.flows.all()}
    done, failed = ids["turnover", "done"], ids["turnover", "failed"]
    return {
        "pipelines": "/pipelines",
        "done": f"/pipelines/{done}",
        "failed": f"/pipelines/{failed}",
        "map": f"/pipelines/{done}?box=taxed%5B%5D",
        "parked": f"/pipelines/{ids['published', 'parked']}",
        "queued": f"/pipelines/{ids['sleepy', 'queued']}?live=no",
        "nested": f"/pipelines/{ids['twice', 'done']}",
        "node": f"/pipelines/{done}/nodes/taxed%5B3%5D",
        "wrong node": f"/pipelines/{failed}/nodes/invoice",
        "cached node": f"/pipelines/{failed}/nodes/total",
        "nested node": f"/pipelines/{ids['twice', 'done']}/nodes/turnover%232/taxed%5B1%5D",
        "schedules": "/schedules",
        "advice": "/advice/turnover",
        "tuning": f"/tunings/{mill.lineage.runs(kind='train.tune')[0].id}",
    }


@pytest.fixture
def tab(browser: Any, at: str) -> Iterator[Any]:
    """Opens signed-in tabs; what they complained of or asked elsewhere for fails the test."""
    opened, wrong = [], []

    def make(width: int = 1280, height: int = 900, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda asked: None if asked.url.startswith(at) else wrong.append(asked.url))
        page.goto(f"{at}/login?token={TOKEN}")
        return page

    yield make
    for context in opened:
        context.close()
    assert wrong == []


PAGES = ("pipelines", "done", "failed", "map", "parked", "queued", "nested", "node", "wrong node", "cached node",
         "nested node", "schedules", "advice", "tuning")  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_stays_at_home_and_is_json_too(read, paths, name):
    answer = read.get(paths[name])
    assert answer.status_code == 200, answer.text
    shape = Shape()
    shape.feed(answer.text)
    assert (shape.open, shape.forbidden) == ([], [])
    assert all(link.startswith(("/", "#", "?")) for link in shape.links), shape.links
    assert "<script" not in answer.text
    [as_json] = [link for link in shape.links if ".json" in link]
    assert read.get(as_json).headers["content-type"] == "application/json"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_page_fits_is_legible_and_says_what_it_is(tab, at, paths, width, height, scheme):
    page = tab(width, height, scheme)
    for name in PAGES:
        page.goto(at + paths[name])
        assert page.evaluate(WIDER) <= 0, f"{name} is wider than {width} px"
        assert page.evaluate(CONTRAST) == [], f"{name} in {scheme}"
        assert page.evaluate(UNNAMED) == [], name
        assert page.evaluate(OUTSIDE) == [], name
        assert page.locator("h1").count() == 1, name
        assert page.title().endswith("· shop.mill"), name
        assert page.evaluate("() => window.taken") is None, name


@pytest.mark.browser
def test_the_graph_shows_each_box_once_and_leads_to_its_nodes(tab, at, paths):
    page = tab()
    page.goto(at + paths["failed"])
    shown = [each for each in page.locator("svg.dag").all() if each.is_visible()]
    assert len(shown) == 1
    texts = [each.text_content() for each in shown[0].locator("a .name").all()]
    assert sorted(texts) == ["invoice", "orders", "rates", "sent", "taxed[0..99]", "total"]
    shown[0].locator("a", has_text="taxed").click()
    page.wait_for_url(re.compile("box=taxed"))
    assert page.locator("#nodes tbody tr").count() == 100
    page.locator("#nodes a", has_text="taxed[7]").click()
    assert page.locator("h1").inner_text().startswith("taxed[7]")


@pytest.mark.browser
def test_one_drawing_is_shown_at_each_width_with_legible_texts(tab, at, paths):
    for width, height in SIZES:
        page = tab(width, height)
        for name, kind in (("done", "dag"), ("done", "gantt"), ("nested", "dag")):
            page.goto(at + paths[name])
            assert sum(each.is_visible() for each in page.locator(f"svg.{kind}").all()) == 1, (width, name, kind)
            small = page.evaluate(
                f"() => Math.min(...[...document.querySelectorAll('svg.{kind} text')].filter(e => e.checkVisibility())"
                ".map(e => e.getBoundingClientRect().height))"
            )
            assert small >= 9, f"text of {small} px at {width} px in {kind} of {name}"


def test_a_failed_node_shows_its_error_trace_print_and_reason(read, paths):
    text = read.get(paths["wrong node"]).text
    assert "ValueError: no good: &lt;script&gt;" in text
    assert "about to write the invoice" in text
    assert "Traceback" in text
    assert "parameter wrong" in text
    assert ">2<" in text.replace("</dd>", "<")  # tries


@pytest.mark.browser
def test_a_question_is_answered_by_its_button(tab, at, mill):
    run = mill.flows.run(shop.published, engine="here", count=4).id
    page = tab(*SIZES[0])
    page.goto(f"{at}/pipelines/{run}")
    assert page.locator(".asks h2").inner_text() == "publish <it>?"
    page.get_by_label("Why").fill(f"looks fine {HOSTILE}")
    page.get_by_role("button", name="Yes").click()
    page.wait_for_url(f"{at}/pipelines/{run}")
    assert "answered yes" in page.locator("main").inner_text()
    [asked] = mill.flows.get(run).approvals
    assert (asked.answer, asked.note) == ("yes", f"looks fine {HOSTILE}")
    assert mill.flows.resume(run, engine="here").result() == pytest.approx(8.64)
    page.goto(f"{at}/pipelines/{run}")
    assert page.locator("h1 .status").inner_text() == "done"


@pytest.mark.browser
def test_run_again_from_a_node_leads_to_what_waits(tab, at, mill, paths):
    page = tab()
    page.goto(at + paths["node"])
    page.get_by_role("button", name="Run again from here").click()
    page.wait_for_url(re.compile(r"/pipelines/[0-9a-f]{32}$"))
    run = page.url.rpartition("/")[2]
    assert page.locator("h1 .status").inner_text() == "queued"
    mill.flows.resume(run, engine="here").result()
    anew = {each.node for each in mill.flows.get(run).nodes if each.state == "done"}
    assert anew == {"taxed[3]", "total", "invoice", "sent"}


@pytest.mark.browser
def test_a_page_follows_what_runs_and_can_be_held_and_cancelled(tab, at, mill):
    made: list[Any] = []
    known = {each.run.id for each in mill.flows.all(shop.sleepy.name)}
    thread = threading.Thread(target=lambda: made.append(mill.flows.run(shop.sleepy, engine="pool://1", pause_s=60.0)))
    thread.start()
    run = None
    until = time.monotonic() + 60
    while run is None and time.monotonic() < until:
        for each in mill.flows.all(shop.sleepy.name):
            if each.run.id not in known and mill.flows.get(each.run.id).counts.get("running"):
                run = each.run.id
        time.sleep(0.05)
    assert run is not None
    page = tab()
    page.goto(f"{at}/pipelines/{run}/nodes/slowly")
    page.locator("pre", has_text="still here").wait_for(timeout=30_000)  # by itself: it was not there at first
    page.goto(f"{at}/pipelines/{run}")
    page.get_by_role("link", name="Hold it").click()
    page.wait_for_url(re.compile("live=no"))
    assert page.locator("meta[http-equiv=refresh]").count() == 0
    page.get_by_role("link", name="Follow it again").click()
    page.get_by_role("button", name="Cancel").click()
    page.locator("h1 .status.cancelled").wait_for(timeout=30_000)
    assert page.locator("meta[http-equiv=refresh]").count() == 0
    thread.join(30)
    assert made[0].status == "cancelled"


@pytest.mark.browser
def test_a_schedule_is_paused_and_goes_on_by_its_button(tab, at, mill):
    page = tab()
    page.goto(f"{at}/schedules")
    page.get_by_role("button", name="Pause turnover").click()
    page.get_by_role("button", name="Go on turnover").wait_for()
    assert {each.name: each.paused for each in mill.flows.schedules()} == {"sleepy": False, "turnover": True}
    page.get_by_role("button", name="Go on turnover").click()
    page.get_by_role("button", name="Pause turnover").wait_for()
    assert not any(each.paused for each in mill.flows.schedules())


WRITES = ("/pipelines/0/answer", "/pipelines/0/cancel", "/pipelines/0/again", "/schedules/turnover/pause")


@pytest.mark.parametrize("path", WRITES)
def test_a_form_of_another_site_or_of_nobody_is_refused(read, at, mill, path):
    fields = {"answer": "yes", "on": "yes"}
    assert read.post(path, data=fields, headers={"origin": "http://evil.example"}).status_code == 403
    assert httpx.post(at + path, data=fields, trust_env=False).status_code == 401
    assert not any(each.paused for each in mill.flows.schedules())


@pytest.mark.parametrize(
    ("path", "fields", "text"),
    [("/schedules/turnover/pause", {"on": "perhaps"}, "on is &#39;perhaps&#39;; allowed: yes (pause), no (go on)"),
     ("/pipelines/0/answer", {"answer": "perhaps"}, "the answer is &#39;perhaps&#39;; allowed: yes, no")],
)  # fmt: skip
def test_a_form_with_another_answer_is_told_what_is_allowed(read, path, fields, text):
    answer = read.post(path, data=fields)
    assert answer.status_code == 422
    assert text in answer.text


def test_a_tuning_draws_its_history_front_importance_and_slices(read, paths):
    text = read.get(paths["tuning"]).text
    for told in ("auc of each trial, and the best so far", "auc against brier", "auc by strength", "auc by kind",
                 "brier (lower is better)", "8 complete"):  # fmt: skip
        assert told in text, told
    assert text.count('<circle class="dot') >= 8


# ------------------------------------------------------------------------------------------------ drawings


def node(name: str, *deps: str, state: str = "done", start_s: float | None = None, length_s: float = 1.0) -> NodeState:
    started = None if start_s is None else BEGAN + timedelta(seconds=start_s)
    ended = None if started is None else started + timedelta(seconds=length_s)
    step = re.sub(r"\[\d+\]|#\d+", "", name)
    return NodeState(name, step, state, deps, started_at=started, ended_at=ended, wall_s=length_s)


def page(*nodes: NodeState) -> dict[str, Any]:
    graph = grouped(nodes, BEGAN, BEGAN + timedelta(seconds=1000))
    return {"id": "0", "pipeline": "p", "graph": graph}


def test_a_map_of_thousands_is_one_box_with_its_counts():
    nodes = [node("start"), *(node(f"plus[{n}]", "start", state="failed" if n == 7 else "done") for n in range(5000))]
    drawn = str(dag.plot(page(*nodes), width=1120))
    assert drawn.count("<a ") == 2
    assert "plus[0..4999]" in drawn
    assert "1 failed · 4,999 done" in drawn
    assert 'class="box failed"' in drawn


def test_a_long_chain_of_one_step_is_one_box():
    nodes = [node("plus")] + [node(f"plus#{n}", "plus" if n == 2 else f"plus#{n - 1}") for n in range(2, 1000)]
    [box] = grouped(nodes, BEGAN, BEGAN)["boxes"]
    assert (box["title"], box["nodes"]) == ("plus ×999", 999)
    assert len(grouped(nodes[:150], BEGAN, BEGAN)["boxes"]) == 150


def test_of_too_many_steps_the_first_are_drawn():
    found = grouped([node(f"step{n}") for n in range(300)], BEGAN, BEGAN)
    assert (len(found["boxes"]), found["left_out"]) == (MOST_BOXES, 100)


def test_steps_that_go_round_in_boxes_are_drawn_too():
    nodes = []
    for n in range(1, 150):
        nodes += [node(f"a#{n}", *([f"b#{n - 1}"] if n > 1 else [])), node(f"b#{n}", f"a#{n}")]
    found = page(*nodes)
    assert found["graph"]["links"] == [["a", "b"], ["b", "a"]]
    assert str(dag.plot(found, width=310)).count("<a ") == 2


def test_a_long_wait_is_drawn_short_and_told():
    waited = page(node("a", start_s=0), node("b", "a", start_s=1), node("c", "b", start_s=200_000))
    drawn = str(gantt.plot(waited, width=1120))
    places = [float(x) for x in re.findall(r'class="span done" x="([\d.]+)"', drawn)]
    assert places[2] - places[1] < 2 * (places[1] - places[0])
    assert gantt.waits(waited) == ["2.3 d"]
    assert gantt.waits(page(node("a", start_s=0), node("b", "a", start_s=1))) == []


def test_times_lie_where_the_axis_says():
    drawn = str(gantt.plot(page(node("a", start_s=0, length_s=4), node("b", start_s=4, length_s=4)), width=1120))
    spans = [
        (float(x), float(w)) for x, w in re.findall(r'class="span done" x="([\d.]+)" y="\d+" width="([\d.]+)"', drawn)
    ]
    assert spans[0][1] == pytest.approx(spans[1][1], abs=0.2)
    assert spans[1][0] == pytest.approx(spans[0][0] + spans[0][1], abs=0.2)
    ticks = {
        text: float(x)
        for x, text in re.findall(r'class="tick" x="([\d.]+)" y="14" text-anchor="middle">([^<]+)', drawn)
    }
    assert ticks["4 s"] == pytest.approx(spans[1][0], abs=0.2)


def test_bars_that_touch_are_one():
    nodes = [node(f"plus[{n}]", start_s=n / 1000, length_s=0.01) for n in range(5000)]
    [box] = grouped(nodes, BEGAN, BEGAN + timedelta(seconds=6))["boxes"]
    assert box["spans"] == [[0.0, pytest.approx(5.009), "done"]]


def test_nothing_ran_is_no_drawing():
    assert str(gantt.plot(page(node("a", state="cached")), width=1120)) == ""
    assert str(dag.plot(page(), width=1120)) == ""


def test_a_view_of_a_big_map_stays_small(mill):
    run = mill.flows.run(shop.turnover, engine="here", count=3000).id
    found = views.execution(mill, run)
    assert (found["total_nodes"], len(found["nodes"]), len(found["graph"]["boxes"])) == (3005, 100, 6)
