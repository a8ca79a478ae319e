"""Reading as somebody: what is masked, how, and that each read is in the log."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.core.errors import BadInput, Corrupt, NotFound, Refused, UnknownColumn
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.data import datasets
from tidemill.data.catalogue import access, governance, policies
from tidemill.track import own

PEOPLE = pl.DataFrame(
    {
        "person": ["p1", "p2", "p3"],
        "number": [7, 8, 7],
        "email": ["ada@example.org", None, "ada@example.org"],
        "surname": ["Lovelace", "Babbage", None],
        "born": [date(1815, 12, 10), date(1791, 12, 26), None],
        "plan": ["free", "paid", "paid"],
    }
)
TAGS = {"email": "pii:email", "surname": "pii:name", "born": "pii:birth_date", "number": "subject"}


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    made = open_workspace(tmp_path / "a.mill")
    yield made
    made.close()


@pytest.fixture
def version(ws: Workspace) -> DatasetVersion:
    made = datasets.add(ws, "people", PEOPLE, key="person")
    for column, tag in TAGS.items():
        governance.tag(ws, "people", column, tag)
    return made


def seen(ws: Workspace, version: DatasetVersion, actor: str = "bob") -> pl.DataFrame:
    return access.scan(ws, version, actor=actor).collect().sort("person")


def test_personal_columns_are_masked_by_their_kind(ws: Workspace, version: DatasetVersion) -> None:
    rows = seen(ws, version)
    assert rows["plan"].to_list() == ["free", "paid", "paid"]
    assert rows["surname"].to_list() == ["***", "***", None]
    assert rows["born"].to_list() == [None, None, None]
    assert rows.schema["born"] == pl.Date
    first, missing, third = rows["email"].to_list()
    assert missing is None
    assert first == third  # equal values stay equal, so rows can be counted and joined
    assert first == access.pseudonym(access.pseudonym_key(ws), "ada@example.org")
    assert rows["number"][0] == rows["number"][2] != rows["number"][1]
    assert set(rows["number"]) & {7, 8} == set()


def test_who_has_the_role_sees_all(ws: Workspace, version: DatasetVersion) -> None:
    access.grant(ws, "eve", "pii@people")
    access.grant(ws, "ada", "pii")
    assert seen(ws, version, "eve").equals(PEOPLE)
    assert seen(ws, version, "ada").equals(PEOPLE)
    access.revoke(ws, "ada", "pii")
    assert not seen(ws, version, "ada").equals(PEOPLE)
    assert access.everybody(ws) == {"eve": ["pii@people"], ws.settings.who: ["admin"]}


def test_a_role_for_one_dataset_is_none_for_another(ws: Workspace, version: DatasetVersion) -> None:
    other = datasets.add(ws, "others", PEOPLE, key="person")
    governance.tag(ws, "others", "surname", "pii:name")
    access.grant(ws, "eve", "pii@people")
    assert seen(ws, other, "eve")["surname"].to_list() == ["***", "***", None]


def test_a_pseudonym_joins_across_datasets_and_is_another_in_another_workspace(
    ws: Workspace, version: DatasetVersion, tmp_path: Path
) -> None:
    orders = datasets.add(ws, "orders", pl.DataFrame({"order": ["o1"], "mail": ["ada@example.org"]}), key="order")
    governance.tag(ws, "orders", "mail", "pii:email")
    joined = access.scan(ws, orders).join(access.scan(ws, version), left_on="mail", right_on="email").collect()
    assert sorted(joined["person"]) == ["p1", "p3"]
    elsewhere = open_workspace(tmp_path / "b.mill")
    key = access.pseudonym_key(elsewhere)
    assert access.pseudonym(key, "ada@example.org") != seen(ws, version)["email"][0]
    elsewhere.close()


def test_a_filter_on_a_masked_column_sees_the_mask_only(ws: Workspace, version: DatasetVersion) -> None:
    for column, value in (("email", "ada@example.org"), ("surname", "Lovelace"), ("number", 7)):
        assert access.scan(ws, version).filter(pl.col(column) == value).collect().height == 0
    assert access.scan(ws, version).filter(pl.col("born") < date(1800, 1, 1)).collect().height == 0


def test_columns_that_came_from_personal_ones_are_masked_too(ws: Workspace, version: DatasetVersion) -> None:
    with own.run(ws, "derive", inputs=[version]) as run:
        made = datasets.add(ws, "mails", PEOPLE.select("person", "surname"), key="person")
        run.link_output(made)
    assert seen(ws, made)["surname"].to_list() == ["***", "***", None]


def test_each_read_is_in_the_log_with_who_why_and_what(ws: Workspace, version: DatasetVersion) -> None:
    policies.allow(ws, "people", "support", "contract")
    access.scan(ws, version, actor="bob", purpose="support", columns=["person", "email"])
    (event,) = ws.graph.events("read/people")
    assert (event.actor, event.kind) == ("bob", "read")
    assert event.body["columns"] == ["person", "email"]
    assert event.body["masked"] == ["email"]
    assert (event.body["purpose"], event.body["basis"], event.body["version"]) == ("support", ["contract"], 1)


def test_a_purpose_that_is_not_allowed_reads_nothing(ws: Workspace, version: DatasetVersion) -> None:
    policies.allow(ws, "people", "support", "contract")
    with pytest.raises(Refused):
        access.scan(ws, version, actor="bob", purpose="marketing")
    assert [event.kind for event in ws.graph.events("read/people")] == ["refused"]


def test_columns_come_in_the_order_of_the_table(ws: Workspace, version: DatasetVersion) -> None:
    again = datasets.get(ws, "people")  # as the graph has it: its record keeps names in order of the alphabet
    assert access.scan(ws, again).collect().columns == PEOPLE.columns
    assert access.scan(ws, again, columns=["plan", "born"]).collect().columns == ["plan", "born"]


def test_one_row_is_masked_as_the_table_is(ws: Workspace, version: DatasetVersion) -> None:
    hidden = access.hidden_columns(ws, version)
    table = seen(ws, version).to_dicts()
    rows = [access.mask_values(ws, row, hidden) for row in PEOPLE.to_dicts()]
    assert rows == table


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text(min_size=1)), max_size=8),
    st.lists(st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)), max_size=8),
    st.sampled_from(["subject", "pii:email", "pii:name", "pii:anything"]),
)
def test_no_value_of_a_masked_column_stays(
    ws: Workspace, texts: list[str | None], numbers: list[int | None], tag: str
) -> None:
    for values, kind in ((texts, pl.String), (numbers, pl.Int32)):
        before = pl.Series("column", values, dtype=kind)
        after = access.masked(ws, before.to_frame().lazy(), {"column": [tag]}).collect()["column"]
        pairs = list(zip(before.to_list(), after.to_list(), strict=True))
        assert all(old is None or old != new or new == "***" for old, new in pairs)
        assert all(new is None for old, new in pairs if old is None)
        if tag in access.JOINABLE:  # equal stays equal, different stays different
            assert len(set(pairs)) == len({old for old, _ in pairs}) == len({new for _, new in pairs})


def test_a_pseudonym_is_keyed_blake2b() -> None:
    made = hashlib.blake2b(b"ada@example.org", key=b"k" * 32, digest_size=8).hexdigest()
    assert access.pseudonym(b"k" * 32, "ada@example.org") == f"p_{made}"


def test_only_the_columns_asked_for_are_read(ws: Workspace, version: DatasetVersion) -> None:
    assert access.scan(ws, version, columns=["plan"]).collect().columns == ["plan"]
    with pytest.raises(UnknownColumn, match=r"no column 'pln' in dataset 'people'; .* Did you mean 'plan'\?"):
        access.scan(ws, version, columns=["pln"])


def test_a_column_without_values_is_masked_without_fuss(ws: Workspace) -> None:
    frame = pl.DataFrame({"id": ["1"], "mail": pl.Series([None], dtype=pl.String)})
    version = datasets.add(ws, "empty", frame, key="id")
    governance.tag(ws, "empty", "mail", "pii:email")
    assert access.scan(ws, version).collect()["mail"].to_list() == [None]


def test_the_key_of_pseudonyms_is_for_its_owner_only_and_a_broken_one_is_refused(ws: Workspace) -> None:
    key = access.pseudonym_key(ws)
    path = ws.root / "keys" / "pseudonym.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert access.pseudonym_key(ws) == key
    path.write_text("ff")
    with pytest.raises(Corrupt, match=r"holds no key of 32 bytes; restore it from a backup"):
        access.pseudonym_key(ws)


def test_roles_that_cannot_be_given_or_taken_are_named(ws: Workspace, version: DatasetVersion) -> None:
    with pytest.raises(BadInput, match=r"role 'P I I' cannot be used"):
        access.grant(ws, "bob", "P I I")
    with pytest.raises(NotFound, match=r"no dataset 'peple'"):
        access.grant(ws, "bob", "pii@peple")
    access.grant(ws, "bob", "pii")
    assert access.grant(ws, "bob", "pii").seq == ws.graph.events("role/bob", last=1)[0].seq
    with pytest.raises(NotFound, match=r"'bob' does not have role 'pi'; he has pii\. Did you mean 'pii'\?"):
        access.revoke(ws, "bob", "pi")


def as_actor(ws: Workspace, actor: str) -> Workspace:
    return replace(ws, settings=replace(ws.settings, actor=actor))


def test_only_an_administrator_gives_and_takes_roles(ws: Workspace, version: DatasetVersion) -> None:
    first = ws.settings.who
    assert access.administrators(ws) == [first]
    with pytest.raises(Refused) as refused:
        access.grant(as_actor(ws, "eve"), "eve", "pii")
    assert str(refused.value) == (
        f"'eve' may not give 'eve' role 'pii'; {first} may. Ask there, or for role 'admin': "
        "tidemill role grant eve admin"
    )
    access.grant(ws, "ada", "admin")
    assert access.administrators(ws) == sorted(["ada", first])
    access.grant(as_actor(ws, "ada"), "eve", "pii")
    with pytest.raises(Refused, match=r"'eve' may not take role 'pii' from 'eve'; .* may\."):
        access.revoke(as_actor(ws, "eve"), "eve", "pii")
    access.revoke(as_actor(ws, "ada"), first, "admin")
    with pytest.raises(Refused):
        access.grant(ws, "bob", "pii")
    with pytest.raises(BadInput, match=r"'ada' is the only administrator"):
        access.revoke(as_actor(ws, "ada"), "ada", "admin")
    assert access.roles(ws, "eve") == ["pii"]


def test_who_begins_a_workspace_is_its_administrator(tmp_path: Path) -> None:
    ws = open_workspace(tmp_path / "new.mill")
    access.grant(as_actor(ws, "ada"), "bob", "pii")
    assert access.everybody(ws) == {"ada": ["admin"], "bob": ["pii"]}
    ws.close()
