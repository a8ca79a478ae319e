"""The pages: each shows what is recorded, escaped, to whom is signed in."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from html.parser import HTMLParser

import httpx
import pytest

import tidemill as tm
from tidemill.data.catalogue import access

VOID = {"meta", "link", "img", "input", "br", "path", "circle", "rect", "wbr"}


class Shape(HTMLParser):
    """Sees that elements are closed in order, and what a strict policy would not run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.forbidden: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.forbidden += [name for name, _ in attrs if name == "style" or name.startswith("on")]
        self.forbidden += [tag] if tag in ("script", "style", "iframe") else []
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.mark.parametrize(
    "name",
    ["overview", "runs", "run", "datasets", "dataset", "models", "model", "deployments", "deployment", "prediction",
     "alerts", "trace", "impact", "guests", "profile", "diff", "card", "contract", "files", "features", "feature",
     "audit", "evaluation"],
)  # fmt: skip
def test_a_page_is_whole_and_stays_at_home(browser: httpx.Client, paths: dict[str, str], name: str) -> None:
    answer = browser.get(paths[name])
    assert answer.status_code == 200, answer.text
    shape = Shape()
    shape.feed(answer.text)
    assert (shape.open, shape.forbidden) == ([], [])
    assert all(link.startswith(("/", "#", "?")) for link in shape.links), shape.links
    assert "<b>Bari" not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "overview",
        "run",
        "dataset",
        "model",
        "deployment",
        "prediction",
        "alerts",
        "trace",
        "guests",
        "profile",
        "diff",
        "card",
        "contract",
        "files",
        "features",
        "feature",
        "audit",
        "evaluation",
    ],
)
def test_a_page_links_to_itself_as_json(browser: httpx.Client, paths: dict[str, str], name: str) -> None:
    shape = Shape()
    shape.feed(browser.get(paths[name]).text)
    link = next(link for link in shape.links if ".json" in link)
    assert isinstance(browser.get(link).json(), dict)


def test_every_link_of_every_page_leads_somewhere(browser: httpx.Client, paths: dict[str, str]) -> None:
    links: set[str] = set()
    for path in paths.values():
        shape = Shape()
        shape.feed(browser.get(path).text)
        base = path.partition("?")[0]
        links |= {base + link if link.startswith("?") else link for link in shape.links if not link.startswith("#")}
    posts = {link for link in links if link == "/logout" or link.endswith("/acknowledge")}
    lost = {link for link in sorted(links - posts) if browser.get(link, follow_redirects=True).status_code != 200}
    assert not lost


def test_the_plot_marks_what_was_decided(browser: httpx.Client, paths: dict[str, str]) -> None:
    page = browser.get(paths["deployment"]).text
    assert "2013-04-03 promoted: revision 2 (tides@2) became champion: a &lt;quick&gt; trial" in page
    assert "2013-04-05 rolled back: revision 1 (tides@1) became champion: it was worse" in page
    found = browser.get(f"{paths['deployment']}.json").json()["performance"]
    assert [(mark["at"][:10], mark["what"]) for mark in found["marks"]] == [
        ("2013-04-01", "deployed"),
        ("2013-04-02", "rebuilt"),
        ("2013-04-03", "promoted"),
        ("2013-04-05", "rolled back"),
    ]
    assert found["months"][0]["n"] == 6 * 24
    assert len(found["days"]) >= 5


def test_the_card_and_scores_beside_the_prior_are_on_the_model(browser: httpx.Client, paths: dict[str, str]) -> None:
    page = browser.get(paths["model"]).text
    assert "Constant prior" in page
    assert "<h3>Model card: tides</h3>" in page
    assert "signature verified" in page


def test_a_dataset_shows_each_value_below_its_column(browser: httpx.Client, paths: dict[str, str]) -> None:
    found = browser.get(f"{paths['dataset']}.json").json()
    first = dict(zip(found["columns"], found["first_rows"][0], strict=True))
    assert first["id"].startswith("row ")
    assert first["port"] in ("Brest", "<b>Bari</b>")


