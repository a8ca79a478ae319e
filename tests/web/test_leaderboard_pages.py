"""The pages of leaderboards: ties, whiskers on one scale, failures, leaks, registrations, and no row id too many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from serving import serving, signed_in
from test_chromium import CONTRAST, HOSTILE, SIZES, UNNAMED, WIDER, chromium
from test_pages import Shape

import tidemill as tm
from tidemill.api import views
from tidemill.data.catalogue import governance
from tidemill.web import leaderboards

browser = chromium  # the fixture
TOKEN = "the token of the leaderboard pages"
ROWS = 600
FITS = ["class_shares", "logistic", "tree"]
RECIPE = tm.recipe(tm.keep("km"))


def twin(train: tm.Matrix, strength: float = 0.9) -> Any:  # Any: an estimator
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength).fit(train.X, train.y)


def broken(train: tm.Matrix) -> Any:
    raise RuntimeError(f"no luck {HOSTILE}")


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tm.Project]:
    dice = np.random.default_rng(3)
    km = dice.normal(10, 3, ROWS)
    frame = pl.DataFrame(
        {
            "trip": [f"trip-of-ada-{place}" for place in range(ROWS)],
            "at": [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=place) for place in range(ROWS)],
            "km": km.round(1),
            "late": (km + dice.normal(0, 2, ROWS) > 11).astype(int),
        }
    )
    with tm.open(tmp_path_factory.mktemp("boards") / "boards.mill") as project:
        project.add("trips", frame, key="trip", event_time="at", known_time="at")
        train, valid, test = project.dataset("trips").split(time=["2026-01-15", "2026-01-20"])
        fits = [*tm.candidates("classification", include=FITS), twin, broken]
        project.leaderboard(fits, train, RECIPE, on=valid, target="late", name="<b>trips</b> & more")
        project.leaderboard(fits, train, RECIPE, on=valid, target="late", name="older")
        project.leaderboard(twin, *project.dataset("trips").split(shares=[0.5, 0.5])[:1], RECIPE,
                            on=project.dataset("trips"), target="late", name="older")  # fmt: skip
        for params in ({}, {"strength": 0.01}):
            fitted = project.fit(twin, train, RECIPE, target="late", params=params)
            project.register(fitted, "lateness", on=test)
        yield project


@pytest.fixture(scope="module")
def at(mill: tm.Project) -> Iterator[str]:
    with serving(mill, TOKEN) as found:
        yield found


@pytest.fixture
def read(at: str) -> Iterator[httpx.Client]:
    with signed_in(at, TOKEN) as client:
        yield client


@pytest.fixture(scope="module")
def paths(mill: tm.Project) -> dict[str, str]:
    ids = {line["board"]: line["id"] for line in views.leaderboards(mill)["leaderboards"]}
    return {
        "list": "/leaderboards",
        "one": f"/leaderboards/{ids['<b>trips</b> & more']}",
        "leaking": f"/leaderboards/{ids['older']}",
        "by name": "/leaderboards/older",
        "run": f"/runs/{mill.lineage.runs(kind='train.leaderboard')[0].id}",
    }


PAGES = ("list", "one", "leaking", "by name", "run")


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
def test_every_page_fits_and_is_legible(browser, at, paths, width, height, scheme):
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, wrong = context.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(f"{at}/login?token={TOKEN}")
    for name in PAGES:
        page.goto(at + paths[name])
        assert page.evaluate(WIDER) <= 0, f"{name} is wider than {width} px"
        assert page.evaluate(CONTRAST) == [], f"{name} in {scheme}"
        assert page.evaluate(UNNAMED) == [], name
        assert page.evaluate("() => window.taken") is None, name
        if name in ("one", "leaking"):
            assert sum(each.is_visible() for each in page.locator("svg.plot").all()) == 1
    context.close()
    assert wrong == []


@pytest.mark.browser
def test_a_leaderboard_is_reached_from_the_navigation_and_leads_to_fits_and_models(browser, at, paths):
    page = browser.new_page()
    page.goto(f"{at}/login?token={TOKEN}")
    page.get_by_role("navigation").get_by_role("link", name="Leaderboards").click()
    page.get_by_role("link", name="<b>trips</b> & more").click()
    assert page.locator("nav [aria-current]").inner_text() == "Leaderboards"
    row = page.locator("tr", has=page.get_by_text("twin", exact=True)).first
    assert row.locator("a[href^='/models/lateness/']").count() == 2
    row.locator("a.id").click()
    page.wait_for_url(re.compile("/runs/"))
    assert page.locator("h1").inner_text().startswith("train.candidate twin")
    page.close()


def test_ties_failures_looks_leaks_and_registrations_are_told(read, paths):
    shown = read.get(paths["one"] + ".json").json()
    lines = {line["name"]: line for line in shown["board"]["lines"]}
    assert shown["tied"] == sum(line["rank"] == 1 for line in lines.values()) >= 2
    assert {line["place"] for line in lines.values() if line["tied"]} == {"1="}
    assert lines["broken"]["error"].startswith("RuntimeError: no luck <script>")
    assert lines["broken"]["run"]
    assert [(each["version"], each["same_params"]) for each in lines["twin"]["registered"]] == [(2, False), (1, True)]
    assert [each["registered"] for name, each in lines.items() if name != "twin"] == [[], [], [], []]
    text = read.get(paths["one"]).text
    assert "no luck &lt;script&gt;" in text
    assert "1 time" in text
    assert "none certain" in text
    leaking = read.get(paths["leaking"]).text
    assert "spoils the scores" in leaking
    assert "trip-of-ada-" in leaking
    assert "Others of this name" in leaking


def test_the_list_holds_the_newest_of_each_name(read):
    found = read.get("/leaderboards.json").json()["leaderboards"]
    assert [each["board"] for each in found] == ["older", "<b>trips</b> & more"]
    assert [each["leaks"] > 0 for each in found] == [True, False]
    assert [each["failed"] for each in found] == [0, 1]


def test_what_is_no_leaderboard_is_not_found(read, mill):
    version = mill.dataset("trips").base.id
    for which in ("nothing", version, mill.lineage.runs(kind="train.evaluate")[0].id):
        answer = read.get(f"/leaderboards/{which}")
        assert answer.status_code == 404
        assert "there are older" in answer.text


def test_nobody_reads_one_without_the_token(at, paths):
    for path in (paths["one"], paths["list"] + ".json"):
        assert httpx.get(at + path, trust_env=False).status_code == 401


def test_row_ids_that_are_personal_are_not_shown_to_who_may_not_see_them(tmp_path: Path) -> None:
    with tm.open(tmp_path / "w.mill") as mill:
        frame = pl.DataFrame({"email": [f"ada{place}@example.org" for place in range(80)], "km": [1.0, 2.0] * 40,
                              "late": [0, 1, 1, 0] * 20})  # fmt: skip
        mill.add("people", frame, key="email")
        rows = mill.dataset("people")
        mill.leaderboard(twin, rows, RECIPE, on=rows, target="late")
        assert "ada3@example.org" in str(views.leaderboard(mill, "people"))
        governance.tag(mill.ws, "people", "email", "pii:email", "subject")
        shown = views.leaderboard(mill, "people")
        assert shown["board"]["findings"]
        assert "@example.org" not in str(shown)


# ------------------------------------------------------------------------------------------------ drawing


def board(*lines: tuple[str, float | None, float | None, float | None], baseline: str = "") -> dict[str, Any]:
    made = [
        {"name": name, "place": str(rank), "rank": rank, "baseline": name == baseline,
         "standing": {"value": value, "low": low, "high": high}}
        for rank, (name, value, low, high) in enumerate(lines, start=1)
    ]  # fmt: skip
    return {"score": "mae", "direction": "min", "level": 0.95, "lines": made}


def across(drawn: str, kind: str) -> list[float]:
    return [float(each) for each in re.findall(rf'<circle class="{kind}"[^>]* cx="([\d.]+)"', drawn)]


def test_all_whiskers_are_on_one_scale() -> None:
    drawn = leaderboards.standings(board(("a", 1.0, 0.0, 2.0), ("b", 2.0, 1.0, 3.0), ("c", 3.0, 2.0, 4.0)), width=1080)
    one, other, third = across(drawn, "dot best") + across(drawn, "dot")
    assert other - one == pytest.approx(third - other, abs=0.11)
    spans = [tuple(map(float, each)) for each in re.findall(r'class="whisker" d="M([\d.]+) [\d.]+H([\d.]+)"', drawn)]
    assert spans == [
        (pytest.approx(2 * one - other, abs=0.2), other),
        (one, third),
        (other, pytest.approx(2 * third - other, abs=0.2)),
    ]
    assert "mae (less is better)" in drawn


def test_one_that_is_absurdly_far_is_an_arrow_at_the_edge_and_does_not_squeeze_the_others() -> None:
    near = [(f"n{place}", 1.0 + place / 10, 0.9, 1.6) for place in range(4)]
    drawn = leaderboards.standings(board(*near, ("far", 9_000.0, 8_000.0, None)), width=1080)
    assert drawn.count('class="mark"') == 1
    assert "far: mae 9000" in drawn
    dots = across(drawn, "dot best") + across(drawn, "dot")
    assert max(dots) - min(dots) > 20


def test_a_name_is_escaped_and_what_has_no_score_is_not_drawn() -> None:
    drawn = leaderboards.standings(board((HOSTILE, 1.0, None, None), ("none", None, None, None)), width=272)
    assert "<script" not in drawn
    assert "none" not in drawn
    assert leaderboards.standings(board(("none", None, None, None)), width=272) == ""
