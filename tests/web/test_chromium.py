"""The pages in a real browser: both widths, both colour schemes, keyboard, forms; nothing foreign, nothing hostile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import tidemill as tm

pytestmark = pytest.mark.browser

HOSTILE = "<script>taken=1</script><img src=x onerror=taken=1>"

PAGES = (
    "overview", "runs", "run", "datasets", "dataset", "models", "model", "deployments", "deployment", "prediction",
    "alerts", "trace", "impact", "guests", "profile", "diff", "card", "contract", "files",
    "features", "feature", "audit", "evaluation",
)  # fmt: skip
SIZES = ((320, 640), (1280, 900))

# WCAG 2.2, 1.4.3: contrast of text with what is behind it; 4.5, or 3 for large or bold-large text. The colours are
# composed from the element outwards; SVG text lies on the colour of its figure.
CONTRAST = """() => {
  const parse = text => { const m = text.match(/[\\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1]; };
  const light = c => { const f = c.slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const behind = element => { let under = [];
    for (let e = element; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); under.push(c); if (c[3] === 1) break; }
    return under.reverse().reduce((base, c) => base.map((v, i) => v * (1 - c[3]) + c[i] * c[3]), [255, 255, 255]); };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.textContent.trim() || element.closest('svg') || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), large = parseFloat(style.fontSize) >= 24;
    const [a, b] = [light(parse(style.color)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className} ${node.textContent.trim().slice(0, 40)}`);
  }
  return [...new Set(found)];
}"""  # noqa: E501
WIDER = "() => document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
UNNAMED = """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select, img, svg')]
  .filter(e => e.checkVisibility() && !e.closest('[aria-hidden=true]') && !(e.closest('svg') && e.tagName !== 'svg'))
  .filter(e => !e.textContent.trim() && !e.getAttribute('aria-label') && !e.title && !e.labels?.length)
  .filter(e => !e.hasAttribute('alt'))
  .map(e => e.outerHTML.slice(0, 120))"""


OUTSIDE = """() => [...document.querySelectorAll('svg.trace a')].filter(a => a.checkVisibility()).filter(a => {
  const box = a.querySelector('rect').getBoundingClientRect();
  return [...a.querySelectorAll('text')].some(t => t.getBoundingClientRect().right > box.right); })
  .map(a => a.textContent)"""


@dataclass(frozen=True)
class Up:
    """A running `tidemill up`: where, and its token."""

    url: str
    token: str

    @property
    def link(self) -> str:
        """What it printed."""
        return f"{self.url}/login?token={self.token}"


@pytest.fixture(scope="module")
def up(mill: tm.Project) -> Iterator[Up]:
    """The pages from a process of their own, as `tidemill up` serves them."""
    command = [sys.executable, "-m", "tidemill.cli.main", "--workspace", mill.ws.url, "up", "--port", "0"]
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=unbuffered) as run:
        assert run.stdout is not None
        lines = iter(run.stdout.readline, "")
        found = next(
            (hit for hit in (re.search(r"(http://\S+)/login\?token=(\S+)", line) for line in lines) if hit), None
        )
        assert found, "tidemill up ended without printing a link"
        with httpx.Client(trust_env=False, transport=httpx.HTTPTransport(retries=20)) as client:
            client.get(f"{found[1]}/login")
        yield Up(found[1], found[2])
        run.terminate()
        run.stdout.read()


@pytest.fixture
def read(up: Up) -> Iterator[httpx.Client]:
    """What programs read."""
    headers = {"Authorization": f"Bearer {up.token}"}
    with httpx.Client(base_url=up.url, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real Chromium. Without one: skipped, but a failure where CI is set, so that no pipeline passes unseen."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next((found for found in map(shutil.which, names) if found), None)
    if path is None:
        text = "no Chromium on this machine; install one, for example: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()


@pytest.fixture
def tab(chromium, up):
    """Opens signed-in tabs; what they complained of or asked elsewhere for fails the test."""
    opened, wrong = [], []

    def make(width=1280, height=900, scheme="light", link=up.link):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        opened.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(up.url) else wrong.append(asked.url))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.goto(link)
        return page

    yield make
    for context in opened:
        context.close()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_page_fits_is_legible_and_says_what_it_is(tab, up, paths, width, height, scheme):
    page = tab(width, height, scheme)
    for name in PAGES:
        page.goto(up.url + paths[name])
        assert page.evaluate(WIDER) <= 0, f"{name} is wider than {width} px"
        assert page.evaluate(CONTRAST) == [], f"{name} in {scheme}"
        assert page.evaluate(UNNAMED) == [], name
        assert page.locator("h1").count() == 1, name
        assert page.title().endswith("· tides.mill"), name


def test_light_and_dark_differ(tab, up):
    def colour(scheme):
        return tab(scheme=scheme).evaluate("() => getComputedStyle(document.body).backgroundColor")

    dark, light = (sum(map(int, re.findall(r"\d+", colour(scheme))[:3])) for scheme in ("dark", "light"))
    assert dark < 150 < 600 < light


def test_the_link_signs_in_and_the_token_leaves_the_address(tab, up):
    page = tab()
    assert page.url == f"{up.url}/"
    assert up.token not in page.content()
    cookies = page.context.cookies()
    assert [(each["httpOnly"], each["sameSite"]) for each in cookies] == [(True, "Lax")]


def test_the_token_can_be_pasted(tab, up):
    # The 401 of the first page is Chromium's to tell: this tab starts at the form itself.
    page = tab(link=f"{up.url}/login")
    page.get_by_label("Token").fill(up.token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{up.url}/")
    assert page.get_by_role("link", name="Runs", exact=True).is_visible()


def test_one_gets_from_a_prediction_to_its_rows(tab, up, paths):
    page = tab()
    page.goto(up.url + paths["prediction"])
    page.get_by_role("link", name=re.compile("^Trace")).click()
    page.wait_for_url(re.compile("/trace/"))
    page.locator("svg.trace a", has_text="dataset").first.click()
    page.wait_for_url(re.compile(r"/datasets/tides"))
    assert page.locator("h1").inner_text().startswith("tides")


def test_one_drawing_is_shown_at_each_width(tab, up, paths):
    for width, height in SIZES:
        page = tab(width, height)
        page.goto(up.url + paths["deployment"])
        shown = [box for box in (each.bounding_box() for each in page.locator("svg.plot").all()) if box]
        assert len(shown) == 1
        assert shown[0]["width"] <= width
        small = page.evaluate(
            "() => Math.min(...[...document.querySelectorAll('svg.plot text')].filter(e => e.checkVisibility())"
            ".map(e => e.getBoundingClientRect().height))"
        )
        assert small >= 9, f"text of {small} px at {width} px"


def test_the_texts_of_a_trace_stay_in_their_boxes(tab, up, mill):
    with mill.run("2013-12-31-B6527-EWR-WIDE-CAPITALS") as run:
        run.log("loss", 1.0)
    for width, height in SIZES:
        page = tab(width, height)
        for path in (f"/trace/{run.run.id}", f"/trace/{mill.model('tides').id}"):
            page.goto(up.url + path)
            assert page.evaluate(OUTSIDE) == [], (width, path)


def test_an_alert_is_acknowledged_with_a_note(tab, up, read):
    page = tab()
    page.goto(f"{up.url}/alerts")
    before = read.get("/alerts.json").json()["open"]
    alert = page.locator("ul.alerts > li.open").first
    name = alert.get_attribute("id")
    for summary in alert.locator("summary").all():
        summary.click()
    alert.get_by_label("What you found or did").fill(f"seen {HOSTILE}")
    alert.get_by_role("button").click()
    page.wait_for_load_state()
    found = read.get("/alerts.json").json()
    assert found["open"] == before - 1
    assert next(each for each in found["alerts"] if each["id"] == name)["note"] == f"seen {HOSTILE}"
    assert page.evaluate("() => window.taken") is None


def test_a_hostile_text_is_shown_and_does_not_run(tab, up, mill):
    with mill.run(f"look {HOSTILE}", params={HOSTILE: HOSTILE}) as run:
        run.log(HOSTILE, 1.0)
        run.log("a_metric_whose_name_is_longer_than_a_telephone_is_wide", 12345.678)
    page = tab(*SIZES[0])
    for path in ("/", "/runs", f"/runs/{run.run.id}", f"/trace/{run.run.id}", f"/runs?kind={HOSTILE}"):
        page.goto(up.url + path)
        assert HOSTILE in page.locator("main").inner_text() or "?kind=" in path, path
        assert page.evaluate("() => window.taken") is None, path
        assert page.evaluate(WIDER) <= 0, path
        assert page.locator("main script, main img").count() == 0, path


def test_the_keyboard_skips_to_the_content_and_shows_where_it_is(tab, up):
    page = tab()
    page.goto(f"{up.url}/runs")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("() => document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.querySelector('main').contains(document.activeElement)")
    assert page.evaluate("() => parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2


def test_runs_are_filtered_by_the_form(tab, up):
    page = tab()
    page.goto(f"{up.url}/runs")
    page.get_by_label("Kind").fill("train.*")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile("kind=train"))
    kinds = set(page.locator("td[data-label=Kind]").all_inner_texts())
    assert kinds == {"train.fit", "train.evaluate"}


def test_the_pages_work_without_scripts(chromium, up):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(up.link)
    assert page.locator("h1").inner_text() == "tides.mill"
    context.close()