def test_personal_columns_are_masked_on_every_page_until_a_role_is_granted(
    browser: httpx.Client, mill: tm.Project, paths: dict[str, str]
) -> None:
    pages = [paths[name] for name in ("guests", "profile", "diff", "contract", "card")]
    pages += ["/datasets/guests.json", "/datasets/guests/profile.json", "/datasets/guests/contract.json",
              "/datasets/guests/diff.json?old=1", "/api/v1/datasets/guests/diff?old=1"]  # fmt: skip
    assert not [path for path in pages if "@example.org" in browser.get(path).text]
    who = mill.ws.settings.who
    access.grant(mill.ws, who, "pii")
    try:
        assert all("@example.org" in browser.get(paths[name]).text for name in ("guests", "profile", "contract"))
    finally:
        access.revoke(mill.ws, who, "pii")
    looks = browser.get("/audit.json?what=read&subject=dataset/guests").json()["lines"]
    assert {tuple(each["body"]["masked"]) for each in looks if each.get("body")} == {("email",), ()}


def test_what_changed_is_shown_row_by_row(browser: httpx.Client) -> None:
    page = browser.get("/datasets/guests/diff?old=2&new=3").text
    assert "<del>51</del>" in page
    assert "<ins>52</ins>" in page


def test_what_names_a_row_is_seen_first_wherever_it_stands(browser: httpx.Client) -> None:
    for page, section in (("", "First rows"), ("/diff?old=1&new=2", "Added rows"), ("/contract", "In quarantine")):
        shown = browser.get(f"/datasets/guests{page}").text.partition(section)[2]
        assert shown.index(">guest<") < shown.index(">age<")


def test_what_fails_the_contract_waits_in_quarantine_with_its_reason(browser: httpx.Client) -> None:
    found = browser.get("/datasets/guests/contract.json").json()
    assert found["rules"] == ["guest unique", "age between 0 130"]
    row = dict(zip(found["columns"], found["rows"][0], strict=True))
    assert (found["quarantined"], row["guest"], row["age"]) == (1, "g4", 444)
    assert found["columns"][:3] == ["guest", "__reasons", "age"]  # seen on a telephone without scrolling
    assert "age between 0 130" in browser.get("/datasets/guests/contract").text


def test_a_picture_is_shown_and_any_other_file_is_a_download(browser: httpx.Client) -> None:
    picture = browser.get("/datasets/pictures/file", params={"path": "seals/one.png"})
    assert (picture.headers["content-type"], picture.content[:4]) == ("image/png", b"\x89PNG")
    note = browser.get("/datasets/pictures/file", params={"path": "notes.txt"})
    assert note.headers["content-type"] == "application/octet-stream"
    assert note.headers["content-disposition"] == "attachment; filename*=UTF-8''notes.txt"
    assert browser.get("/datasets/pictures/file", params={"path": "../tidemill.json"}).status_code == 404
    assert browser.get("/datasets/guests/file", params={"path": "g1"}).status_code == 422


def test_an_alert_is_seen_by_its_form(browser: httpx.Client, mill: tm.Project) -> None:
    alert = mill.deployments.alerts("tides")[0]
    sent = {"note": "looked & fine", "next": "/alerts?deployment=tides"}
    answer = browser.post(f"/alerts/{alert.id}/acknowledge", data=sent)
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts?deployment=tides")
    assert next(each for each in mill.deployments.alerts("tides") if each.id == alert.id).note == "looked & fine"
    assert "looked &amp; fine" in browser.get("/alerts").text


def test_a_wrong_name_is_told_with_the_nearest(browser: httpx.Client) -> None:
    answer = browser.get("/models/tide/1")
    assert answer.status_code == 404
    assert "Did you mean &#39;tides&#39;?" in answer.text
    assert browser.get("/runs?status=dun").status_code == 422
    assert browser.get("/nowhere").status_code == 404


def test_an_empty_workspace_says_what_to_do_next(serve: Callable[[], AbstractContextManager[httpx.Client]]) -> None:
    with serve() as client:
        for path in ("/", "/runs", "/datasets", "/models", "/deployments", "/alerts", "/features", "/audit"):
            assert client.get(path).status_code == 200
        assert "tidemill demo" in client.get("/").text


# ---------------------------------------------------------------------------------------------------------- signing in


def test_a_page_asks_a_stranger_for_the_token_and_leads_on(stranger: httpx.Client, token: str) -> None:
    answer = stranger.get("/runs?kind=train.*")
    assert answer.status_code == 401
    assert 'name="next" value="/runs?kind=train.*"' in answer.text
    signed = stranger.post("/login", data={"token": token, "next": "/runs?kind=train.*"})
    assert (signed.status_code, signed.headers["location"]) == (303, "/runs?kind=train.*")
    assert stranger.get("/runs?kind=train.*").status_code == 200


