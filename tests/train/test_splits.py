"""Splits: whole, disjoint, in the shares asked for, and where they were yesterday."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidemill.core.errors import BadInput, NotEnoughRows, UnknownColumn
from tidemill.core.workspace import open_workspace
from tidemill.data import datasets
from tidemill.data.rows import Rows, rows
from tidemill.train import splits

START = datetime(2020, 1, 1, tzinfo=UTC)


def table(n: int, first: int = 0) -> pl.DataFrame:
    """n rows, an hour each; one in ten is late, seven rows a customer."""
    numbers = np.arange(first, first + n)
    return pl.DataFrame(
        {
            "id": [f"r{number}" for number in numbers],
            "at": [START + timedelta(hours=int(number)) for number in numbers],
            "customer": [f"c{number // 7}" for number in numbers],
            "late": numbers % 10 == 3,
        }
    )


@pytest.fixture
def add(ws):
    def added(n, first=0):
        return rows(ws, datasets.add(ws, "trips", table(n, first), key="id", event_time="at", known_time="at"))

    return added


def ids(some: Rows) -> set[str]:
    return set(some.frame()["id"])


def test_parts_by_chance_are_whole_disjoint_and_of_their_shares(add) -> None:
    parts = add(4000).split(shares=[0.6, 0.3, 0.1])
    sizes = [len(part) for part in parts]
    assert sum(sizes) == 4000
    assert len(set().union(*map(ids, parts))) == 4000
    # binomial: five standard deviations
    for size, share in zip(sizes, (0.6, 0.3, 0.1), strict=True):
        assert abs(size - 4000 * share) < 5 * (4000 * share * (1 - share)) ** 0.5


def test_rows_that_are_added_move_no_old_row(add) -> None:
    before = [ids(part) for part in add(500).split(shares=[0.8, 0.2])]
    after = [ids(part) for part in add(1000, first=500).split(shares=[0.8, 0.2])]
    assert all(old <= new for old, new in zip(before, after, strict=True))
    assert len(after[0] | after[1]) == 1500


def place(text: str, salt: str) -> float:
    """The number of a row id, in integers: BLAKE2b for texts, two rounds of splitmix64's finaliser."""

    def word(text):
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def mix(x):
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    return (mix(mix(word(text) ^ word(f"split/{salt}")) ^ 0x9E3779B97F4A7C15) >> 11) / 2**53


def test_the_part_of_a_row_follows_from_its_id_alone(add) -> None:
    # Another formula would move the test sets of everybody.
    some = add(300)
    assert ids(some.split(shares=[0.75, 0.25])[1]) == {f"r{n}" for n in range(300) if place(f"r{n}", "0/0") >= 0.75}
    assert ids(some.split(shares=[0.75, 0.25], seed=8)[1]) == {
        f"r{n}" for n in range(300) if place(f"r{n}", "8/0") >= 0.75
    }


def test_another_seed_deals_anew_and_the_same_seed_does_not(add) -> None:
    some = add(300)
    assert ids(some.split(shares=[0.5, 0.5])[0]) == ids(some.split(shares=[0.5, 0.5])[0])
    assert ids(some.split(shares=[0.5, 0.5])[0]) != ids(some.split(shares=[0.5, 0.5], seed=1)[0])


@pytest.mark.parametrize("n", [50, 503, 2000])
def test_strata_have_their_shares_to_the_row(add, n) -> None:
    for share, part in zip((0.7, 0.3), add(n).split(shares=[0.7, 0.3], stratify="late"), strict=True):
        for late in (True, False):
            rows_in_all = int((table(n)["late"] == late).sum())
            assert abs(int((part.frame()["late"] == late).sum()) - share * rows_in_all) <= 1


