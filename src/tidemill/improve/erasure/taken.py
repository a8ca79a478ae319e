"""What is known of a person who is to be erased, once it is found; a note of it lets a killed erasure go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Rows = list[dict[str, Any]]  # Any: JSON values


@dataclass(frozen=True)
class Taken:
    """What goes from one dataset.

    rows: the values of the person's rows, as JSON. texts: by column, the distinctive ones of these rows; numbers: by
    column, those nobody else has. files: digests of files that no other row names.
    """

    tables: tuple[str, ...]
    subjects: tuple[str, ...]  # the columns that name a person
    key_columns: tuple[str, ...]
    keys: tuple[str, ...] = ()
    rows: Rows = field(default_factory=list)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    numbers: Mapping[str, Sequence[float]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()  # a row that has one of these as a text of any column is theirs
    references: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by column: row ids of theirs elsewhere
    apart: tuple[str, ...] = ()  # columns in which such a text is none of theirs: paths in another folder of files


@dataclass(frozen=True)
class Doomed:
    """All that goes with one person. texts: those that no row of anybody else holds."""

    subject: str
    datasets: Mapping[str, Taken]
    texts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For the note that lets a killed erasure go on."""
        return {"format": 1, **asdict(self)}

    @staticmethod
    def of_json(value: Mapping[str, Any]) -> Doomed:
        """From that note."""
        taken = {
            name: Taken(
                tables=tuple(one["tables"]),
                subjects=tuple(one["subjects"]),
                key_columns=tuple(one["key_columns"]),
                keys=tuple(one["keys"]),
                rows=one["rows"],
                texts=one["texts"],
                numbers=one["numbers"],
                files=tuple(one["files"]),
                linked=tuple(one.get("linked", ())),
                references=one.get("references", {}),
                apart=tuple(one.get("apart", ())),
            )
            for name, one in value["datasets"].items()
        }
        return Doomed(value["subject"], taken, tuple(value["texts"]))
