"""A dataset version as a Croissant file: JSON-LD that other tools find, read and load datasets by.

Source: Croissant format specification 1.0 (MLCommons, 2024), and its vocabulary for responsible AI (RAI 1.0) for what
is personal. `publish` writes the rows as Parquet and croissant.json beside them, which such tools load as it stands.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from tidemill.core.errors import NoRoom, TidemillError
from tidemill.core.ids import file_digest, iso, new_id
from tidemill.core.recording import recorded
from tidemill.core.types import DatasetVersion
from tidemill.core.workspace import Workspace
from tidemill.data import datasets
from tidemill.data.catalogue import access, governance
from tidemill.data.catalogue.tagging import tagged

CONFORMS = ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
FILE = "croissant.json"
ROWS = "rows"
PARQUET = "application/x-parquet"

# The terms of the specification's JSON-LD context that stand for themselves, and those that say more.
TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in TERMS},
}


def croissant(ws: Workspace, version: DatasetVersion, *, file: Path | None = None, url: str = "") -> dict[str, Any]:
    """The version as Croissant 1.0, a JSON object: its records, and a Parquet file of its rows.

    file: that file; its name, size and SHA-256 become the distribution that the fields are read from. Without one it is
    the file that `publish` writes for somebody without roles, written to a temporary folder and thrown away: as
    expensive as publishing. url: where people read about the dataset.
    """
    if file is not None:
        return _describe(ws, version, file, url)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / file_name(version)
        hidden = access.hidden_columns(ws, version)
        rows = datasets.scan(ws, version)
        (access.masked(ws, rows, hidden) if hidden else rows).sink_parquet(made)
        return _describe(ws, version, made, url)


def file_name(version: DatasetVersion) -> str:
    """The name of the Parquet file that `publish` writes."""
    return f"{version.name.replace('/', '-')}-v{version.version}.parquet"


def publish(
    ws: Workspace,
    version: DatasetVersion,
    folder: Path,
    *,
    actor: str | None = None,
    purpose: str | None = None,
    url: str = "",
) -> dict[str, Any]:
    """Write the rows as Parquet and croissant.json into a folder, for others to load; returns the JSON object.

    Read through `access.scan`: personal columns are masked unless the actor may see them, and the purpose is checked.
    Recorded as a run "data.publish". Raises Refused, NoRoom.
    """
    target = folder / file_name(version)
    draft = target.with_name(f".{target.name}.{new_id()}")
    params = {"file": target.name, "purpose": purpose}
    with recorded(ws, "data.publish", version.name, inputs=[("rows", version)], params=params) as run:
        rows = access.scan(ws, version, actor=actor, purpose=purpose)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            rows.sink_parquet(draft)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(target)
            made = _describe(ws, version, target, url)
            described = draft.with_suffix(".json")
            described.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n")
            described.replace(folder / FILE)
        except TidemillError:
            raise
        except (OSError, PolarsError) as error:
            if not isinstance(error, OSError) and "No space left" not in str(error):
                raise
            raise NoRoom(f"cannot write to {folder}: {error}; name a folder that can be written") from error
        finally:
            with suppress(OSError):
                draft.unlink()
        run.result({"rows": version.rows, "size_bytes": target.stat().st_size})
    return made


def _describe(ws: Workspace, version: DatasetVersion, file: Path, url: str) -> dict[str, Any]:
    known = governance.get(ws, version.name)
    tags = {column: each["tags"] for column, each in tagged(ws, version.artifact).items()}
    personal = [f"{column}: {', '.join(each)}" for column, each in tags.items() if governance.is_personal(each)]
    columns = {column: str(kind) for column, kind in pl.read_parquet_schema(file).items()}
    ids = _ids(columns)
    published = version.artifact.created_at
    made: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": version.name,
        "description": known.description or f"Dataset {version.name}, version {version.version}.",
        "version": f"{version.version}.0.0",
        "datePublished": iso(published),
        "identifier": version.digest,
        "citeAs": f"{known.owner or version.name}: {version.name}, version {version.version}, {published.year}, "
        f"digest {version.digest}",
    }
    made |= {"url": url} if url else {}
    made |= {"license": known.licence} if known.licence else {}
    made |= {"creator": {"@type": "sc:Person", "name": known.owner}} if known.owner else {}
    made |= {"keywords": [known.classification]} if known.classification else {}
    made |= {"rai:personalSensitiveInformation": personal} if personal else {}
    made["distribution"] = [
        {
            "@type": "cr:FileObject",
            "@id": file.name,
            "name": file.name,
            "contentUrl": file.name,
            "contentSize": f"{file.stat().st_size} B",
            "encodingFormat": PARQUET,
            "sha256": file_digest(file),
        }
    ]
    made["recordSet"] = [
        {
            "@type": "cr:RecordSet",
            "@id": ROWS,
            "name": ROWS,
            "description": f"{version.rows} rows; {version.key} identifies a row.",
            "key": {"@id": ids[version.key]},
            "field": [
                _field(column, kind, ids[column], tags.get(column, []), file) for column, kind in columns.items()
            ],
        }
    ]
    return made


def _ids(columns: Iterable[str]) -> dict[str, str]:
    """An id for each field: names without blanks and signs, which readers do not take, each once."""
    ids: dict[str, str] = {}
    for column in columns:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", column)
        taken = sum(1 for each in ids if re.sub(r"[^A-Za-z0-9._-]+", "_", each) == plain)
        ids[column] = f"{ROWS}/{plain}" if not taken else f"{ROWS}/{plain}.{taken + 1}"
    return ids


def _field(column: str, kind: str, field_id: str, tags: list[str], file: Path) -> dict[str, Any]:
    inner = kind.removeprefix("List(").removesuffix(")") if kind.startswith("List(") else kind
    made: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": field_id,
        "name": column,
        "description": f"{kind}, tagged {', '.join(tags)}" if tags else kind,
        "dataType": _data_type(inner),
        "source": {"fileObject": {"@id": file.name}, "extract": {"column": column}},
    }
    return made if inner == kind else {**made, "repeated": True}


def _data_type(kind: str) -> str:
    """The Croissant type of a Polars type, both as text.

    >>> _data_type("Datetime(time_unit='us', time_zone='UTC')"), _data_type("UInt8"), _data_type("Categorical")
    ('sc:DateTime', 'sc:Integer', 'sc:Text')
    """
    for begins, found in (
        ("Datetime", "sc:DateTime"),
        ("Date", "sc:Date"),
        ("Time", "sc:Time"),
        ("Int", "sc:Integer"),
        ("UInt", "sc:Integer"),
        ("Float", "sc:Float"),
        ("Decimal", "sc:Float"),
        ("Boolean", "sc:Boolean"),
    ):
        if kind.startswith(begins):
            return found
    return "sc:Text"
