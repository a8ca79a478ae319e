"""Packages refuse whatever differs from what was signed, and load without the libraries that made them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.neighbors import KNeighborsClassifier

from tidemill.core import recipe as recipes
from tidemill.core.errors import BadInput, Corrupt, EmptyInput, NotFound, Refused, WrongFormat
from tidemill.core.workspace import open_workspace
from tidemill.serve import packages, signing


def resigned(ws, digest, change):
    """The digest of the package with a changed manifest, signed rightly by this workspace."""
    manifest = json.loads(ws.store.get(digest).partition(b"\n")[0])
    change(manifest)
    data = json.dumps(manifest).encode()
    key, signature = signing.sign(ws, data)
    return ws.store.put(data + b"\n" + json.dumps({"key": key, "signature": signature}).encode())


def changed_blob(ws, digest, part, change):
    def swap(manifest):
        value = json.loads(ws.store.get(manifest["blobs"][part]))
        change(value)
        manifest["blobs"][part] = ws.store.put(json.dumps(value).encode())

    return resigned(ws, digest, swap)


def test_a_package_scores_raw_rows_as_the_estimator_scores_the_matrix(ws, package, recipe, estimators, frame, rows):
    loaded = packages.load(ws, package)
    expected = estimators[0].predict_proba(recipes.batch(recipe, frame.head(len(rows))))[:, 1]
    np.testing.assert_allclose(loaded.score(rows), expected, rtol=0, atol=1e-12)


def test_the_same_model_gives_the_same_package(ws, package, recipe, estimators, frame):
    again = packages.build(ws, recipe=recipe, estimator=estimators[0], frame=frame, card="# Card", meta={"key": "id"})
    assert again == package


def test_another_card_gives_another_package(ws, package, recipe, estimators, frame):
    other = packages.build(ws, recipe=recipe, estimator=estimators[0], frame=frame, card="# Other", meta={"key": "id"})
    assert other != package
    assert packages.card(ws, other) == "# Other"


def test_the_golden_rows_hold_missing_values_and_the_extremes(ws, package, frame):
    golden = json.loads(ws.store.get(packages.read_manifest(ws, package)["blobs"]["golden"]))
    assert golden["format"] == 1
    assert 200 <= len(golden["rows"]) <= 256
    assert any(row["temp"] is None for row in golden["rows"])
    assert {row["distance"] for row in golden["rows"]} >= {frame["distance"].min(), frame["distance"].max()}


def test_the_manifest_begins_with_its_format(ws, package):
    assert ws.store.get(package).startswith(b'{"format":1,')


def test_all_blobs_of_a_package_are_named(ws, package):
    assert len(packages.blobs(ws, package)) == 7
    assert all(ws.store.has(digest) for digest in packages.blobs(ws, package))


def test_a_changed_manifest_is_refused(ws, package):
    forged = ws.store.put(ws.store.get(package).replace(b'"key":"id"', b'"key":"di"'))
    with pytest.raises(Refused, match="was changed after signing"):
        packages.load(ws, forged)


def test_a_package_signed_elsewhere_is_refused_until_its_key_is_trusted(ws, package, tmp_path):
    from cryptography.hazmat.primitives import serialization

    other = open_workspace(tmp_path / "other.mill")
    for digest in packages.blobs(ws, package):
        other.store.put(ws.store.get(digest))
    with pytest.raises(Refused, match="which this workspace does not trust"):
        packages.load(other, package)
    private = serialization.load_pem_private_key((ws.root / "keys" / "signing.pem").read_bytes(), password=None)
    (other.root / "keys" / "trusted").mkdir()
    (other.root / "keys" / "trusted" / "ours.pem").write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert packages.load(other, package).digest == package
    other.close()


def test_the_private_key_is_for_its_owner_only(ws, package):
    assert (ws.root / "keys" / "signing.pem").stat().st_mode & 0o777 == 0o600


def test_golden_features_that_differ_in_one_bit_refuse_to_serve(ws, package):
    def change(golden):
        import base64

        features = np.frombuffer(base64.b64decode(golden["features"])).copy()
        features[0] = np.nextafter(features[0], np.inf)
        golden["features"] = base64.b64encode(features.tobytes()).decode()

    with pytest.raises(Refused, match=r"golden row 0 gives temp = .*, recorded is "):
        packages.load(ws, changed_blob(ws, package, "golden", change))


def test_golden_scores_that_differ_refuse_to_serve(ws, package):
    def change(golden):
        golden["scores"][5] += 1e-5

    with pytest.raises(Refused, match="golden row 5 scores "):
        packages.load(ws, changed_blob(ws, package, "golden", change))


def test_a_damaged_blob_is_corrupt(ws, package):
    digest = packages.read_manifest(ws, package)["blobs"]["model"]
    place = next(
        path for path in ws.root.joinpath("objects").rglob("*") if digest.endswith(path.name) and path.is_file()
    )
    place.chmod(0o600)
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    with pytest.raises(Corrupt):
        packages.load(ws, package)


def test_a_package_of_a_newer_format_says_so(ws, package):
    newer = resigned(ws, package, lambda manifest: manifest.update(format=99))
    with pytest.raises(WrongFormat, match="has format 99, this tidemill reads up to 1"):
        packages.load(ws, newer)


def test_bytes_that_are_no_package_are_corrupt(ws):
    with pytest.raises(Corrupt, match="is no package"):
        packages.load(ws, ws.store.put(b"not a manifest"))


def test_an_unknown_digest_is_not_found(ws):
    with pytest.raises(NotFound, match="no package 000000000000 in the store"):
        packages.load(ws, "0" * 64)


def test_a_frame_without_rows_is_refused(ws, recipe, estimators, frame):
    with pytest.raises(EmptyInput, match="a package needs rows"):
        packages.build(ws, recipe=recipe, estimator=estimators[0], frame=frame.head(0), card="", meta={})


def test_an_estimator_that_cannot_be_exported_leaves_nothing_behind(ws, recipe, frame):
    estimator = KNeighborsClassifier().fit(np.nan_to_num(recipes.batch(recipe, frame)), frame["late"].to_numpy())
    before = list(ws.store.list())
    with pytest.raises(BadInput, match="KNeighborsClassifier"):
        packages.build(ws, recipe=recipe, estimator=estimator, frame=frame, card="", meta={})
    assert list(ws.store.list()) == before


def test_a_misspelled_column_is_named_with_the_nearest(ws, package, rows):
    row = {("temps" if name == "temp" else name): value for name, value in rows[0].items()}
    with pytest.raises(BadInput) as caught:
        packages.load(ws, package).score([rows[1], row])
    assert str(caught.value) == (
        "row 1, column 'temp': got nothing; allowed: a finite number or null. Did you mean 'temps'?"
    )


def test_values_of_another_type_are_named(ws, package, rows):
    row = {**rows[0], "temp": "warm", "sched": "soon", "carrier": 7.5}
    with pytest.raises(BadInput, match=r"row 0, column '\w+': got (text 'warm'|text 'soon'|number 7.5); .* \(3 faults"):
        packages.load(ws, package).score([row])


def test_loading_and_scoring_import_no_frame_library_and_no_training_library(ws, package, rows):
    program = """
