"""Models by name, version and alias; an alias knows what it was at any time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidemill.core.errors import BadInput, Conflict, NotFound
from tidemill.serve import registry
from tidemill.serve.registered import models, promoting, versions


def test_a_model_is_found_by_name_version_and_alias(ws, model, other_model):
    assert (model.version, other_model.version) == (1, 2)
    registry.alias(ws, "late", "champion", 1, why="first")
    assert registry.get(ws, "late").version == 2
    assert registry.get(ws, "late", 1).id == model.id
    assert registry.get(ws, "late", "1").id == model.id
    assert registry.get(ws, "late", "champion").id == model.id
    assert [found.version for found in registry.models(ws)] == [2, 1]
    assert registry.aliases(ws, "late") == {"champion": 1}


def test_registering_the_same_again_gives_the_same_version(ws, model, package):
    again = registry.register(ws, "late", package=package, meta={"metrics": {"auc": 0.8}})
    assert again.id == model.id


def test_a_model_is_linked_to_what_it_came_from(ws, model, package):
    made = registry.register(ws, "better", package=package, meta={}, inputs=[("parent", model)])
    assert model.id in {artifact.id for artifact in made.trace().artifacts}


def test_an_alias_remembers_what_it_was_when(ws, model, other_model):
    for day, version in ((1, 1), (10, 2), (20, 1)):
        registry.alias(ws.at(datetime(2013, 5, day, tzinfo=UTC)), "late", "champion", version, why="test")
    seen = [registry.alias_at(ws, "late", "champion", datetime(2013, 5, day, tzinfo=UTC)) for day in (5, 10, 15, 25)]
    assert seen == [1, 2, 2, 1]
    assert registry.get(ws.at(datetime(2013, 5, 12, tzinfo=UTC)), "late", "champion").version == 2
    with pytest.raises(NotFound, match="did not exist at 2013-04-01"):
        registry.alias_at(ws, "late", "champion", datetime(2013, 4, 1, tzinfo=UTC))


def test_an_alias_moves_only_from_where_it_is_expected(ws, model, other_model):
    first = registry.alias(ws, "late", "champion", 1, why="first", expect=0)
    registry.alias(ws, "late", "champion", 2, why="second", expect=first.seq)
    with pytest.raises(Conflict):
        registry.alias(ws, "late", "champion", 1, why="too late", expect=first.seq)


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("lat", None, "no model 'lat'; known are late. Did you mean 'late'? See `tidemill model list`."),
        ("late", 9, "model 'late' has no version 9; it has 1"),
        ("late", "champoin", "no alias 'champoin' of model 'late'; it has champion. Did you mean 'champion'?"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(ws, model, name, version, message):
    registry.alias(ws, "late", "champion", 1, why="first")
    with pytest.raises(NotFound) as caught:
        registry.get(ws, name, version)
    assert str(caught.value) == message


def test_names_that_cannot_be_part_of_a_path_are_refused(ws, package):
    with pytest.raises(BadInput, match=r"model name '\.\./x' cannot be used"):
        registry.register(ws, "../x", package=package, meta={})


def test_a_version_is_not_registered_out_of_sight(ws, model, package):
    models.rename(ws, "late", "delays")
    assert registry.register(ws, "delays", package=package, meta={"metrics": {}}).version == 2
    with pytest.raises(Conflict, match="was renamed or deleted"):
        registry.register(ws, "late", package=package, meta={})
    models.delete(ws, "delays")
    with pytest.raises(Conflict, match="was renamed or deleted"):
        registry.register(ws, "late", package=package, meta={})


def test_an_alias_goes_back_to_a_version_that_is_still_there(ws, model, other_model, package):
    third = registry.register(ws, "late", package=package, meta={"metrics": {"auc": 0.1}})
    for number in (1, 2, third.version):
        registry.alias(ws, "late", "champion", number, why="test")
    versions.delete(ws, "late", 2)
    assert promoting.rollback(ws, "late", why="worse").body["version"] == 1
