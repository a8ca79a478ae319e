"""The pages of experiments: the tree, the table, a run as it goes on, runs side by side, downloads, kept views."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
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
from tidemill.api.views import tracking
from tidemill.serve.registered.promoting import metric
from tidemill.track import experiments
from tidemill.web import tracking_plots

browser = chromium  # the fixture
TOKEN = "the token of the tracking pages"
NAME = "vision/cats/resnet"


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tm.Project]:
    with tm.open(tmp_path_factory.mktemp("tracking") / "cats.mill") as project:
        for place in range(60):
            kind, rate = "abc"[place % 3], 10.0 ** -(place % 5)
            params = {"rate": rate, "kind": kind, "same": 7, f"odd {HOSTILE}": f"x {HOSTILE} {place % 2}"}
            tags = {"team": ("blue", HOSTILE)[place % 2]}
            with project.run(f"trial {place:02}", experiment=NAME, params=params, tags=tags) as run:
                for step in range(700 if place == 0 else 12):
                    run.log({"loss": rate + 1 / (step + 1), "val loss": rate + 2.0}, step=step)
                run.log("accuracy", place / 100)
                if place in (0, 1):
                    media(run, place)
        with project.run("other", experiment=f"text/{HOSTILE}"):
            pass
        with project.run("none"):
            pass
        with project.run("cats") as run:
            run.log_text(f"model/{HOSTILE}.txt".replace("/s", "-s"), "weights")
            run.log("accuracy", 0.9)
        project.models.publish("cats", f"runs:/{run.id}/model", description=HOSTILE)
        project.models.promote("cats", 1, why="first")
        project.models.promote("cats", 1, gates=[metric("accuracy", ">", 0.8)], why=HOSTILE)
        yield project


def media(run: Any, place: int) -> None:
    run.log_image("mask", np.eye(8) * (1 - place / 2))
    run.log_text("notes.txt", f"first\n{HOSTILE}\nseed {place}\n")
    run.log_table("errors", {"row": ["a", HOSTILE], "error": [0.1, 0.7]})
    run.log_audio("tone", [0.0, 0.5, -0.5] * 50, rate=8000)
    run.log_confusion("test", [HOSTILE, "late", "due"], ["late", "late", "due"])
    run.log_bytes("page.html", f"<b>{HOSTILE}</b>".encode())
    run.log("system/cpu", 0.5, step=1)
    run.log("system/cpu", 0.7, step=2)
    with run.child("fold", params={"fold": 1}) as fold:
        fold.log("auc", 0.7)


@pytest.fixture(scope="module")
def at(mill: tm.Project) -> Iterator[str]:
    with serving(mill, TOKEN) as found:
        yield found


@pytest.fixture
def read(at: str) -> Iterator[httpx.Client]:
    with signed_in(at, TOKEN) as client:
        yield client


@pytest.fixture(scope="module")
def here(mill: tm.Project) -> str:
    return f"/experiments/{experiments.find(mill.ws, NAME).id}"


@pytest.fixture(scope="module")
def ids(mill: tm.Project) -> list[str]:
    rows = mill.run.search("run_name LIKE 'trial%'", experiments=[NAME], order_by=["run_name ASC"])
    return [str(each) for each in rows["run_id"]]


@pytest.fixture(scope="module")
def paths(here: str, ids: list[str]) -> dict[str, str]:
    return {
        "list": "/experiments",
        "found": "/experiments?q=CATS",
        "table": here,
        "wrong": f"{here}?filter=metrix.loss < 3",
        "group": f"{here}?group=tags.team&metric=loss&columns=params.kind&columns=tags.team",
        "run": f"/runs/{ids[0]}",
        "smooth": f"/runs/{ids[0]}?smooth=0.9&log=yes&x=wall",
        "compare": f"{here}/compare",
        "two": f"{here}/compare?runs={ids[0]},{ids[1]}&metric=loss&across=time&log=yes&smooth=0.5",
        "models": "/models",
        "model": "/models/cats/1",
    }


PAGES = ("list", "found", "table", "wrong", "group", "run", "smooth", "compare", "two", "models", "model")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_and_stays_at_home_and_is_json_too(read, paths, name):
    answer = read.get(paths[name])
    assert answer.status_code == 200, answer.text
    shape = Shape()
    shape.feed(answer.text)
    assert (shape.open, [each for each in shape.forbidden if each != "script"]) == ([], [])
    scripts = re.findall(r"<script([^>]*)>([^<]*)", answer.text)
    assert all(re.fullmatch(r' src="/static/\w+\.js\?v=\w{12}" defer', told) and not inside for told, inside in scripts)
    assert not scripts or name in ("run", "smooth", "compare", "two")
    assert all(link.startswith(("/", "#", "?")) for link in shape.links), shape.links
    [as_json] = [link for link in shape.links if ".json" in link and "/file?" not in link]
    assert read.get(as_json).headers["content-type"] == "application/json"


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_page_fits_and_is_legible(browser, at, paths, width, height, scheme):
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page, wrong = context.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{at}/login?token={TOKEN}")
    for name in PAGES:
        page.goto(at + paths[name])
        page.evaluate("() => document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert page.evaluate(WIDER) <= 0, f"{name} is wider than {width} px"
        assert page.evaluate(CONTRAST) == [], f"{name} in {scheme}"
        assert page.evaluate(UNNAMED) == [], name
        assert page.evaluate("() => window.taken") is None, name
    context.close()
    assert wrong == []


# ------------------------------------------------------------------------------------------------ experiments, runs


def test_names_with_slashes_are_folders(read):
    tree = read.get("/experiments.json").json()["tree"]
    assert tree["runs"] == 65
    assert list(tree["folders"]) == ["text", "vision"]
    cats = tree["folders"]["vision"]["folders"]["cats"]
    assert [(each["short"], each["runs"]) for each in cats["experiments"]] == [("resnet", 62)]
    found = read.get("/experiments.json", params={"q": "CATS"}).json()
    assert [each["name"] for each in found["experiments"]] == [NAME]
    assert "No experiment has" in read.get("/experiments?q=nothing").text


def test_a_table_is_ordered_by_any_column_and_paged_without_gaps(read, here):
    state = {"order": "metrics.`val loss` ASC", "columns": ["metrics.val loss", "params.rate"], "limit": 25}
    seen, values, token = [], [], None
    for _ in range(3):
        shown = read.get(f"{here}.json", params={**state, **({"token": token} if token else {})}).json()
        seen += [line["id"] for line in shown["lines"]]
        values += [line["cells"][0] for line in shown["lines"] if line["cells"][0] is not None]
        token = shown["next"]
    assert token is None
    assert len(set(seen)) == len(seen) == 62
    assert values == sorted(values)
    text = read.get(here, params=state).text
    assert 'aria-sort="ascending"' in text
    assert text.count('<td class="first">') == 25


def test_a_filter_finds_and_a_wrong_one_is_told_beside_the_box(read, here):
    shown = read.get(f"{here}.json", params={"filter": "params.kind = 'a' AND metrics.accuracy < 0.1"}).json()
    assert {line["name"] for line in shown["lines"]} == {"trial 00", "trial 03", "trial 06", "trial 09"}
    assert shown["found"] == {"runs": 4, "more": False}
    wrong = read.get(here, params={"filter": "metrix.loss < 3"}).text
    assert "no entity &#39;metrix&#39;" in wrong
    assert "Did you mean &#39;metric" in wrong
    assert "val loss" in wrong
    assert '<td class="first">' not in wrong
    for state in ({"order": "metrics.loss SIDEWAYS"}, {"columns": "loss"}, {"group": "metrics.loss"}, {"token": "x"}):
        assert read.get(f"{here}.json", params=state).json()["wrong"], state


def test_groups_count_and_give_mean_and_best(read, mill, here):
    shown = read.get(f"{here}.json", params={"group": "params.kind", "metric": "accuracy"}).json()["groups"]
    rows = mill.run.search(experiments=[NAME])
    for line in shown["lines"]:
        of = rows.filter(pl.col("params.kind").eq_missing(pl.lit(line["value"], pl.String)))
        assert line["runs"] == of.height
        assert line["mean"] == pytest.approx(of["metrics.accuracy"].mean()) if line["value"] else line["mean"] is None
        assert line["best"] == of["metrics.accuracy"].max()
        again = read.get(f"{here}.json", params={"filter": line["filter"], "limit": 100}).json()
        assert len(again["lines"]) == line["runs"]
    assert [line["value"] for line in shown["lines"]] == ["c", "b", "a", None]
    least = read.get(f"{here}.json", params={"group": "params.kind", "metric": "loss"}).json()["groups"]
    assert least["best"] == "min"


def test_the_table_is_downloaded_whole(read, mill, here):
    state = {"filter": "params.kind != 'b'", "order": "metrics.accuracy DESC"}
    expected = mill.run.search(state["filter"], experiments=[NAME], order_by=[state["order"]])
    parquet = read.get(f"{here}/runs.parquet", params=state)
    assert pl.read_parquet(io.BytesIO(parquet.content)).equals(expected)
    assert "attachment" in parquet.headers["content-disposition"]
    csv = pl.read_csv(io.BytesIO(read.get(f"{here}/runs.csv", params=state).content), infer_schema=False)
    assert csv["run_id"].to_list() == expected["run_id"].to_list()
    assert csv["metrics.loss"].cast(pl.Float64).to_list() == expected["metrics.loss"].to_list()
    assert set(expected.columns) <= set(csv.columns)
    assert read.get(f"{here}/runs.csv", params={"filter": "nonsense"}).status_code == 422


@pytest.mark.browser
def test_a_view_is_kept_under_a_name_and_removed(browser, at, here):
    page = browser.new_page()
    page.goto(f"{at}/login?token={TOKEN}")
    page.goto(at + here)
    page.get_by_label("Filter", exact=True).fill("params.kind = 'a'")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="accuracy", exact=True).click()
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("checkbox", name="val loss").uncheck()
    page.get_by_role("button", name="Show these").click()
    page.get_by_text("Views", exact=True).click()
    page.get_by_label("Keep this filter, order and columns as").fill(f"good {HOSTILE}")
    page.get_by_role("button", name="Keep", exact=True).click()
    page.goto(at + here)
    page.get_by_role("link", name=f"good {HOSTILE}").click()
    assert page.get_by_label("Filter", exact=True).input_value() == "params.kind = 'a'"
    heads = page.locator("table.runs th").all_inner_texts()
    assert "accuracy ↓" in heads
    assert "val loss" not in heads
    assert page.locator("td.first").first.inner_text() == "trial 57"
    page.get_by_role("button", name=re.compile("Remove the view")).click()
    assert page.get_by_role("link", name=re.compile("^good")).count() == 0
    assert page.evaluate("() => window.taken") is None
    page.close()


def test_a_view_of_a_foreign_site_or_without_the_token_is_refused(read, at, here):
    form = {"name": "x", "query": "filter=1"}
    assert read.post(f"{here}/views", data=form, headers={"origin": "http://evil.example"}).status_code == 403
    assert httpx.post(f"{at}{here}/views", data=form, trust_env=False).status_code == 401
    assert read.post(f"{here}/views", data={**form, "name": " "}).status_code == 422
    kept = read.post(f"{here}/views", data={"name": "x", "query": "?filter=a&next=//evil.example&limit=100"})
    assert kept.headers["location"] == f"{here}?filter=a&limit=100"
    assert read.post(f"{here}/views/forget", data={"name": "x"}).status_code == 303


# ------------------------------------------------------------------------------------------------ a run


def test_a_run_shows_its_curves_its_files_and_where_it_belongs(read, ids):
    shown = read.get(f"/runs/{ids[0]}.json").json()["tracked"]
    assert shown["experiment"]["name"] == NAME
    charts = {each["key"]: each for each in shown["charts"]}
    assert {name: each["points"] for name, each in charts.items()} == {"loss": 700, "val loss": 700}
    assert len(charts["loss"]["line"]) <= 300
    assert max(y for _, y in charts["loss"]["line"]) == 2.0
    assert [each["key"] for each in shown["system"]] == ["system/cpu"]
    assert {each["path"]: each["show"] for each in shown["media"]["files"]} == {
        "errors.parquet": "table", "mask.png": "picture", "notes.txt": "text", "page.html": None,
        "test.confusion.json": "confusion", "tone.wav": "sound",
    }  # fmt: skip
    text = read.get(f"/runs/{ids[0]}").text
    assert "fold" in text
    assert HOSTILE not in text


def test_a_model_of_files_shows_them_and_what_spoke_for_it(read):
    shown = read.get("/models/cats/1.json").json()
    assert [each["size"] for each in shown["files"]] == [len("weights")]
    page = read.get("/models/cats/1").text
    assert "accuracy &gt; 0.8: 0.9 &gt; 0.8" in page
    assert "Calibration" not in page  # it has no package that could be tested


def test_a_file_that_could_be_a_page_is_a_download(read, ids):
    page = read.get(f"/runs/{ids[0]}/file", params={"path": "page.html"})
    assert page.headers["content-type"] == "application/octet-stream"
    assert "attachment" in page.headers["content-disposition"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert read.get(f"/runs/{ids[0]}/file", params={"path": "mask.png"}).headers["content-type"] == "image/png"
    assert read.get(f"/runs/{ids[0]}/file", params={"path": "../../keys/web-token"}).status_code == 422
    assert read.get(f"/runs/{ids[0]}/file", params={"path": "mask.pgn"}).status_code == 404


def test_scripts_are_allowed_where_curves_are_and_from_here_alone(read, here, ids):
    for path in (here, "/experiments", "/runs", "/"):
        assert "script-src" not in read.get(path).headers["content-security-policy"]
    policy = read.get(f"/runs/{ids[0]}").headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'"} <= set(policy)
    assert "unsafe" not in " ".join(policy)


@pytest.mark.browser
def test_a_run_that_goes_on_shows_what_is_new_by_itself(browser, mill, at):
    page, wrong = browser.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{at}/login?token={TOKEN}")
    with mill.run("live", experiment="live", params={"depth": 3}) as run:
        run.log("loss", 2.0, step=0)
        run.log("loss", 1.0, step=1)
        run.log_text("notes.txt", "as it began")
        run.flush()
        page.goto(f"{at}/runs/{run.id}")
        page.evaluate("() => { window.mark = 1; }")
        page.get_by_label("Smoothing w").fill("0.7")
        page.locator("details.file > summary").click()
        run.log("loss", 0.25, step=2)
        run.log(f"new {HOSTILE}", 1.0, step=0)
        run.log(f"new {HOSTILE}", 2.0, step=1)
        run.log_text("later.txt", "as it went on")
        run.flush()
        page.get_by_text("3 values, last 0.25 at step 2").wait_for(timeout=30_000)
        page.get_by_text("later.txt").first.wait_for(timeout=30_000)
        assert page.get_by_text("as it began").is_visible()
        assert page.get_by_label("Smoothing w").input_value() == "0.7"
    page.locator("h1 .status.done").wait_for(timeout=30_000)
    assert page.evaluate("() => [window.mark, window.taken]") == [1, None]
    assert wrong == []
    page.close()


@pytest.mark.browser
def test_a_curve_tells_its_value_where_the_pointer_is(browser, mill, at):
    with mill.run("pointed", experiment="live") as run:
        for step in range(11):
            run.log("loss", 10.0**step, step=step)
    page, wrong = browser.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{at}/login?token={TOKEN}")
    page.goto(f"{at}/runs/{run.id}?log=yes")
    box = page.locator("svg.plot").first.bounding_box()
    left, right = box["width"] * 52 / 360, box["width"] * 350 / 360
    page.mouse.move(box["x"] + left + (right - left) * 0.7, box["y"] + 20)
    told = page.locator("p.here").inner_text()
    found = re.fullmatch(r"loss about ([\d.e+]+) at step 7", told)
    assert found, told
    assert float(found[1]) == pytest.approx(1e7, rel=0.05)
    assert wrong == []
    page.close()


@pytest.mark.browser
def test_without_scripts_the_page_of_a_run_reloads_itself(browser, mill, at):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{at}/login?token={TOKEN}")
    with mill.run("slow", experiment="live") as run:
        run.log("loss", 2.0, step=0)
        run.log("loss", 1.0, step=1)
        run.flush()
        page.goto(f"{at}/runs/{run.id}")
        run.log("loss", 0.125, step=2)
        run.flush()
        page.get_by_text("3 values, last 0.125 at step 2").wait_for(timeout=30_000)
    context.close()


# ------------------------------------------------------------------------------------------------ side by side


def test_runs_are_compared_by_what_differs(read, here, ids):
    shown = read.get(f"{here}/compare.json", params={"runs": ",".join(ids[:3]), "metric": "loss"}).json()
    assert [run["id"] for run in shown["runs"]] == ids[:3]
    assert set(shown["differing"]) == {"rate", "kind", f"odd {HOSTILE}"}
    assert shown["alike"] == {"same": "7"}
    assert shown["pictures"]["paths"] == ["mask.png"]
    assert [run["has"] for run in shown["pictures"]["runs"]] == [[True], [True]]
    lines = {line["name"]: line for line in shown["curves"]["lines"]}
    assert lines["trial 00"]["points"] == 700
    assert len(lines["trial 00"]["line"]) <= shown["curves"]["most"]
    assert shown["code"]["file"] == "notes.txt"
    assert ["old", "seed 0"] in shown["code"]["lines"]
    assert ["new", "seed 1"] in shown["code"]["lines"]


def test_what_goes_with_a_metric_is_first(read, here):
    shown = read.get(f"{here}/compare.json", params={"metric": "val loss"}).json()
    first = shown["importances"][0]
    assert (first["name"], first["share"], first["method"]) == ("rate", pytest.approx(1.0), "spearman")
    assert shown["parallel"][0]["column"] == "params.rate"
    assert shown["parallel"][-1]["column"] == "metrics.val loss"
    assert "Spearman" in read.get(f"{here}/compare?metric=val loss").text


def test_what_cannot_be_compared_is_told(read, here, ids):
    for state, status, text in (
        ({"runs": "nothing"}, 404, "no run &#39;nothing&#39;"),
        ({"runs": "a' OR 1=1"}, 422, "is no run"),
        ({"runs": ",".join(f"r{n}" for n in range(501))}, 422, "at most 500"),
        ({"metric": "los"}, 422, "Did you mean &#39;loss&#39;"),
        ({"runs": ids[0], "x": "loss"}, 422, "no column"),
        ({"runs": ",".join(ids[:2]), "left": "x"}, 422, "choose two of them"),
        ({"runs": ",".join(ids[:2]), "file": "x.txt"}, 422, "notes.txt"),
    ):
        answer = read.get(f"{here}/compare", params=state)
        assert (answer.status_code, text in answer.text) == (status, True), (state, answer.text)


@pytest.mark.browser
def test_ticked_runs_are_compared(browser, at, here):
    page = browser.new_page()
    page.goto(f"{at}/login?token={TOKEN}")
    page.goto(f"{at}{here}?order=run_name ASC&filter=run_name LIKE 'trial%25'")
    for name in ("trial 00", "trial 01"):
        page.get_by_label(f"Compare {name}").check()
    page.get_by_role("button", name="Compare the ticked").click()
    assert page.locator("h1").inner_text() == "2 runs beside each other"
    assert page.locator("table.pictures img").count() == 2
    page.close()


def test_nobody_reads_without_the_token(at, paths, here, ids):
    for path in (*paths.values(), f"{here}/runs.csv", f"{here}/runs.parquet", f"/runs/{ids[0]}/file?path=mask.png"):
        assert httpx.get(at + path, trust_env=False).status_code == 401, path


def test_the_same_is_shown_from_postgresql(new_database, tmp_path):
    with tm.open(new_database(), store=str(tmp_path / "objects")) as project:
        for place in range(4):
            with project.run(
                f"trial {place}", experiment="pg/one", params={"rate": place, "kind": "ab"[place % 2]}
            ) as run:
                for step in range(5):
                    run.log("loss", place + 1 / (step + 1), step=step)
                run.log_text("notes.txt", f"seed {place}")
        of = experiments.find(project.ws, "pg/one").id
        asked = tracking.Asked("params.kind = 'a'", "metrics.loss DESC", ("metrics.loss",), "params.rate", "loss")
        table = tracking.experiment(project, of, asked)
        assert [line["cells"] for line in table["lines"]] == [[2.2], [0.2]]
        assert [line["best"] for line in table["groups"]["lines"]] == [0.2, 2.2]
        assert tracking.experiments(project)["tree"]["folders"]["pg"]["runs"] == 4
        beside = tracking.compare(project, of, metric="loss")
        assert beside["importances"][0]["name"] == "rate"
        assert [len(each["line"]) for each in beside["curves"]["lines"]] == [5] * 4
        shown = views.run(project, run.id)["tracked"]
        assert [chart["points"] for chart in shown["charts"]] == [5]
        assert [file["path"] for file in shown["media"]["files"]] == ["notes.txt"]
        assert b"".join(tracking.as_csv(project, of)).count(b"\r\n") == 5


# ------------------------------------------------------------------------------------------------ drawing


def heights(drawn: str) -> list[float]:
    [path] = re.findall(r'class="line c0" d="M([^"]+)"', drawn)
    return [float(point.split(" ")[1]) for point in path.split("L")]


def test_a_logarithmic_axis_gives_each_power_the_same_room_and_leaves_out_what_is_not_above_0() -> None:
    points = [[0, 1.0], [1, 10.0], [2, 100.0], [3, 0.0]]
    one, ten, hundred = heights(tracking_plots.curves([("a", points, "line c0")], width=360, log=True))
    assert one - ten == pytest.approx(ten - hundred, abs=0.2)
    linear = heights(tracking_plots.curves([("a", points, "line c0")], width=360))
    assert len(linear) == 4
    assert linear[0] - linear[1] < linear[1] - linear[2]


def test_names_in_drawings_are_escaped() -> None:
    run = {"id": "r", "name": HOSTILE, "metric": 1.0}
    columns = [{"column": f"params.{HOSTILE}", "values": [HOSTILE]}, {"column": "metrics.loss", "values": [1.0]}]
    plot = {"x": f"params.{HOSTILE}", "y": "metrics.loss", "points": [[HOSTILE, 1.0, "r", HOSTILE]]}
    for drawn in (
        tracking_plots.curves([(HOSTILE, [[0, 1.0], [1, 2.0]], "line c0")], width=360, told=HOSTILE),
        tracking_plots.parallel(columns, [run], width=360, best="max"),
        tracking_plots.scatter(plot, width=360),
    ):
        assert "<script" not in drawn
        assert "&lt;script" in drawn
