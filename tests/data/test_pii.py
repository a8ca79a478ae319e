"""Personal data found by rules: published test numbers, their neighbours, and columns that only look so."""

from __future__ import annotations

import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.data.catalogue import pii
from tidemill.data.catalogue.pii import find, is_card, is_iban, is_phone, luhn, named_kinds, shape

# Card numbers that payment networks publish for tests; IBANs from the SWIFT registry's examples.
CARDS = ["4111 1111 1111 1111", "5555555555554444", "378282246310005", "6011-1111-1111-1117", "30569309025904"]
IBANS = ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "FR1420041010050500013M02606", "NO9386011117947"]


@pytest.mark.parametrize("number", CARDS)
def test_a_published_card_number_is_one(number: str) -> None:
    assert is_card(number)


@pytest.mark.parametrize("number", IBANS)
def test_an_iban_of_the_registry_is_one(number: str) -> None:
    assert is_iban(number)


@given(st.sampled_from(CARDS), st.data())
def test_no_card_number_stays_one_when_a_digit_changes(number: str, data: st.DataObject) -> None:
    digits = number.replace(" ", "").replace("-", "")
    place = data.draw(st.integers(0, len(digits) - 1))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != digits[place]]))
    assert not luhn(digits[:place] + other + digits[place + 1 :])


@given(st.sampled_from(IBANS), st.data())
def test_no_iban_stays_one_when_a_digit_changes_or_two_change_places(number: str, data: st.DataObject) -> None:
    plain = number.replace(" ", "")
    place = data.draw(st.integers(4, len(plain) - 2))
    changed = {plain[:place] + digit + plain[place + 1 :] for digit in "0123456789"} - {plain}
    assert not any(is_iban(each) for each in changed)
    swapped = plain[:place] + plain[place + 1] + plain[place] + plain[place + 2 :]
    assert swapped == plain or not is_iban(swapped)


def test_an_iban_of_another_length_than_its_country_has_is_none() -> None:
    assert not is_iban("DE8937040044053201300")


@pytest.mark.parametrize("text", ["2013-01-01", "31.12.2013", "12.5", "192.168.0.1", "2013-01-01 10:00"])
def test_dates_numbers_and_addresses_are_no_telephone_numbers(text: str) -> None:
    assert not is_phone(text)


def test_addresses_are_found_inside_sentences() -> None:
    frame = pl.DataFrame({"note": ["call back", "write to Ada.L@example.org, please", None, "no answer"]})
    (found,) = find(frame)
    assert (found.column, found.kind, found.tag) == ("note", "email", "pii:email")
    assert found.share == pytest.approx(1 / 3)  # of the three values that are not missing
    assert found.examples == ("xxx.x@xxxxxxx.xxx",)


def test_cards_and_ibans_are_found_inside_sentences_and_in_whole_numbers() -> None:
    frame = pl.DataFrame(
        {
            "note": ["paid with 4111 1111 1111 1111 today", "from DE89 3704 0044 0532 0130 00 BY POST"],
            "paid_by": [4111111111111111, 5555555555554444],
        }
    )
    assert {(each.column, each.kind, each.share) for each in find(frame)} == {
        ("note", "card", 0.5),
        ("note", "iban", 0.5),
        ("paid_by", "card", 1.0),
    }


def test_random_numbers_of_sixteen_digits_are_no_cards() -> None:
    draw = random.Random(7)
    frame = pl.DataFrame({"order": [draw.randrange(4 * 10**15, 5 * 10**15) for _ in range(2_000)]})
    assert any(is_card(str(number)) for number in frame["order"])  # a tenth pass by chance
    assert find(frame) == []


def test_times_versions_and_flight_numbers_are_nothing() -> None:
    frame = pl.DataFrame(
        {
            "day": ["2013-01-01", "2013-01-02"] * 10,
            "clock": ["10:20:30", "11:21:31"] * 10,
            "version": ["1.2.3.4"] + ["1.2.3"] * 19,
            "tailnum": ["N14228", "N24211"] * 10,
            "temp": ["39.02", "41.0"] * 10,
            "flight": list(range(20)),
        }
    )
    assert find(frame) == []


def test_telephone_numbers_and_addresses_of_both_kinds_are_found() -> None:
    frame = pl.DataFrame(
        {
            "contact": ["+49 30 901820", "(212) 555-0134", "00442079460958"],
            "host": ["192.0.2.7", "2001:db8::1", "::1"],
        }
    )
    assert [(each.column, each.kind, each.share) for each in find(frame)] == [
        ("contact", "phone", 1.0),
        ("host", "ip", 1.0),
    ]


def test_the_name_of_a_column_lets_bare_digits_be_telephone_numbers() -> None:
    numbers = ["4930901820", "2125550134"]
    assert find(pl.DataFrame({"reference": numbers})) == []
    (found,) = find(pl.DataFrame({"mobile": numbers}))
    assert (found.kind, found.named, found.share) == ("phone", True, 1.0)


@pytest.mark.parametrize(
    ("column", "kinds"),
    [
        ("first_name", ["name"]),
        ("customerLastName", ["name"]),
        ("E-Mail", ["email"]),
        ("date_of_birth", ["birth_date"]),
        ("client_ip", ["ip"]),
        ("SSN", ["national_id"]),
        ("zip", []),
        ("shipment", []),
        ("distance", []),
        ("tailnum", []),
    ],
)
def test_names_speak_for_kinds_by_whole_words(column: str, kinds: list[str]) -> None:
    assert named_kinds(column) == kinds


def test_a_column_known_by_its_name_only_has_share_0_and_no_examples() -> None:
    (found,) = find(pl.DataFrame({"surname": ["Lovelace"], "email_confirmed": [True]}))
    assert (found.column, found.kind, found.share, found.examples, found.named) == ("surname", "name", 0.0, (), True)


def test_the_share_of_many_candidates_is_scaled_up_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pii, "LOOKED_AT", 100)
    bodies = map(str, range(411_111_111_111_000, 411_111_111_112_000))
    cards = [next(body + digit for digit in "0123456789" if luhn(body + digit)) for body in bodies]
    (found,) = find(pl.DataFrame({"paid_by": [*cards, *["-"] * 1_000]}))
    assert found.share == pytest.approx(0.5)


@given(st.text())
def test_a_shape_holds_no_letter_and_no_digit_of_the_value(text: str) -> None:
    assert all(each in "x9" or not each.isalnum() for each in shape(text))


def test_a_lazy_frame_and_chosen_columns_give_the_same() -> None:
    frame = pl.DataFrame({"a": ["x@example.org"], "b": ["y@example.org"], "c": [1.5], "d": [["z@example.org"]]})
    assert find(frame.lazy()) == find(frame)
    assert [each.column for each in find(frame)] == ["a", "b"]
    assert find(frame.lazy(), columns=["b"]) == find(frame)[1:]


def test_categories_are_looked_at() -> None:
    frame = pl.DataFrame({"a": ["x@example.org", None]}, schema={"a": pl.Categorical})
    assert [(each.kind, each.share) for each in find(frame)] == [("email", 1.0)]


def test_empty_and_missing_columns_are_nothing() -> None:
    assert find(pl.DataFrame({"a": pl.Series([], dtype=pl.String), "b": pl.Series([], dtype=pl.Int64)})) == []
    assert find(pl.DataFrame({"a": pl.Series([None], dtype=pl.String)})) == []
