"""The suite for stores: subclass StoreSuite and define two fixtures.

@pytest.fixture
def store(): return a new, empty store

@pytest.fixture
def damage(store): return a function (digest, bytes) that puts other bytes under the digest, behind the store's back
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from tidemill.core.errors import Corrupt, NotFound
from tidemill.core.ids import digest, utc_now
from tidemill.core.store import Store
from tidemill.core.stores.sweep import sweep

Damage = Callable[[str, bytes], None]

ABSENT = digest(b"never put")
NO_DIGESTS = ("", "abc", "../" + "a" * 61, "A" * 64, "g" * 64)


class StoreSuite:
    """What tidemill.core.store.Store promises."""

    @pytest.mark.parametrize("data", [b"", b"tide", bytes(range(256)) * 9_000], ids=["empty", "short", "2 MiB"])
    def test_bytes_come_back_under_their_sha256(self, store: Store, data: bytes) -> None:
        name = store.put(data)
        assert name == digest(data)
        assert store.get(name) == data
        assert store.has(name)

    @pytest.mark.parametrize("size", [0, 5, 3_000_000])
    def test_a_file_is_stored_as_its_bytes_are(self, store: Store, tmp_path: Path, size: int) -> None:
        path = tmp_path / "some.bin"
        path.write_bytes(b"x" * size)
        assert store.put_file(path) == store.put(b"x" * size)
        assert store.get(digest(b"x" * size)) == b"x" * size
        assert len(list(store.list())) == 1

    def test_a_file_that_is_not_there_is_not_found(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"no file .*nothing\.bin to store"):
            store.put_file(tmp_path / "nothing.bin")
        assert list(store.list()) == []

    def test_the_same_bytes_are_kept_once(self, store: Store) -> None:
        assert store.put(b"tide") == store.put(b"tide")
        assert [(blob.digest, blob.size_bytes) for blob in store.list()] == [(digest(b"tide"), 4)]

    def test_an_unknown_digest_is_not_found(self, store: Store) -> None:
        assert not store.has(ABSENT)
        with pytest.raises(NotFound, match=f"no blob {ABSENT}"):
            store.get(ABSENT)

    @pytest.mark.parametrize("name", NO_DIGESTS)
    def test_a_text_that_is_no_digest_leads_nowhere(self, store: Store, name: str) -> None:
        assert not store.has(name)
        with pytest.raises(NotFound, match="no digest; a digest has 64 hexadecimal digits"):
            store.get(name)
        with pytest.raises(NotFound, match="no digest"):
            store.delete(name)

    @pytest.mark.parametrize("other", [b"", b"tidf", b"tide "], ids=["emptied", "changed", "longer"])
    def test_other_bytes_are_never_returned(self, store: Store, damage: Damage, other: bytes) -> None:
        name = store.put(b"tide")
        damage(name, other)
        with pytest.raises(Corrupt, match=f"blob {name} .* has other bytes than its name says"):
            store.get(name)

    def test_list_is_in_order_of_digest_with_sizes_and_times(self, store: Store) -> None:
        began = utc_now() - timedelta(seconds=2)  # some keep whole seconds only
        sizes = {store.put(b"x" * size): size for size in range(20)}
        found = list(store.list())
        assert [blob.digest for blob in found] == sorted(sizes)
        assert {blob.digest: blob.size_bytes for blob in found} == sizes
        assert all(began <= blob.stored_at <= utc_now() + timedelta(seconds=2) for blob in found)

    def test_a_deleted_blob_is_gone_and_deleting_it_again_is_no_error(self, store: Store) -> None:
        name, other = store.put(b"tide"), store.put(b"mill")
        store.delete(name)
        store.delete(name)
        assert not store.has(name)
        assert [blob.digest for blob in store.list()] == [other]
        assert store.put(b"tide") == name
        assert store.get(name) == b"tide"

    def test_threads_that_put_and_get_the_same_bytes_see_them_whole(self, store: Store) -> None:
        datas = [bytes([number]) * 50_000 for number in range(4)] * 6

        def work(data: bytes) -> bytes:
            return store.get(store.put(data))

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, datas)) == datas
        assert len(list(store.list())) == 4

    def test_a_sweep_removes_what_nothing_refers_to(self, store: Store) -> None:
        kept, orphan = store.put(b"kept"), store.put(b"orphan")
        assert [blob.digest for blob in sweep(store, keep={kept}, older_than_s=-5)] == [orphan]
        assert [blob.digest for blob in store.list()] == [kept]

    def test_a_sweep_spares_what_a_run_has_just_put(self, store: Store) -> None:
        store.put(b"not recorded yet")
        assert sweep(store, keep=(), older_than_s=3600) == []
        assert store.has(digest(b"not recorded yet"))
