"""`tidemill dataset`: its verbs are in the files named in this table."""

from __future__ import annotations

import click

from tidemill.cli.verbs import Verbs

SECTIONS = {
    "Versions": {
        "list": ("versions", "All datasets, newest version each."),
        "show": ("versions", "One version: its columns, clocks and tags."),
        "log": ("versions", "All versions, newest first."),
        "diff": ("versions", "What differs between two versions: schema, and rows with their values."),
        "revert": ("versions", "A new version with what an older one held."),
        "tag": ("branching", "Give a version a name."),
        "untag": ("branching", "Take a name away."),
        "tags": ("branching", "The names of versions."),
        "branch": ("branching", "Begin a branch."),
        "branches": ("branching", "All branches and their heads."),
        "merge": ("branching", "Bring what a branch changed into another; conflicts row by row."),
    },
    "Rows": {
        "add": ("rows", "Append the rows of a file."),
        "import": ("importing", "Import files, folders, Delta tables, databases and S3, streamed."),
        "update": ("rows", "Give existing rows new values."),
        "add-column": ("rows", "Add columns to existing rows."),
        "delete": ("rows", "Leave rows out from the next version on."),
        "rows": ("rows", "Look at the first rows, as you may see them."),
        "export": ("importing", "Write a version to a file, a Delta folder, S3 or a database."),
        "profile": ("describing", "What is in each column."),
    },
    "Files": {
        "add-files": ("files", "A folder of files (images, texts) as the next version."),
        "status": ("files", "How a folder differs from the dataset."),
        "checkout": ("files", "Make a folder hold a version's files."),
        "cat": ("files", "One file's bytes."),
    },
    "Contracts": {
        "contract": ("contract", "What rows must be: show, set, suggest, drop, log."),
        "check": ("quarantine", "Judge a version by the contract."),
        "quarantine": ("quarantine", "Rows that broke the contract."),
        "release": ("quarantine", "Add quarantined rows after all, mended or as they are."),
        "discard": ("quarantine", "Take rows out of quarantine for good."),
    },
    "Governance": {
        "describe": ("governance", "Owner, steward, licence, description, classification."),
        "tag-column": ("governance", "Say what a column holds: pii:email, subject, a word of yours."),
        "find-pii": ("governance", "Columns that seem to hold personal data."),
        "tagged": ("governance", "Tags of a dataset's, model's or log's columns, and where they come from."),
        "policy": ("policy", "What a dataset may be used for, and how long it is kept."),
        "allow": ("policy", "Allow a purpose on a legal basis."),
        "disallow": ("policy", "Take a purpose back."),
        "keep": ("policy", "How long rows are kept."),
        "retention": ("policy", "Rows that are kept for too long; --apply removes them."),
        "hold": ("policy", "Forbid erasure and retention for a legal case."),
        "release-hold": ("policy", "End a legal hold."),
        "erase": ("erasing", "Take a person out of every version, log, label and store."),
        "card": ("describing", "The dataset card, Markdown."),
        "croissant": ("describing", "A Croissant file, or a folder for others to load."),
    },
}


@click.group(cls=Verbs, sections=SECTIONS)
def dataset() -> None:
    """Datasets: versions, imports, files, contracts, governance."""
