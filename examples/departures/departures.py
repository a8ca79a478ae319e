"""Will a flight out of New York arrive 15 or more minutes late? Asked at its scheduled departure, all through 2013.

Run it as `tidemill demo`. A cancelled or diverted flight counts as late: whoever waits at its end waits as well.
"""

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import tidemill as tm

sys.path.insert(0, str(Path(__file__).parent))
import replay

HOUR = timedelta(hours=1)
STATE = ["airport_delay", "airport_late", "airport_departures", "overdue"]
WEATHER = ["temp", "humid", "wind_speed", "precip", "pressure", "visib"]
RECIPE = tm.recipe(
    tm.one_hot("origin", "carrier"),
    tm.ordinal("dest"),
    tm.dates("local", parts=("minute_of_day", "weekday")),
    tm.fill(*WEATHER, *STATE, "made", "seats", "carrier_delay", "plane_delay", how="median"),
    tm.scale("distance", "planned_min", *WEATHER, *STATE, "made", "seats", "carrier_delay", "plane_delay"),
    tm.scale("dest", "local.minute_of_day", "local.weekday"),
)


def boosting(
    train: tm.Matrix,
    rate: Annotated[float, tm.log(0.02, 0.2)] = 0.08,
    leaves: Annotated[int, tm.ints(8, 48)] = 31,
    rounds: Annotated[int, tm.ints(60, 160)] = 120,
) -> object:
    from sklearn.ensemble import HistGradientBoostingClassifier as Boosting

    model = Boosting(learning_rate=rate, max_leaf_nodes=leaves, max_iter=rounds, early_stopping=False, random_state=0)
    return model.fit(train.X, train.y)


def linear(train: tm.Matrix, strength: Annotated[float, tm.log(0.001, 10)] = 0.1) -> object:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=300).fit(train.X, train.y)


def forest(train: tm.Matrix, depth: Annotated[int, tm.ints(6, 12)] = 10) -> object:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(60, max_depth=depth, min_samples_leaf=20, random_state=0).fit(train.X, train.y)


def rows(mill: tm.Project) -> tm.Rows:
    """Each flight as it looked at its scheduled departure: never a value that was not known yet."""
    seen = mill.dataset("departures")
    planned = mill.dataset("flights").as_of(mill.dataset("planes"), by="tailnum")
    outside = planned.as_of(mill.dataset("weather"), by="origin", within=3 * HOUR)
    airport = outside.as_of(seen, by="origin", columns=STATE, within=3 * HOUR)
    carrier = airport.as_of(seen, by=["origin", "carrier"], columns=["carrier_delay"], within=3 * HOUR)
    return carrier.as_of(seen, by="tailnum", columns=["plane_delay"], within=24 * HOUR)


def build(mill: tm.Project, hold_out: timedelta = timedelta(days=14), name: str = "departures") -> tm.ModelVersion:
    """A model from all that is known at mill.now; the newest `hold_out` tests it. The first one is tuned."""
    train, test = rows(mill).labelled(mill.dataset("landings"), "late").split(time=[mill.now - hold_out])
    fits = {fit.__name__: fit for fit in (boosting, linear, forest)}
    if (before := mill.models.find("departures")) is None:
        early, late = train.split(time=[mill.now - 2 * hold_out])
        best = mill.tune(list(fits.values()), early, RECIPE, on=late, target="late", progress=replay.show_trial)
        choice, params = best.fit_name, best.params
    else:
        choice, params = before.artifact.meta["fit"], before.artifact.meta["params"]
    fitted = mill.fit(fits[choice], train, RECIPE, target="late", params=params)
    return mill.register(fitted, name, on=test, slices=["carrier", "origin", "scheduled"])


main = partial(replay.main, rows, build)
if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