def test_the_cookie_is_hidden_from_scripts_and_holds_no_token(stranger: httpx.Client, token: str) -> None:
    cookie = stranger.get("/login", params={"token": token}).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert token not in cookie


def test_a_form_of_too_many_fields_is_refused(stranger: httpx.Client) -> None:
    answer = stranger.post("/login", data={f"field{place}": "x" for place in range(21)})
    assert answer.status_code == 422
    assert "more than 20 fields" in answer.text


def test_a_wrong_token_opens_nothing(stranger: httpx.Client) -> None:
    answer = stranger.get("/login", params={"token": "wrong"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert stranger.get("/").status_code == 401


@pytest.mark.parametrize("place", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_leads_to_our_own_pages_only(stranger: httpx.Client, token: str, place: str) -> None:
    assert stranger.post("/login", data={"token": token, "next": place}).headers["location"] == "/"


def test_signing_out_ends_the_session(browser: httpx.Client) -> None:
    browser.post("/logout")
    assert browser.get("/").status_code == 401


def test_a_form_of_another_site_is_refused(browser: httpx.Client, mill: tm.Project) -> None:
    alert = mill.deployments.alerts("tides")[-1]
    headers = {"origin": "https://evil.example"}
    assert browser.post(f"/alerts/{alert.id}/acknowledge", headers=headers).status_code == 403


def test_a_body_that_is_too_big_is_refused_unread(browser: httpx.Client) -> None:
    assert browser.post("/login", content=b"token=" + b"x" * 2_000_000).status_code == 413


def test_features_are_shown_with_every_digit(browser: httpx.Client, paths: dict[str, str]) -> None:
    features = browser.get(f"{paths['prediction']}.json").json()["features"]
    assert f"<dt>length</dt><dd>{features['length']!r}</dd>" in browser.get(paths["prediction"]).text


def test_a_page_that_needs_a_purpose_asks_for_it(
    browser: httpx.Client, mill: tm.Project, paths: dict[str, str]
) -> None:
    name = paths["profile"].split("/")[2]
    mill.policies.allow(name, "churn", "consent")
    try:
        for page in ("profile", "diff"):
            refused = browser.get(paths[page])
            assert refused.status_code == 403
            shape = Shape()
            shape.feed(refused.text)
            assert (shape.open, shape.forbidden) == ([], [])
            assert "named purposes only" in refused.text
            assert '<input name="purpose" required' in refused.text
            there = browser.get(paths[page], params={"purpose": "churn"})
            assert there.status_code == 200
            assert 'value="churn"' in there.text
        assert '<input name="purpose" required' in browser.get(f"/datasets/{name}").text
        assert "Overview" in browser.get("/datasets/none").text
        assert 'name="purpose"' not in browser.get("/datasets/none").text
    finally:
        mill.policies.allow_any(name)


def test_an_evaluation_shows_intervals_weak_slices_fairness_and_drawings(
    browser: httpx.Client, mill: tm.Project, paths: dict[str, str]
) -> None:
    page = browser.get(paths["evaluation"]).text
    found = browser.get(f"{paths['evaluation']}.json").json()
    auc = found["report"]["scores"]["auc"]
    assert f"{auc['low']:.4f} to {auc['high']:.4f}" in page
    assert "Fairness by port" in page
    assert "&lt;b&gt;Bari&lt;/b&gt;" in page
    assert "Cheapest threshold" in page
    lines = found["report"]["calibration"]
    drawn = re.findall(r"<title>predicted [^<]+, ([\d,]+) rows</title>", page)
    assert [int(each.replace(",", "")) for each in drawn] == [line["rows"] for line in lines]
    assert {each["name"] for each in found["report"]["importances"]["columns"]} == {"length", "port"}
    assert page.count('class="bar"') == 2
    assert {"name": "tides", "version": 1} in found["models"]
    assert f'href="{paths["evaluation"]}"' in browser.get("/models/tides/1").text
    assert "none is recorded" in browser.get("/models/tides/2").text
    assert browser.get(f"/evaluations/{mill.model('tides', 1).id}").status_code == 404
    assert browser.get(f"/evaluations/{mill.lineage.runs()[0].id}.json").status_code == 404
