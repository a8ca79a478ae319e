"""States as bytes: what goes in comes out to the bit, and nothing else goes in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tidemill.core.errors import BadInput, Corrupt
from tidemill.train import states

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
TREES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.tuples(st.integers(), st.text()), inner)
    ),
    max_leaves=20,
)
ARRAYS = nps.arrays(
    nps.integer_dtypes() | nps.floating_dtypes(sizes=(16, 32, 64)) | nps.boolean_dtypes() | nps.datetime64_dtypes(),
    nps.array_shapes(min_dims=0, max_dims=3, min_side=0),
)


def same(a: Any, b: Any) -> bool:
    """Equal in value and in every type."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=True)
        return len(a) == len(b) and all(same(x[0], y[0]) and same(x[1], y[1]) for x, y in pairs)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b) and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


@given(TREES)
def test_plain_values_come_back_as_they_were(state: Any) -> None:
    assert same(states.decode(states.encode(state)), state)


@given(ARRAYS)
def test_arrays_come_back_to_the_bit(array: np.ndarray[Any, Any]) -> None:
    back = states.decode(states.encode({"a": [array]}))["a"][0]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_numpys_scalars_and_nan_keep_their_types() -> None:
    back = states.decode(states.encode([np.float32(0.1), np.int64(-3), float("nan"), -0.0]))
    assert type(back[0]) is np.float32
    assert back[0] == np.float32(0.1)
    assert type(back[1]) is np.int64
    assert math.isnan(back[2])
    assert math.copysign(1, back[3]) == -1


def test_equal_states_have_equal_bytes() -> None:
    one = {"w": np.arange(6).reshape(2, 3), "step": 3}
    assert states.encode(one) == states.encode({"w": np.arange(6).reshape(2, 3), "step": 3})
    assert states.digest_of(one) != states.digest_of({**one, "step": 4})


def test_what_cannot_be_kept_is_named_with_its_place() -> None:
    with pytest.raises(BadInput, match=r"state\['optimizer'\]\[1\] is a object; a checkpoint holds"):
        states.encode({"optimizer": [1, object()]})
    with pytest.raises(BadInput, match=r"state\['a'\] is a ndarray"):
        states.encode({"a": np.array([object()])})


def test_other_bytes_are_refused() -> None:
    with pytest.raises(Corrupt, match="these bytes begin with b'PK"):
        states.decode(b"PK\x03\x04 and more bytes")
    whole = states.encode({"w": np.arange(100.0)})
    with pytest.raises(Corrupt, match="a training state cannot be read"):
        states.decode(whole[:-64])


def test_tensors_come_back_to_the_bit() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is an extra")
    kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)
    for kind in kinds:
        tensor = (torch.arange(12) % 5).reshape(3, 4).to(kind).T  # not contiguous
        back = states.decode(states.encode({0: {"exp_avg": tensor}}))[0]["exp_avg"]
        assert back.dtype == kind
        assert torch.equal(back, tensor)
    scalar = states.decode(states.encode(torch.tensor(3.5)))
    assert (scalar.shape, scalar.item()) == ((), 3.5)
    assert states.decode(states.encode(torch.empty(0, 3))).shape == (0, 3)
    with pytest.raises(BadInput, match=r"state is a torch\.sparse_coo tensor"):
        states.encode(torch.eye(3).to_sparse())
