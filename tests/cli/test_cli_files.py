"""`tidemill dataset add-files|status|checkout|cat`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

Shell = Any  # conftest.Shell


@pytest.fixture
def photos(shell: Shell, tmp_path: Path) -> Shell:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "photos" / "a.txt").write_bytes(b"one\n")
    (tmp_path / "photos" / "sub" / "b.bin").write_bytes(bytes(range(256)))
    assert shell("dataset", "add-files", "photos", "photos", "--json").json["rows"] == 2
    return shell


def test_a_folder_is_compared_added_and_checked_out(photos: Shell, tmp_path: Path) -> None:
    assert photos("dataset", "status", "photos", "photos", "--json").json["unchanged"] == 2
    (tmp_path / "photos" / "a.txt").write_bytes(b"changed\n")
    (tmp_path / "photos" / "c.txt").write_bytes(b"new\n")
    status = photos("dataset", "status", "photos", "photos")
    assert "changed  a.txt" in status.out
    assert "1 added, 1 changed, 0 removed, 1 unchanged" in status.out
    assert "add-files photos photos" in status.err
    assert photos("dataset", "add-files", "photos", "photos", "--json").json["version"] == 2
    done = photos("dataset", "checkout", "photos", "old", "--version", "1", "--json").json
    assert done["written"] == 2
    assert (tmp_path / "old" / "a.txt").read_bytes() == b"one\n"
    assert (tmp_path / "old" / "sub" / "b.bin").read_bytes() == bytes(range(256))


def test_files_that_may_be_used_for_named_purposes_only_are_not_handed_out_without_one(
    photos: Shell, tmp_path: Path
) -> None:
    photos("dataset", "allow", "photos", "sorting", "--basis", "not_personal")
    for verb in (["cat", "photos", "a.txt"], ["checkout", "photos", "copy"]):
        refused = photos("dataset", *verb)
        assert refused.code != 0
        assert "named purposes only" in refused.err
        assert not (tmp_path / "copy").exists()
        assert photos("dataset", *verb, "--purpose", "sorting").code == 0


def test_a_checkout_keeps_what_is_stored_nowhere_unless_forced(photos: Shell, tmp_path: Path) -> None:
    photos("dataset", "checkout", "photos", "copy")
    (tmp_path / "copy" / "a.txt").write_text("mine, stored nowhere")
    ran = photos("dataset", "checkout", "photos", "copy")
    assert (ran.code, "a.txt" in ran.err) == (1, True)
    assert photos("dataset", "checkout", "photos", "copy", "--force").code == 0
    assert (tmp_path / "copy" / "a.txt").read_bytes() == b"one\n"


def test_one_file_is_read(photos: Shell, tmp_path: Path) -> None:
    assert photos("dataset", "cat", "photos", "a.txt").out == "one\n"
    assert photos("dataset", "cat", "photos", "sub/b.bin", "--output", "b").code == 0
    assert (tmp_path / "b").read_bytes() == bytes(range(256))
    assert photos("dataset", "cat", "photos", "sub/b.bin", "--json").json["size_bytes"] == 256
    wrong = photos("dataset", "cat", "photos", "b.txt")
    assert (wrong.code, "no file 'b.txt'" in wrong.err) == (1, True)


def test_a_manifest_is_joined_and_what_found_no_partner_is_told(photos: Shell, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.txt,good\nz.txt,bad\n")
    ran = photos("dataset", "add-files", "labelled", "photos", "--manifest", "labels.csv")
    assert ran.code == 0
    assert "rows without file: 1 (z.txt)" in ran.err
    assert "files without row: 1 (sub/b.bin)" in ran.err
    strict = photos("dataset", "add-files", "strict", "photos", "--manifest", "labels.csv", "--unmatched", "refuse")
    assert (strict.code, "z.txt" in strict.err) == (2, True)


def test_bad_input_is_told(photos: Shell, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("k\n1\n")
    photos("dataset", "add", "rows", "rows.csv", "--key", "k")
    assert "holds rows, not files" in photos("dataset", "checkout", "rows", "out").err
    assert photos("dataset", "status", "photos", "nowhere").code == 1
    assert photos("dataset", "add-files", "photos", "rows.csv").code == 1