def test_many_strata_of_two_rows_together_keep_the_shares(ws) -> None:
    frame = pl.DataFrame({"id": [f"r{n}" for n in range(4000)], "kind": [n // 2 for n in range(4000)]})
    part = rows(ws, datasets.add(ws, "pairs", frame, key="id")).split(shares=[0.8, 0.2], stratify="kind")[1]
    assert abs(len(part) - 800) < 5 * (4000 * 0.8 * 0.2) ** 0.5


def test_a_group_is_on_one_side_only(add) -> None:
    train, held_out = add(2000).split(shares=[0.7, 0.3], group="customer")
    assert not set(train.frame()["customer"]) & set(held_out.frame()["customer"])
    assert 400 < len(held_out) < 800


def test_even_parts_have_exactly_their_shares_of_rows_or_groups(add) -> None:
    some = add(700)
    assert [len(part) for part in some.split(shares=[0.5, 0.25, 0.25], even=True)] == [350, 175, 175]
    parts = some.split(shares=[0.5, 0.5], group="customer", even=True)
    assert [part.frame()["customer"].n_unique() for part in parts] == [50, 50]


def test_a_gap_leaves_out_what_was_just_before_the_moment(add) -> None:
    train, held_out = add(100).split(time=["2020-01-03"], gap=timedelta(hours=12))
    assert ids(train) == {f"r{n}" for n in range(36)}
    assert ids(held_out) == {f"r{n}" for n in range(48, 100)}


def test_each_part_has_a_digest_of_its_own_that_says_how_it_was_cut(add) -> None:
    some = add(50)
    plans = [some.split(shares=[0.5, 0.5], seed=seed) for seed in (0, 1)]
    plans += [some.split(shares=[0.5, 0.5], even=True), some.split(shares=[0.6, 0.4])]
    digests = [part.digest() for plan in plans for part in plan]
    assert len({some.digest(), *digests}) == 9
    assert some.split(shares=[0.5, 0.5])[0].digest() == digests[0]


def test_a_filter_in_time_after_a_cut_by_rank_moves_no_row_across_it(add) -> None:
    train, held_out = add(400).split(shares=[0.5, 0.5], even=True)
    later = held_out.where(since=START + timedelta(hours=100))
    assert ids(later) < ids(held_out)
    assert not ids(later) & ids(train)


def test_a_split_of_a_part_deals_by_other_numbers(add) -> None:
    train, _ = add(2000).split(shares=[0.5, 0.5])
    inner = train.split(shares=[0.5, 0.5])
    assert all(400 < len(part) < 600 for part in inner)
    assert ids(inner[0]) | ids(inner[1]) == ids(train)


def test_a_part_can_be_joined_and_cut_in_time_like_any_rows(ws, add) -> None:
    some = add(100)
    labels = datasets.add(ws, "answers", table(100).select("id", answer="late"), key="id")
    part = some.split(shares=[0.5, 0.5])[0]
    joined = part.labelled(labels, "answer").where(until="2020-01-02")
    assert ids(joined) == {each for each in ids(part) if int(each[1:]) < 24}
    assert joined.frame()["answer"].to_list() == joined.frame()["late"].to_list()


# ------------------------------------------------------------------------------------------------------ folds


@pytest.mark.parametrize("how", [{}, {"stratify": "late"}, {"group": "customer"}, {"even": True}])
def test_each_row_is_held_out_in_just_one_fold(add, how) -> None:
    some = add(500)
    folds = splits.k_fold(some, 4, **how)
    held_out = [each for fold in folds for each in fold.held_out.frame()["id"]]
    assert sorted(held_out) == sorted(ids(some))
    for train, kept in folds:
        assert ids(train) | ids(kept) == ids(some)
        assert not ids(train) & ids(kept)


def test_repeated_folds_are_dealt_anew_each_time(add) -> None:
    some = add(200)
    folds = splits.repeated(some, 4, 3, even=True)
    assert len(folds) == 12
    assert len({frozenset(ids(fold.held_out)) for fold in folds}) == 12
    assert ids(folds[4].held_out) == ids(splits.k_fold(some, 4, even=True, seed=1)[0].held_out)


def test_inner_folds_never_see_the_outer_held_out_rows(add) -> None:
    some = add(600)
    for outer in splits.nested(some, 3, 2, stratify="late"):
        away = ids(outer.held_out)
        for train, kept in outer.inner:
            assert not (ids(train) | ids(kept)) & away
            assert ids(train) | ids(kept) == ids(outer.train)
            assert abs(int(kept.frame()["late"].sum()) - 20) <= 1


def test_forward_chaining_fits_on_the_past_only(add) -> None:
    gap = timedelta(hours=5)
    folds = splits.forward(add(600), 5, gap=gap)
    assert [len(fold.held_out) for fold in folds] == [100] * 5
    assert [len(fold.train) for fold in folds] == [95, 195, 295, 395, 495]
    for train, held_out in folds:
        assert train.frame()["at"].max() < held_out.frame()["at"].min() - gap


def test_a_window_forgets_what_is_long_ago(add) -> None:
    folds = splits.forward(add(600), 2, window=timedelta(hours=48))
    assert [len(fold.train) for fold in folds] == [48, 48]


def test_moments_that_are_given_stay_when_rows_come(add) -> None:
    moments = [START + timedelta(hours=100), START + timedelta(hours=200)]
    before = [ids(fold.held_out) for fold in splits.forward(add(300), moments)]
    after = [ids(fold.held_out) for fold in splits.forward(add(300, first=300), moments)]
    assert before[0] == after[0]
    assert before[1] < after[1]


def test_what_cannot_be_split_is_said(ws, add) -> None:
    some = add(30)
    untimed = rows(ws, datasets.add(ws, "bare", pl.DataFrame({"id": [1, 2, 3]}), key="id"))
    with pytest.raises(BadInput, match=r"either time=\[...\] or shares=\[...\]"):
        some.split()
    with pytest.raises(BadInput, match=r"shares are \[0.8, 0.3\]; give two or more above 0 that add up to 1"):
        some.split(shares=[0.8, 0.3])
    with pytest.raises(BadInput, match="by stratify= or by group=, not both"):
        some.split(shares=[0.5, 0.5], stratify="late", group="customer")
    with pytest.raises(UnknownColumn, match=r"Did you mean 'customer'\?"):
        some.split(shares=[0.5, 0.5], group="custmer")
    with pytest.raises(BadInput, match="a gap of 2 days, 0:00:00 leaves nothing of the part from 2020-01-02"):
        some.split(time=["2020-01-02", "2020-01-03"], gap=timedelta(days=2))
    with pytest.raises(BadInput, match="gap is for a split by time"):
        some.split(shares=[0.5, 0.5], gap=timedelta(days=1))
    with pytest.raises(BadInput, match="keep is \\[2\\]; there are parts 0 to 1"):
        some.parted([0.5, 0.5], keep=[2])
    with pytest.raises(BadInput, match="folds is 1; it must be 2 or more"):
        splits.k_fold(some, 1)
    with pytest.raises(BadInput, match="times is 0"):
        splits.repeated(some, 2, 0)
    with pytest.raises(BadInput, match="no event time to go forward in"):
        splits.forward(untimed)
    with pytest.raises(NotEnoughRows, match="30 rows for 30 folds in time"):
        splits.forward(some, 30)


@pytest.fixture
def ws(tmp_path) -> Iterator[object]:
    opened = open_workspace(tmp_path / "w.mill")
    yield opened
    opened.close()
