"""Finding dataset versions: by number, tag, branch or digest, and as they were at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tidemill.core.errors import BadInput, NotFound, nearest
from tidemill.core.ids import iso
from tidemill.core.types import Artifact, DatasetVersion, Query
from tidemill.core.workspace import Workspace

KIND, MAIN = "dataset", "main"
LABEL = re.compile(r"(?!\d+$)[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
DIGEST = re.compile(r"[0-9a-f]{6,32}")
DIGEST_DIGITS = 6
PAGE = 100  # versions looked at together for the head of a branch; the newest is nearly always the one

Ref = str | int | DatasetVersion | None


def find(ws: Workspace, name: str, version: int | None = None, *, branch: str = MAIN) -> DatasetVersion | None:
    """The dataset's version, the head of a branch by default, or None.

    Under a clock the head is the one without the versions that only added rows which were not known yet: the same one,
    whatever was imported since.
    """
    if version is None:
        return head(ws, name, branch) if ws.clock is None else _head_at(ws, name, branch, iso(ws.clock))
    for artifact in ws.graph.find(Query("artifact", kind=KIND, name=name, version=version, limit=1)):
        assert isinstance(artifact, Artifact)
        return DatasetVersion(artifact)
    return None


def get(ws: Workspace, name: str, version: int | None = None) -> DatasetVersion:
    """The dataset's version, main's head by default; NotFound names the nearest name or the versions there are."""
    found = find(ws, name, version)
    if found is not None:
        return found
    last = newest(ws, name)
    if last is not None:
        raise NotFound(f"dataset {name!r} has no version {version}; it has 1 to {last.version}")
    known = names(ws)
    raise NotFound(f"no dataset {name!r}; there are {', '.join(known) or 'none'}.{nearest(name, known)}")


def split(name: str, ref: Ref = None) -> tuple[str, Ref]:
    """Name and reference, wherever the reference was written: "trips@2", "dataset/trips@2", or "trips" and "trips@2".

    Raises BadInput where the two say different versions, or different datasets.

    >>> split("trips@champion"), split("trips", "trips@2"), split("trips", 2)
    (('trips', 'champion'), ('trips', '2'), ('trips', 2))
    """
    alone, at, said = name.partition("@")
    if at:
        alone = alone.removeprefix(f"{KIND}/")
        if ref is not None and str(ref) not in (said, f"{alone}@{said}"):
            raise BadInput(f"{name!r} names version {said!r}, and {ref!r} is asked for; name one of them")
        ref = said or None
    if isinstance(ref, str) and "@" in ref:
        other, _, ref = ref.partition("@")
        if other.removeprefix(f"{KIND}/") != alone:
            raise BadInput(f"'{other}@{ref}' is a version of dataset {other!r}, not of {alone!r}; name one of them")
    return alone, ref


def resolve(ws: Workspace, name: str, ref: Ref = None) -> DatasetVersion:
    """The version that a person means: a number, a tag, a branch, 6 or more digits of the digest; None is main's head.

    Name and reference may stand together, "trips@2". Raises NotFound with the nearest tag or branch, BadInput for a
    digest that begins more than one version.
    """
    name, ref = split(name, ref)
    if isinstance(ref, DatasetVersion):
        return ref
    if ref is None or isinstance(ref, int):
        return get(ws, name, ref)
    if ref.isdecimal() and len(ref) < DIGEST_DIGITS:
        return get(ws, name, int(ref))
    tagged, made = tags(ws, name), branch_starts(ws, name)
    if ref in tagged:
        return get(ws, name, tagged[ref])
    if ref == MAIN or ref in made:
        found = find(ws, name, branch=ref)
        return get(ws, name) if found is None else found
    get(ws, name)
    if DIGEST.fullmatch(ref):
        hits = {each.digest: each for each in reversed(all_versions(ws, name)) if each.digest.startswith(ref)}
        if len(hits) == 1:
            return next(iter(hits.values()))
        if hits:
            raise BadInput(f"{ref!r} begins {len(hits)} digests of dataset {name!r}; give more digits")
    known = sorted({*tagged, *made, MAIN})
    raise NotFound(
        f"dataset {name!r} has no version, tag, branch or digest {ref!r}; it has versions 1 to "
        f"{_last(ws, name)}, {', '.join(known)}.{nearest(ref, known)}"
    )


def names(ws: Workspace) -> list[str]:
    """The names of all datasets, sorted."""
    return sorted({each.name for each in ws.graph.find(Query("artifact", kind=KIND, limit=1_000_000))})


def log(ws: Workspace, name: str, *, branch: Ref = None) -> list[DatasetVersion]:
    """All versions, newest first, whatever the clock. branch: only those that its head, or that version, comes from."""
    get(ws, name)
    every = all_versions(ws, name)
    if branch is None:
        return every
    return ancestry(resolve(ws, name, branch), every)


def tag(ws: Workspace, name: str, version: Ref, label: str) -> DatasetVersion:
    """Give a version a name that it can be asked for by; a tag that is there moves to it.

    Raises BadInput for a label that is a branch's, or is no label.
    """
    found = resolve(ws, name, version)
    name = found.name
    require_label(label, what="tag")
    if label == MAIN or label in branch_starts(ws, name):
        raise BadInput(f"{label!r} is a branch of dataset {name!r}; choose another tag")
    body = {"tag": label, "version": found.version, "artifact": found.id, "digest": found.digest}
    ws.graph.record(f"tags/{name}", "set", body, actor=ws.settings.who)
    return found


def untag(ws: Workspace, name: str, label: str) -> None:
    """Take a tag away; the version stays. NotFound for one that is not there."""
    known = tags(ws, name)
    if label not in known:
        raise NotFound(f"dataset {name!r} has no tag {label!r}; it has {_shown(known)}.{nearest(label, known)}")
    ws.graph.record(f"tags/{name}", "removed", {"tag": label}, actor=ws.settings.who)


def tags(ws: Workspace, name: str) -> dict[str, int]:
    """Tag to version number, in order of tags."""
    found: dict[str, int] = {}
    for event in ws.graph.events(f"tags/{name}"):
        if event.kind == "removed":
            found.pop(str(event.body["tag"]), None)
        else:
            found[str(event.body["tag"])] = int(event.body["version"])
    return dict(sorted(found.items()))


def branch_starts(ws: Workspace, name: str) -> dict[str, int]:
    """Branch to the number of the version that it began at; "main" is not among them."""
    return {str(event.body["branch"]): int(event.body["version"]) for event in ws.graph.events(f"branches/{name}")}


def head(ws: Workspace, name: str, branch: str = MAIN) -> DatasetVersion | None:
    """The newest version of a branch, whatever the clock: its own, or the one that it began at; None for no such."""
    for limit in (1, PAGE, 1_000_000):
        found = all_versions(ws, name, limit=limit)
        for version in found:
            if branch_of(version) == branch:
                return version
        if len(found) < limit:
            break
    start = branch_starts(ws, name).get(branch)
    return None if start is None else find(ws, name, start)


def newest(ws: Workspace, name: str) -> DatasetVersion | None:
    """The version with the largest number, of whatever branch."""
    return next(iter(all_versions(ws, name, limit=1)), None)


def all_versions(ws: Workspace, name: str, *, limit: int = 1_000_000) -> list[DatasetVersion]:
    """The versions of all branches, newest first."""
    found = ws.graph.find(Query("artifact", kind=KIND, name=name, limit=limit))
    return [DatasetVersion(each) for each in found if isinstance(each, Artifact)]


def branch_of(version: DatasetVersion) -> str:
    """The branch that a version was made on."""
    return str(version.artifact.meta.get("branch") or MAIN)


def ancestry(start: DatasetVersion, every: Iterable[DatasetVersion]) -> list[DatasetVersion]:
    """The version and all that it comes from, by parents and merges, newest first."""
    by_id = {each.id: each for each in every}
    seen: dict[str, DatasetVersion] = {}
    todo = [start]
    while todo:
        version = todo.pop()
        if version.id in seen:
            continue
        seen[version.id] = version
        meta = version.artifact.meta
        todo += [by_id[each] for each in (meta.get("parent"), meta.get("merged")) if each in by_id]
    return sorted(seen.values(), key=lambda each: each.version, reverse=True)


def require_label(label: str, *, what: str) -> None:
    """Raise BadInput for a text that could be taken for a number or cannot be written in an address."""
    if not LABEL.fullmatch(label):
        raise BadInput(
            f"{label!r} is no {what}; allowed are letters, digits, '.', '_', '-', '/', at most 100, not digits alone"
        )


def _head_at(ws: Workspace, name: str, branch: str, clock: str) -> DatasetVersion | None:
    every = all_versions(ws, name)
    start = head(ws, name, branch)
    if start is None:
        return None
    line = _line(start, every)
    for version in line:
        first_known = version.artifact.meta.get("first_known")
        if first_known is None or first_known <= clock:
            return version
    return line[-1]


def _line(start: DatasetVersion, every: Iterable[DatasetVersion]) -> list[DatasetVersion]:
    """The version and its parents, without what was merged in."""
    by_id = {each.id: each for each in every}
    line = [start]
    while (parent := line[-1].artifact.meta.get("parent")) in by_id:
        line.append(by_id[str(parent)])
    return line


def _last(ws: Workspace, name: str) -> int:
    last = newest(ws, name)
    return 0 if last is None else last.version


def _shown(known: Iterable[str]) -> str:
    return ", ".join(known) or "none"
