"""Facts about datasets, and tags that follow columns through joins, recipes, models and prediction logs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from tidemill.core import recipe as recipes
from tidemill.core.errors import BadInput, NotFound, Refused, UnknownColumn
from tidemill.core.ids import iso
from tidemill.core.recording import outputs_of
from tidemill.core.segments import SegmentWriter
from tidemill.core.types import Artifact, DatasetVersion, Matrix, ModelVersion, Prediction, Run
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.catalogue import governance, policies
from tidemill.data.catalogue.tagging import tagged
from tidemill.data.feature_store import features, views
from tidemill.prepare.cleaning import drop_duplicates
from tidemill.project import Project
from tidemill.track import own, runs
from tidemill.watch import log

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    yield made
    made.close()


def people(ws: Workspace, name: str = "people") -> DatasetVersion:
    frame = pl.DataFrame(
        {
            "person": ["p1", "p2", "p3"],
            "email": ["ada@example.org", "bob@example.org", "eve@example.org"],
            "plan": ["free", "paid", "paid"],
        }
    )
    return datasets.add(ws, name, frame, key="person")


# ------------------------------------------------------------------------------------------------------- facts


def test_what_was_said_is_kept_until_something_else_is_said(ws: Workspace) -> None:
    people(ws)
    governance.describe(ws, "people", owner="ada", steward="bob", licence="CC-BY-4.0", classification="confidential")
    governance.describe(ws, "people", description="All customers.", owner="eve")
    known = governance.get(ws, "people")
    assert (known.owner, known.steward, known.licence) == ("eve", "bob", "CC-BY-4.0")
    assert (known.description, known.classification) == ("All customers.", "confidential")
    governance.describe(ws, "people", owner="", classification="")
    known = governance.get(ws, "people")
    assert (known.owner, known.classification, known.steward) == (None, None, "bob")


def test_saying_the_same_again_is_no_event(ws: Workspace) -> None:
    people(ws)
    first = governance.describe(ws, "people", owner="ada")
    assert governance.describe(ws, "people", owner="ada").seq == first.seq
    assert len(ws.graph.events("governance/people")) == 1


def test_a_dataset_of_which_nothing_was_said_is_empty(ws: Workspace) -> None:
    people(ws)
    assert governance.get(ws, "people") == governance.Governance("people")
    assert governance.subject_columns(ws) == {}


def test_changes_at_once_are_all_kept(ws: Workspace) -> None:
    people(ws)
    workers = [Thread(target=governance.tag, args=(ws, "people", "email", f"t{n}")) for n in range(8)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert sorted(governance.tags(ws, "people")["email"]) == [f"t{n}" for n in range(8)]


def test_an_unknown_class_dataset_column_or_tag_is_named(ws: Workspace) -> None:
    people(ws)
    with pytest.raises(BadInput, match=r"classification 'secret' is not known; allowed: public, internal, conf"):
        governance.describe(ws, "people", classification="secret")
    with pytest.raises(NotFound, match=r"no dataset 'peple'; there are people\. Did you mean 'people'\?"):
        governance.describe(ws, "peple", owner="ada")
    with pytest.raises(UnknownColumn, match=r"no column 'emial' in dataset 'people'; .* Did you mean 'email'\?"):
        governance.tag(ws, "people", "emial", "pii:email")
    with pytest.raises(BadInput, match=r"tag 'PII Email' cannot be used; allowed: small letters"):
        governance.tag(ws, "people", "email", "PII Email")
    with pytest.raises(BadInput, match=r"no tag is given"):
        governance.tag(ws, "people", "email")


def test_a_column_that_only_an_old_version_has_can_be_tagged(ws: Workspace) -> None:
    people(ws)
    frame = pl.DataFrame({"person": ["p9"], "plan": ["free"]})
    datasets.add(ws, "people", frame, key="person", mode="replace")
    assert governance.tag(ws, "people", "email", "pii:email").tags == {"email": ("pii:email",)}


def test_tags_are_given_and_taken(ws: Workspace) -> None:
    people(ws)
    governance.tag(ws, "people", "email", "pii:email", "contact")
    governance.tag(ws, "people", "person", "subject")
    governance.untag(ws, "people", "email", "contact")
    assert governance.tags(ws, "people") == {"email": ["pii:email"], "person": ["subject"]}
    assert governance.subject_columns(ws) == {"people": ["person"]}
    governance.untag(ws, "people", "person")
    assert governance.subject_columns(ws) == {}


# ------------------------------------------------------------------------------------------------------- suggestions


def test_rules_suggest_until_a_person_has_decided(ws: Workspace) -> None:
    version = people(ws)
    (found,) = governance.suggest(ws, version)
    assert (found.column, found.kind, found.share) == ("email", "email", 1.0)
    assert governance.tags(ws, "people") == {}  # a suggestion is no tag
    governance.confirm(ws, found, dataset="people")
    assert governance.tags(ws, "people") == {"email": ["pii:email"]}
    assert governance.suggest(ws, version) == []


def test_what_a_person_rejects_is_not_suggested_again_but_can_be_confirmed(ws: Workspace) -> None:
    version = people(ws)
    (found,) = governance.suggest(ws, version)
    governance.reject(ws, "people", "email", found.tag)
    assert governance.suggest(ws, version) == []
    assert governance.confirm(ws, found, dataset="people").rejected == {}


def test_the_report_of_a_search_holds_no_value(ws: Workspace) -> None:
    governance.suggest(ws, people(ws))
    (run,) = runs.find(ws, kind="data.find-pii")
    assert isinstance(run, Run)
    ((_, report),) = outputs_of(ws, run)
    assert b"example.org" not in ws.store.get(report.digest)
    assert b"xxx@xxxxxxx.xxx" in ws.store.get(report.digest)


# ------------------------------------------------------------------------------------------------------- lineage


def test_tags_pass_into_what_a_run_made_of_a_dataset(ws: Workspace) -> None:
    version = people(ws)
    governance.tag(ws, "people", "email", "pii:email")
    with own.run(ws, "derive", inputs=[version]) as run:
        frame = ws.tables.frame(version.pinned).select(
            "person", "email", contact_email="email", size=pl.lit(1, dtype=pl.Int64)
        )
        made = datasets.add(ws, "mails", frame, key="person")
        run.link_output(made)
    again = datasets.add(
        ws,
        "mails",
        pl.DataFrame({"person": ["p7"], "email": ["q@example.org"], "contact_email": ["q@example.org"], "size": [1]}),
        key="person",
    )
    for each in (made, again):  # the second by its parent
        assert tagged(ws, each.artifact) == {
            "contact_email": {"tags": ["pii:email"], "from": ["people.email"]},
            "email": {"tags": ["pii:email"], "from": ["people.email"]},
        }
    governance.reject(ws, "mails", "contact_email", "pii:email")  # a person says: that one is a hash
    assert list(tagged(ws, again.artifact)) == ["email"]


def test_tags_and_limits_pass_through_a_cleaning(ws: Workspace) -> None:
    raw = people(ws, "people_raw")
    governance.tag(ws, "people_raw", "email", "pii:email")
    policies.allow(ws, "people_raw", "churn", "consent")
    mill = Project(ws)
    clean = mill.clean("people", ws.tables.frame(raw.pinned), drop_duplicates("person"), key="person", of=raw)
    mill.add("people", clean, key="person")
    version = datasets.get(ws, "people")
    assert tagged(ws, version.artifact) == {"email": {"tags": ["pii:email"], "from": ["people_raw.email"]}}
    with pytest.raises(Refused, match=r"dataset 'people_raw', which dataset/people@1 came from, may not be used"):
        policies.require(ws, version, "marketing")


def test_the_features_of_a_view_have_the_tags_of_their_columns(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": ["1"], "who": ["p1"], "income": [1.0], "at": [START]})
    datasets.add(ws, "incomes", frame, key="id", event_time="at", known_time="at")
    governance.tag(ws, "incomes", "income", "pii:income")
    governance.tag(ws, "incomes", "who", "subject")
    source = views.source("incomes", by="person", on="who", columns=["income"], prefix="their_")
    made = features.define(ws, views.View("money", (source,)))
    assert tagged(ws, made) == {
        "person": {"tags": ["subject"], "from": ["incomes.who"]},
        "their_income": {"tags": ["pii:income"], "from": ["incomes.income"]},
    }


@pytest.fixture
def story(tmp_path: Path) -> Iterator[tuple[Workspace, ModelVersion]]:
    """Calls joined with their callers as known then, by a prefix; a model of them, and one answer."""
    dice = np.random.default_rng(3)
    n = 300
    mill = Project(open_workspace(tmp_path / "b.mill"))
    callers = pl.DataFrame(
        {
            "record": [f"r{k}" for k in range(20)],
            "caller": [f"c{k}" for k in range(20)],
            "city": ["Rome", "Oslo"] * 10,
            "income": dice.normal(50, 10, 20),
            "since": [START] * 20,
        }
    )
    calls = pl.DataFrame(
        {
            "call": [f"k{k}" for k in range(n)],
            "caller": [f"c{k % 20}" for k in range(n)],
            "at": [START + timedelta(hours=k + 1) for k in range(n)],
            "length": dice.normal(5, 1, n),
            "bought": dice.integers(0, 2, n),
        }
    )
    mill.add("callers", callers, key="record", event_time="since")
    mill.add("calls", calls, key="call", event_time="at")
    governance.tag(mill.ws, "callers", "city", "pii:address")
    governance.tag(mill.ws, "callers", "income", "pii:income")
    governance.tag(mill.ws, "calls", "call", "subject")
    governance.tag(mill.ws, "calls", "bought", "sensitive")
    rows = mill.dataset("calls").as_of(mill.dataset("callers"), by="caller", prefix="who_")
    recipe = recipes.recipe(
        recipes.fill("who_income"),
        recipes.scale("who_income"),
        recipes.one_hot("who_city"),
        recipes.keep("length"),
    )
    train, test = rows.split(time=[START + timedelta(hours=200)])

    def logistic(train: Matrix) -> LogisticRegression:
        return LogisticRegression().fit(train.X, train.y)

    fitted = mill.fit(logistic, train, recipe, target="bought")
    model = mill.register(fitted, "buyers", on=test)
    yield mill.ws, model
    mill.close()


def test_tags_pass_by_a_prefix_through_the_recipe_into_features_and_model(
    story: tuple[Workspace, ModelVersion],
) -> None:
    ws, model = story
    income, city = (
        {"tags": ["pii:income"], "from": ["callers.income"]},
        {"tags": ["pii:address"], "from": ["callers.city"]},
    )
    recipe = ws.graph.get(str(model.artifact.meta["recipe"]))
    assert isinstance(recipe, Artifact)
    features = {"who_income": income, "who_city": city, "who_city=Oslo": city, "who_city=Rome": city}
    assert tagged(ws, recipe) == features
    assert tagged(ws, model.artifact) == {**features, "bought": {"tags": ["sensitive"], "from": ["calls.bought"]}}
    rows = ws.graph.get(str(model.artifact.meta["rows"]))
    assert isinstance(rows, Artifact)
    assert tagged(ws, rows) == {"call": {"tags": ["subject"], "from": ["calls.call"]}}
    profile = ws.graph.get(str(model.artifact.meta["profile"]))
    assert isinstance(profile, Artifact)
    assert tagged(ws, profile) == {"who_income": income, "who_city": city}


def test_a_recipe_whose_bytes_were_erased_still_tells_its_raw_columns(story: tuple[Workspace, ModelVersion]) -> None:
    ws, model = story
    recipe = ws.graph.get(str(model.artifact.meta["recipe"]))
    assert isinstance(recipe, Artifact)
    ws.store.delete(recipe.digest)
    assert list(tagged(ws, recipe)) == ["who_city", "who_income"]


def test_tags_pass_into_deployments_and_the_prediction_log(story: tuple[Workspace, ModelVersion]) -> None:
    ws, model = story
    made = Artifact("d" * 32, "deployment", "buyers", 0, "1" * 64, START, None, {"model": model.id})
    with own.run(ws, "deploy", inputs=[model]) as run:
        deployment = run.emit("deployment", "buyers", digest=made.digest, meta=made.meta)
    assert tagged(ws, deployment) == tagged(ws, model.artifact)
    answer = Prediction(
        "a" * 32, "buyers", 1, model.id, "k1", iso(START), iso(START), "live", 0.5, {"who_city": "Oslo"}, 0.001
    )
    writer = SegmentWriter(ws.root / "predictions" / "buyers", fsync="never")
    writer.append([msgspec.json.encode(answer)])
    writer.close()
    log.compact(ws, "buyers")
    newest = log.newest(ws, "buyers")
    assert newest is not None
    assert tagged(ws, newest) == {
        "features.who_city": {"tags": ["pii:address"], "from": ["callers.city"]},
        "features.who_income": {"tags": ["pii:income"], "from": ["callers.income"]},
        "row_key": {"tags": ["subject"], "from": ["calls.call"]},
    }


def test_a_column_of_its_own_name_wins_over_one_that_its_name_ends_with(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": ["1"], "name": ["Ada"], "tail_name": ["N1"]})
    version = datasets.add(ws, "planes", frame, key="id")
    governance.tag(ws, "planes", "name", "pii:name")
    with own.run(ws, "derive", inputs=[version]) as run:
        made = datasets.add(ws, "tails", frame.select("id", "tail_name", owner_name="name"), key="id")
        run.link_output(made)
    assert list(tagged(ws, made.artifact)) == ["owner_name"]
