"""Feature recipes: data, not code. One definition an operation, three compilers with the same bits."""

from tidemill.core.recipe.categories import one_hot, ordinal
from tidemill.core.recipe.compiling import batch, feature_names, fit, from_json, needs, recipe, row, to_json
from tidemill.core.recipe.definition import Recipe, Step
from tidemill.core.recipe.numbers import fill, keep, scale
from tidemill.core.recipe.times import dates

__all__ = [
    "Recipe",
    "Step",
    "batch",
    "dates",
    "feature_names",
    "fill",
    "fit",
    "from_json",
    "keep",
    "needs",
    "one_hot",
    "ordinal",
    "recipe",
    "row",
    "scale",
    "to_json",
]
