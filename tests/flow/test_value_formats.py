"""Values come back equal and of the same type, equal values are equal bytes, and nothing of them runs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import math
import subprocess
import sys
import threading
import typing
import uuid
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal

from tidemill.core import extend
from tidemill.core.errors import BadInput, Corrupt, Refused
from tidemill.flow import formats


class Colour(enum.Enum):
    RED = "r"


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: tuple[float, ...] = ()


@dataclasses.dataclass
class Held:
    rows: pl.DataFrame
    at: Point


class Named(typing.NamedTuple):
    a: int
    b: str = "x"


def again(value):
    found = formats.encode(value)
    assert found is not None
    assert formats.encode(value) == found
    return formats.decode(*found)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(st.characters(categories=["Cs", "L"]))
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.datetimes(timezones=st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")]))
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.complex_numbers(allow_nan=False)
    | st.uuids()
)
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text()) | st.dates()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner) | st.sets(st.integers()),
    max_leaves=20,
)


def same(old, new) -> bool:
    """Equal, and of the same types all the way down, in the same order."""
    if type(old) is not type(new) or old != new:
        return False
    if isinstance(old, float):
        return math.copysign(1, old) == math.copysign(1, new)
    if isinstance(old, dt.datetime):
        return (old.tzinfo, old.fold) == (new.tzinfo, new.fold)
    if isinstance(old, list | tuple):
        return all(map(same, old, new))
    if isinstance(old, dict):
        return all(same(a, b) and same(old[a], new[b]) for a, b in zip(old, new, strict=True))
    return True


@given(VALUES)
def test_plain_values_come_back_as_they_were(value: object) -> None:
    assert same(value, again(value))


@given(VALUES, VALUES)
def test_only_equal_values_have_equal_bytes(one: object, two: object) -> None:
    assert (formats.encode(one) == formats.encode(two)) == same(one, two)


@pytest.mark.parametrize(
    ("one", "two"),
    [(1, True), (1, 1.0), ([1], (1,)), ({1}, frozenset({1})), ("1", 1), (b"a", "a"), (0.0, -0.0),
     (b"a", bytearray(b"a")),
     ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (np.float64(1), 1.0), (np.int64(1), np.int32(1)), ({1: 2}, {"1": 2})],
)  # fmt: skip
def test_what_differs_has_other_bytes(one: object, two: object) -> None:
    assert formats.encode(one) != formats.encode(two)


@pytest.mark.parametrize(
    "value",
    [math.inf, -math.inf, 10**5000, {"~": 1, "v": 2}, "x" * 10_000, decimal.Decimal("1.10"), fractions.Fraction(1, 3),
     uuid.UUID(int=5), range(1, 9, 2), Colour.RED, Flags.A | Flags.B, Point(1, (2.0,)), Named(1), {"p": [Point(2)]},
     frozenset({Colour.RED}), np.datetime64("2013-01-01"), np.float32(0.1), np.str_("a"), bytearray(b"z"),
     dt.datetime(2013, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_each_kind_of_value_comes_back(value: object) -> None:
    assert same(value, again(value))


def test_not_a_number_comes_back_bit_for_bit() -> None:
    assert math.isnan(again(math.nan))


def test_tables_come_back() -> None:
    frame = pl.DataFrame(
        {
            "a": [1, None, 3],
            "t": [dt.datetime(2013, 1, 1, tzinfo=dt.UTC)] * 3,
            "s": pl.Series(["x", None, "é"], dtype=pl.Categorical),
            "l": [[1], [], None],
            "d": [decimal.Decimal("1.20")] * 3,
        }
    )
    assert_frame_equal(again(frame), frame)
    assert_frame_equal(again(frame.lazy()).collect(), frame)
    assert_series_equal(again(frame["s"]), frame["s"])


def test_a_table_s_bytes_do_not_show_how_it_was_made() -> None:
    whole = pl.DataFrame({"a": [1, 2, 3, 4], "b": ["some long text that is kept elsewhere", "y", "z", "w" * 20]})
    parts = pl.concat([whole[:2], whole[2:]], rechunk=False)
    chosen = pl.concat([whole, whole.with_columns(pl.lit(9).alias("a").cast(pl.Int64))]).filter(pl.col("a") < 9)
    assert formats.encode(parts) == formats.encode(whole) == formats.encode(chosen)


@pytest.mark.parametrize(
    "array",
    [np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3)), np.array(["a", "bc"]), np.array(5.0),
     np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])],
    ids=["ints", "fortran", "texts", "scalar", "records"],
)  # fmt: skip
def test_arrays_come_back(array: np.ndarray) -> None:
    found = again(array)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_tuple_of_tables_and_arrays_comes_back() -> None:
    frame, array, flag = again((pl.DataFrame({"a": [1]}), np.eye(2), {"ok": [True, Point(3)]}))
    assert_frame_equal(frame, pl.DataFrame({"a": [1]}))
    np.testing.assert_array_equal(array, np.eye(2))
    assert flag == {"ok": [True, Point(3)]}


def test_a_dataclass_that_holds_a_table_comes_back() -> None:
    found = again(Held(pl.DataFrame({"a": [1]}), Point(1)))
    assert isinstance(found, Held)
    assert found.at == Point(1)


def test_a_file_and_a_folder_stand_for_their_content(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "empty").mkdir()
    (tmp_path / "in" / "sub" / "a.txt").write_text("hello")
    (tmp_path / "in" / "b.bin").write_bytes(b"\0\1")
    folder = again(tmp_path / "in")
    assert (folder / "sub" / "a.txt").read_text() == "hello"
    assert (folder / "b.bin").read_bytes() == b"\0\1"
    assert (folder / "empty").is_dir()
    assert again(tmp_path / "in" / "sub" / "a.txt").name == "a.txt"
    before = formats.encode(tmp_path / "in")
    (tmp_path / "in" / "b.bin").write_bytes(b"\0\2")
    assert formats.encode(tmp_path / "in") != before
    assert formats.encode(tmp_path / "nothing") is None


def test_a_copy_that_was_changed_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    found = again(tmp_path / "a.txt")
    found.chmod(0o600)
    found.write_text("changed")
    assert again(tmp_path / "a.txt").read_text() == "hello"


def test_a_name_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    name, data = formats.encode(tmp_path / "a.txt")
    with pytest.raises(Corrupt, match="stored file is named"):
        formats.decode(name, data.replace(b"a.txt", b"../zz"))


def models():
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    yield LogisticRegression()
    yield make_pipeline(StandardScaler(), LogisticRegression())
    yield RandomForestClassifier(5, random_state=0)
    yield HistGradientBoostingClassifier(max_iter=5, random_state=0)
    try:
        import lightgbm
        import xgboost
    except ImportError:  # the extra is not installed
        return
    yield lightgbm.LGBMClassifier(n_estimators=5, verbose=-1)
    yield xgboost.XGBClassifier(n_estimators=5)


@pytest.mark.parametrize("model", list(models()), ids=lambda model: type(model).__name__)
def test_models_come_back_and_score_the_same(model) -> None:
    x = np.random.default_rng(0).normal(size=(200, 4))
    y = (x[:, 0] > 0).astype(int)
    model.fit(x, y)
    found = again(model)
    assert type(found) is type(model)
    np.testing.assert_array_equal(found.predict_proba(x), model.predict_proba(x))


@pytest.mark.parametrize(
    "value", [object(), threading.Lock(), len, pl.Series([object()]), np.array([object()]), [open], {1: print}]
)
def test_what_no_format_takes_is_not_stored(value: object) -> None:
    assert formats.encode(value) is None


def test_a_class_inside_a_function_is_not_stored() -> None:
    @dataclasses.dataclass
    class Here:
        x: int

    assert formats.encode(Here(1)) is None


def test_an_instance_with_more_than_its_fields_is_not_stored() -> None:
    held = Held(pl.DataFrame(), Point(1))
    held.more = 1  # type: ignore[attr-defined]
    assert formats.encode(held) is None


def test_a_stored_name_of_a_library_is_not_imported_or_called() -> None:
    name, data = formats.encode(Point(1))
    with pytest.raises(Refused, match="only your own classes"):
        formats.decode(name, data.replace(b"test_value_formats:Point", b"subprocess:Popen"))
    with pytest.raises(Refused, match="no dataclass"):
        formats.decode(name, data.replace(b"test_value_formats:Point", b"test_value_formats:again"))


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(BadInput, match="no value format 'nope'"):
        formats.decode("nope", b"")
    assert extend.names("value_format") == []


def test_bytes_are_the_same_in_every_process(tmp_path: Path) -> None:
    program = tmp_path / "say.py"
    program.write_text(
        "import dataclasses, numpy as np, polars as pl\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from tidemill.core.ids import digest\nfrom tidemill.flow import formats\n"
        "x = np.random.default_rng(0).normal(size=(50, 2)); y = (x[:, 0] > 0).astype(int)\n"
        "for each in [{'a', 'b', 'c'}, pl.DataFrame({'a': ['x', 'yy']}), LogisticRegression().fit(x, y), (x, {'q'})]:\n"
        "    print(digest(formats.encode(each)[1]))\n"
    )
    ran = [
        subprocess.run(
            [sys.executable, str(program)],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in "12"
    ]
    assert ran[0].stdout == ran[1].stdout


def test_an_instance_carries_its_class_s_code(tmp_path: Path) -> None:
    source = "import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\n    def f(self): return self.x * 2\n"
    ask = "import p; from tidemill.flow import formats; print(formats.encode(p.P(1)))"
    found = []
    for text in (source, source.replace("* 2", "* 3"), f"# at another line\n{source}"):
        (tmp_path / "p.py").write_text(text)
        ran = subprocess.run(
            [sys.executable, "-B", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        found.append(ran.stdout)
    assert found[0] != found[1]
    assert found[0] == found[2]


def test_choosing_a_format_loads_no_library() -> None:
    code = (
        "import sys; from tidemill.flow import formats; formats.encode([1, 'a', {2.5}]); formats.encode(object());"
        "print([m for m in ('numpy', 'polars', 'sklearn', 'skops', 'onnx', 'pandas') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
