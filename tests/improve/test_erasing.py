"""A person is erased from everything: a raw and a decoded search finds nothing, all other rows stay readable."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from erased_world import COLUMNS, EMAIL, KEY, NAME, START, TERMS, build, customers, holders
from polars.testing import assert_frame_equal

import tidemill as tm
from tidemill.core import checks
from tidemill.core.errors import BadInput, NotFound, Refused, UnknownColumn
from tidemill.core.types import Artifact, Query, Run
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue import policies
from tidemill.data.feature_store import materializing, online
from tidemill.data.filesets import files
from tidemill.data.quality import contract, contracts, profiles, quarantine
from tidemill.improve.erasure import erasing
from tidemill.prepare import labels
from tidemill.serve import deploy, packages, registry
from tidemill.train.rowids import row_keys
from tidemill.watch import log, truth


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "w.mill"
    build(root).close()
    return root


@pytest.fixture
def ws(template: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(template, tmp_path / "w.mill", symlinks=True)
    return tm.open(tmp_path / "w.mill").ws


def contents(ws: Workspace) -> dict[str, pl.DataFrame]:
    """The rows of every version of every dataset."""
    return {
        version.artifact.label: datasets.scan(ws, version).collect()
        for name in datasets.names(ws)
        for version in datasets.log(ws, name)
    }


def theirs() -> pl.Expr:
    return pl.any_horizontal(pl.col("^(email|patient)$") == EMAIL, (pl.col("^(id|order|path)$").cast(pl.String) == KEY))


def test_nothing_of_the_person_is_left_in_any_file(ws: Workspace) -> None:
    before = holders(ws.root)
    assert {place.partition(":")[2].strip() for place in before} == {*TERMS, "a number"}
    assert {place.partition("/")[0].partition(":")[0] for place in before} >= {
        "graph.db",
        "logs",
        "objects",
        "online",
        "predictions",
        "tables",
    }
    done = erasing.erase(ws, EMAIL, columns=COLUMNS)
    assert holders(ws.root) == []
    assert done.left == ()
    assert ws.graph.verify() == []
    ws.close()
    assert holders(ws.root) == []


def test_every_other_row_of_every_version_stays_under_its_new_digest(ws: Workspace) -> None:
    before = contents(ws)
    done = erasing.erase(ws, EMAIL, columns=COLUMNS)
    fresh = tm.open(ws.root).ws
    for reader in (ws, fresh):
        after = contents(reader)
        assert after.keys() == before.keys()
        for label, frame in before.items():
            lost = frame.height - frame.filter(~theirs()).height
            assert (label in done.versions) == (lost > 0)
            assert_frame_equal(after[label], frame.filter(~theirs()), check_row_order=False)
    for name in datasets.names(fresh):
        for version in datasets.log(fresh, name):
            assert version.rows == after[version.artifact.label].height


def test_a_version_that_a_program_still_holds_is_read_by_what_is_left(ws: Workspace) -> None:
    held = datasets.get(ws, "customers", 1)
    other = tm.open(ws.root).ws
    datasets.scan(other, held).collect()
    erasing.erase(ws, EMAIL, columns=COLUMNS)
    other.tables.forget("datasets/customers")
    for reader in (ws, other):
        assert datasets.scan(reader, held).collect().height == 299
    assert held.rows == 300
    assert datasets.get(ws, "customers", 1).digest != held.digest


def test_models_still_load_and_score_and_the_impact_names_them(ws: Workspace) -> None:
    before = registry.get(ws, "churn")
    row = {"age": 40.0, "spend": 12.5, "town": "York"}
    score = packages.load(ws, before.package).score([row])
    done = erasing.erase(ws, EMAIL, columns=COLUMNS)
    after = registry.get(ws, "churn")
    assert after.id == before.id
    assert after.package != before.package
    assert packages.load(ws, after.package).score([row]) == score
    assert (done.models, done.deployments) == (("model/churn@1",), ("deployment/churn@1",))
    assert done.answers == 26
    rows = ws.graph.get(str(after.artifact.meta["rows"]))
    assert isinstance(rows, Artifact)
    assert len(row_keys(ws, rows)) == rows.meta["rows"] == 349
    assert KEY not in row_keys(ws, rows)


def test_predictions_truths_and_labels_of_the_person_go_and_no_others(ws: Workspace) -> None:
    before, known = log.predictions(ws, "churn"), truth.truths(ws, "churn")
    answers = labels.answers(ws, "review")
    done = erasing.erase(ws, EMAIL, columns=COLUMNS)
    after = log.predictions(ws, "churn")
    assert (before.height, done.predictions, after.height) == (26, 2, 24)
    gone = before.join(after, on="id", how="anti")
    assert gone["row_key"].to_list() == [KEY, "again 4"]
    assert log.compact(ws, "churn") == 5
    assert truth.truths(ws, "churn").height == known.height - 1
    assert done.truths == 1
    assert [each.key for each in labels.answers(ws, "review")] == [each.key for each in answers if each.key != KEY]
    assert done.tasks == 1
    assert KEY not in [task.key for task in labels.tasks(ws, "review")]


def test_a_server_that_answers_meanwhile_loses_nothing(ws: Workspace) -> None:
    served = deploy.deploy(ws, registry.get(ws, "churn"), name="churn", lifetime="parent")
    row = {"age": 40.0, "spend": 5.0, "town": "York"}
    answered: list[deploy.Answer] = []
    try:
        with ThreadPoolExecutor(1) as thread:
            ended = thread.submit(erasing.erase, ws, EMAIL, columns=COLUMNS)
            while not ended.done() or len(answered) < 5:
                answered += served.predict([row], keys=[f"live {len(answered)}"], at=START.isoformat())
            ended.result()
    finally:
        served.stop()
    assert {each.id for each in answered} <= set(log.predictions(ws, "churn")["id"])
    assert holders(ws.root) == []
    assert log.compact(ws, "churn") == 5 + len(answered)


def test_files_of_the_person_go_with_their_bytes(ws: Workspace) -> None:
    before = datasets.get(ws, "scans")
    kept = files.read(ws, before, "7.txt")
    done = erasing.erase(ws, EMAIL, columns=COLUMNS)
    assert done.files == 2
    after = datasets.get(ws, "scans")
    assert after.rows == 18
    assert files.read(ws, after, "7.txt") == kept
    with pytest.raises(NotFound):
        files.read(ws, after, "3.txt")


def test_statistics_are_made_anew_from_the_rows_that_are_left(ws: Workspace) -> None:
    second = datasets.get(ws, "customers", 2)
    assert profiles.of(ws, second)["columns"]["spend"]["max"] == 123456.75
    erasing.erase(ws, EMAIL, columns=COLUMNS)
    left = profiles.of(ws, datasets.get(ws, "customers", 2))
    assert left["rows"] == 349
    assert left["columns"]["spend"]["max"] < 1000
    assert quarantine.rows_of(ws, "customers")["id"].to_list() == ["cust-0008-bad"]


def test_online_stores_forget_the_person_and_can_be_filled_again(ws: Workspace) -> None:
    at = START + timedelta(days=30)
    asked = [{"email": EMAIL}, {"email": "user1@example.com"}]
    assert [each["page"] for each in online.lookup(ws, "pages", asked, at=at)] == [NAME, "/b"]
    erasing.erase(ws, EMAIL, columns=COLUMNS)
    assert [each["page"] for each in online.lookup(ws, "pages", asked, at=at)] == [None, "/b"]
    ids = [{"id": KEY}, {"id": "cust-0008"}]
    found = online.lookup(ws, "spending", ids, at=at)
    materializing.materialize(ws, "spending")
    assert online.lookup(ws, "spending", ids, at=at) == found
    assert found[0] == {"town": None, "spend": None}
    assert found[1]["town"] == "Bath"


def test_the_erasure_is_recorded_and_names_nobody(ws: Workspace) -> None:
    done = erasing.erase(ws, EMAIL, columns=COLUMNS)
    (run,) = ws.graph.find(Query("run", kind="data.erase"))
    assert isinstance(run, Run)
    assert run.params == {"subject": done.subject}
    assert run.metrics["rows"] == 2 + 2 + 2 + 2
    assert run.status == "done"
    assert done.subject == erasing.keyed_hash(ws, EMAIL) != erasing.keyed_hash(ws, NAME)
    assert dict(done.rows) == {"customers": 2, "orders": 2, "scans": 2, "visits": 2}
    assert json.loads(json.dumps(done.as_json()))["format"] == 1
    kinds = {event.kind for event in ws.graph.events()}
    assert {"run.erased", "artifact.erased", "event.erased", "amended.table", "amended.blob"} <= kinds


def test_a_dry_run_says_the_same_and_changes_nothing(ws: Workspace) -> None:
    events, places = len(ws.graph.events()), holders(ws.root)
    asked = erasing.erase(ws, EMAIL, columns=COLUMNS, dry_run=True)
    assert asked.dry_run
    assert (len(ws.graph.events()), holders(ws.root)) == (events, places)
    done = erasing.erase(ws, EMAIL, columns=COLUMNS)
    assert (asked.rows, asked.versions, asked.models, asked.tasks) == (
        done.rows,
        done.versions,
        done.models,
        done.tasks,
    )


def test_erasing_again_finds_nobody(ws: Workspace) -> None:
    erasing.erase(ws, EMAIL, columns=COLUMNS)
    again = erasing.erase(ws, EMAIL, columns=COLUMNS)
    assert (dict(again.rows), again.versions, again.predictions, again.records) == (
        {"customers": 0, "orders": 0, "scans": 0, "visits": 0},
        (),
        0,
        0,
    )
    assert ws.graph.verify() == []


def test_work_goes_on_after_an_erasure(ws: Workspace) -> None:
    erasing.erase(ws, EMAIL, columns=COLUMNS)
    before = datasets.get(ws, "customers")
    made = datasets.add(
        ws, "customers", customers(400, 3).with_columns(nick=pl.lit("x")), key="id", event_time="at", known_time="at"
    )
    assert made.rows == before.rows + 3
    assert datasets.scan(tm.open(ws.root).ws, made).collect().height == made.rows


def test_rows_go_by_their_keys_as_retention_asks(ws: Workspace) -> None:
    before = contents(ws)
    keys = [f"cust-{place:04d}" for place in range(7, 20)]
    done = erasing.erase_rows(ws, "customers", keys)
    assert (dict(done.rows), done.models, done.tasks) == ({"customers": 13}, ("model/churn@1",), 2)
    for label, frame in contents(ws).items():
        was = before[label]
        kept = was.filter(~pl.col("id").is_in(keys)) if "id" in was.columns else was
        assert_frame_equal(frame, kept, check_row_order=False)
    left = holders(ws.root, [KEY])
    assert [place for place in left if place.endswith(KEY) and not place.startswith("tables/quarantine")] == []
    assert ws.graph.verify() == []


def test_a_legal_hold_stops_it_before_anything_changes(ws: Workspace) -> None:
    policies.hold(ws, "orders", "case 4711", reason="a lawsuit")
    places = holders(ws.root)
    with pytest.raises(Refused, match="dataset 'orders' is under legal hold for case 4711"):
        erasing.erase(ws, EMAIL, columns=COLUMNS)
    assert holders(ws.root) == places


def test_what_cannot_be_asked_is_told(ws: Workspace) -> None:
    with pytest.raises(BadInput, match="no dataset says which column names a person"):
        erasing.erase(ws, EMAIL)
    with pytest.raises(BadInput, match="no subject to erase"):
        erasing.erase(ws, " ", columns=COLUMNS)
    with pytest.raises(NotFound, match=r"no dataset 'custmers'.*Did you mean 'customers'"):
        erasing.erase(ws, EMAIL, columns={"custmers": ["email"]})
    with pytest.raises(UnknownColumn, match=r"no column 'mail' in any version of dataset 'customers'.*'email'"):
        erasing.erase(ws, EMAIL, columns={"customers": ["mail"]})


def test_an_ordered_dataset_keeps_its_order_and_takes_rows_behind_the_last(tmp_path: Path) -> None:
    ws = tm.open(tmp_path / "o.mill").ws
    who = ["ada" if place in (2, 3) else f"u{place}" for place in range(10)]
    frame = pl.DataFrame({"id": [f"k{place}" for place in range(10)], "who": who})
    datasets.add(ws, "o", frame, key="id", ordered=True)
    datasets.update(ws, "o", pl.DataFrame({"id": ["k5"], "who": ["bob"]}))
    erasing.erase(ws, "ada", columns={"o": ["who"]})
    left = [f"k{place}" for place in range(10) if place not in (2, 3)]
    for version in datasets.log(ws, "o"):
        assert datasets.scan(ws, version).collect()["id"].to_list() == left
    added = pl.DataFrame({"id": ["n1", "n2", "n3"], "who": ["x", "y", "z"]})
    after = datasets.add(ws, "o", added, key="id")
    assert datasets.scan(ws, after).collect()["id"].to_list() == [*left, "n1", "n2", "n3"]
    ws.close()


def test_rows_elsewhere_that_hang_on_theirs_go_too_by_id_by_name_and_by_reference(tmp_path: Path) -> None:
    with tm.open(tmp_path / "kin.mill") as mill:
        ws = mill.ws
        people = pl.DataFrame({"number": [1, 2], "email": [EMAIL, "bob@example.org"]})
        datasets.add(ws, "people", people, key="number")
        orders = {
            "order": ["o-2026-000017", "o-2026-000018", "o-2026-000019"],
            "of": [1, 2, 2],
            "note": ["", "", EMAIL],
        }
        datasets.add(ws, "orders", pl.DataFrame(orders), key="order")
        parcels = {"parcel": [1, 2, 3], "order": ["o-2026-000018", "o-2026-000017", "o-2026-000018"]}
        datasets.add(ws, "parcels", pl.DataFrame(parcels), key="parcel")
        rule = contract.Contract(checks=(checks.references("of", "people", "number"),))
        contracts.set_contract(ws, "orders", rule)
        done = erasing.erase(ws, EMAIL, columns={"people": ["email"]})
        assert done.rows == {"people": 1, "orders": 2, "parcels": 1}
        left = contents(ws)
        assert left["dataset/orders@1"]["order"].to_list() == ["o-2026-000018"]
        # A parcel has the number 1 too, but nothing says that it is a person's.
        assert left["dataset/parcels@1"]["parcel"].to_list() == [1, 3]
        assert erasing.erase(ws, EMAIL, columns={"people": ["email"]}).rows == {"people": 0}


def test_a_word_that_is_somebody_s_id_is_anybody_s_elsewhere(tmp_path: Path) -> None:
    with tm.open(tmp_path / "words.mill") as mill:
        ws = mill.ws
        people = pl.DataFrame({"person": ["berlin", "1234567"], "email": [EMAIL, "bob@example.org"]})
        datasets.add(ws, "people", people, key="person")
        cities = pl.DataFrame({"id": [1, 2, 3], "city": ["berlin", "paris", "berlin"], "serial": ["1234567", "2", "3"]})
        datasets.add(ws, "cities", cities, key="id")
        done = erasing.erase(ws, EMAIL, columns={"people": ["email"]})
        assert done.rows == {"people": 1}
        erasing.erase(ws, "1234567", columns={"people": ["person"]})
        assert contents(ws)["dataset/cities@1"].height == 3


def test_an_address_is_found_in_any_case_and_a_number_as_a_number(tmp_path: Path) -> None:
    with tm.open(tmp_path / "spelled.mill") as mill:
        ws = mill.ws
        people = pl.DataFrame({"id": [1, 2, 3], "mail": ["Ada@Example.ORG", "ada@example.org", "bob@example.org"]})
        datasets.add(ws, "people", people, key="id")
        datasets.add(ws, "notes", pl.DataFrame({"n": [1, 2], "by": ["ADA@example.org", "bob@example.org"]}), key="n")
        datasets.add(ws, "cards", pl.DataFrame({"n": [1, 2], "holder": [4711.0, 47110.0]}), key="n")
        assert erasing.erase(ws, "ada@example.org", columns={"people": ["mail"]}).rows == {"people": 2, "notes": 1}
        assert erasing.erase(ws, "4711", columns={"cards": ["holder"]}).rows == {"cards": 1}
        held = [path for path in ws.root.rglob("*") if path.is_file() and b"ada@example" in path.read_bytes().lower()]
        assert held == []