import json, sys
from tidemill.core.workspace import open_workspace
from tidemill.serve import packages
package = packages.load(open_workspace(sys.argv[1]), sys.argv[2])
scores = package.score(json.loads(sys.argv[3]))
heavy = {"polars", "pandas", "sklearn", "scipy", "optuna", "onnx", "deltalake", "pyarrow"} & set(sys.modules)
print(json.dumps({"heavy": sorted(heavy), "scores": scores}))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(ws.root), package, json.dumps(rows)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = json.loads(ended.stdout)
    assert said["heavy"] == []
    assert said["scores"] == packages.load(ws, package).score(rows)


def test_naive_times_and_dates_and_nan_become_golden_rows(ws, estimators):
    from datetime import date, datetime

    frame = pl.DataFrame(
        {
            "day": [date(2013, 1, 1 + place) for place in range(20)],
            "at": [datetime(2013, 1, 1, place) for place in range(20)],
            "x": [float("nan"), float("inf"), *range(18)],
        }
    )
    recipe = recipes.fit(
        recipes.recipe(
            recipes.keep("x"), recipes.dates("at", parts=("hour",)), recipes.dates("day", parts=("weekday",))
        ),
        frame,
    )
    from sklearn.ensemble import HistGradientBoostingClassifier

    estimator = HistGradientBoostingClassifier().fit(recipes.batch(recipe, frame), [0, 1] * 10)
    digest = packages.build(ws, recipe=recipe, estimator=estimator, frame=frame, card="", meta={})
    assert packages.load(ws, digest).score([{"day": "2013-01-01", "at": "2013-01-01T05:00:00", "x": None}])


def test_a_missing_value_of_a_frame_is_one_however_it_is_written(ws, package, rows):
    loaded = packages.load(ws, package)
    assert loaded.score([{**rows[0], "temp": float("nan")}]) == loaded.score([{**rows[0], "temp": None}])
    with pytest.raises(BadInput, match="got number inf"):
        loaded.score([{**rows[0], "temp": float("inf")}])
