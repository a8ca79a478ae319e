"""Twelve checks of one million rows, with the ids of all failing rows, beside pandera on Polars and Great Expectations.

    python benchmarks/checks.py

Each side reads the same Parquet file before its clock starts, judges it with the same twelve rules and finds the id of
each failing row. CPU seconds of the judging, median of 3 (Great Expectations: of 1) after one that does not count. The
counts of failing rows must be the same rule by rule, or it stops.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from peers import Row, in_own_process, peer

ROWS = 1_000_000
PANDERA = ("pandera[polars]",)
GREAT_EXPECTATIONS = ("great_expectations", "pyarrow")

OURS = """
import json, statistics, sys, time
import polars as pl
from tidemill.core.checks import between, condition, failing, matches, not_null, one_of, unique
frame = pl.read_parquet(sys.argv[1])
checks = [
    unique("id"), not_null("carrier"), unique("flight", "day"), not_null("temp"), between("temp", -30, 120),
    between("distance", 1, 5000), one_of("carrier", "AA", "UA", "DL", "B6"), one_of("origin", "JFK", "LGA", "EWR"),
    matches("tail", "^N[0-9]{5}$"), between("delay", -120, 1440), between("humidity", 0, 100),
    condition("arrives >= leaves"),
]
def judge():
    began = time.process_time()
    found = failing(frame, checks, key="id", at_most=None)
    took = time.process_time() - began
    assert all(len(each.keys) == each.rows for each in found)
    return took, {checks.index(each.check): each.rows for each in found}
judge()
runs = [judge() for _ in range(3)]
print(json.dumps([statistics.median(run[0] for run in runs), [runs[0][1].get(n, 0) for n in range(12)]]))
"""

PEER_POLARS = """
import json, statistics, sys, time
import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors
frame = pl.read_parquet(sys.argv[1])
between, isin = (lambda low, high: pa.Check.in_range(low, high)), pa.Check.isin
columns = {
    "id": pa.Column(nullable=True, unique=True),
    "flight": pa.Column(nullable=True), "day": pa.Column(nullable=True),
    "temp": pa.Column(checks=between(-30, 120), nullable=False),
    "distance": pa.Column(checks=between(1, 5000), nullable=True),
    "carrier": pa.Column(checks=isin(["AA", "UA", "DL", "B6"]), nullable=False),
    "origin": pa.Column(checks=isin(["JFK", "LGA", "EWR"]), nullable=True),
    "tail": pa.Column(checks=pa.Check.str_matches("^N[0-9]{5}$"), nullable=True),
    "delay": pa.Column(checks=between(-120, 1440), nullable=True),
    "humidity": pa.Column(checks=between(0, 100), nullable=True),
    "leaves": pa.Column(nullable=True), "arrives": pa.Column(nullable=True),
}
late = pa.Check(lambda data: data.lazyframe.select(pl.col("arrives") >= pl.col("leaves")), name="late")
schema = pa.DataFrameSchema(columns, checks=late, unique=["flight", "day"])
names = ["id:field_uniqueness", "carrier:not_nullable", "unique", "temp:not_nullable", "temp:in_range",
         "distance:in_range", "carrier:isin", "origin:isin", "tail:str_matches", "delay:in_range",
         "humidity:in_range", "late"]
def judge():
    began = time.process_time()
    try:
        schema.validate(frame, lazy=True)
        raise SystemExit("nothing failed")
    except SchemaErrors as error:
        cases = error.failure_cases
    took = time.process_time() - began
    counts = {}
    for column, check, rows in cases.group_by("column", "check").len().iter_rows():
        check = (check or "").split("(")[0]
        name = "unique" if check == "multiple_fields_uniqueness" else "late" if check == "late" else f"{column}:{check}"
        counts[name] = counts.get(name, 0) + rows
    return took, counts
judge()
runs = [judge() for _ in range(3)]
unknown = set(runs[0][1]) - set(names)
assert not unknown, runs[0][1]
print(json.dumps([statistics.median(run[0] for run in runs), [runs[0][1].get(name, 0) for name in names]]))
"""

PEER_EXPECTATIONS = """
import json, logging, sys, time, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
import great_expectations as gx
import pandas as pd
from great_expectations import expectations as e
frame = pd.read_parquet(sys.argv[1])
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
batch = context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")
between = lambda column, low, high: e.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)
rules = [
    e.ExpectColumnValuesToBeUnique(column="id"), e.ExpectColumnValuesToNotBeNull(column="carrier"),
    e.ExpectCompoundColumnsToBeUnique(column_list=["flight", "day"]), e.ExpectColumnValuesToNotBeNull(column="temp"),
    between("temp", -30, 120), between("distance", 1, 5000),
    e.ExpectColumnValuesToBeInSet(column="carrier", value_set=["AA", "UA", "DL", "B6"]),
    e.ExpectColumnValuesToBeInSet(column="origin", value_set=["JFK", "LGA", "EWR"]),
    e.ExpectColumnValuesToMatchRegex(column="tail", regex="^N[0-9]{5}$"),
    between("delay", -120, 1440), between("humidity", 0, 100),
    e.ExpectColumnPairValuesAToBeGreaterThanB(column_A="arrives", column_B="leaves", or_equal=True),
]
suite = context.suites.add(gx.ExpectationSuite(name="s", expectations=rules))
defined = context.validation_definitions.add(gx.ValidationDefinition(name="v", data=batch, suite=suite))
form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}
began = time.process_time()
found = defined.run(batch_parameters={"dataframe": frame}, result_format=form)
took = time.process_time() - began
counts = {json.dumps(each.expectation_config.kwargs, sort_keys=True, default=str) + each.expectation_config.type:
          each.result["unexpected_count"] for each in found.results}
wanted = [json.dumps({**rule.configuration.kwargs, "batch_id": found.results[0].expectation_config.kwargs["batch_id"]},
                     sort_keys=True, default=str) + rule.configuration.type for rule in rules]
print(json.dumps([took, [counts[name] for name in wanted]]))
"""


def table(path: Path) -> None:
    """One million rows of twelve columns, of which about one in a thousand fails each rule."""
    rng = np.random.default_rng(7)
    n = ROWS

    def bad(values: np.ndarray, wrong: object) -> pl.Series:
        made = pl.Series(values)
        return made.scatter(rng.choice(n, n // 1000, replace=False), wrong)

    ids = np.array([f"f{i:07d}" for i in range(n)])
    ids[rng.choice(n, 1000, replace=False)] = "f0000000"
    flight, day = rng.permutation(n) // 2, np.arange(n)
    flight[:500], day[:500] = flight[-500:], day[-500:]
    leaves = rng.integers(0, 1440, n)
    frame = pl.DataFrame(
        {
            "id": ids,
            "flight": flight,
            "day": day,
            "temp": bad(rng.normal(50, 15, n).clip(-30, 120), 999.0),
            "distance": bad(rng.integers(1, 5000, n), 0),
            "carrier": bad(rng.choice(["AA", "UA", "DL", "B6"], n), "XX"),
            "origin": bad(rng.choice(["JFK", "LGA", "EWR"], n), "LAX"),
            "tail": bad(np.array([f"N{i:05d}" for i in rng.integers(0, 99999, n)]), "N?"),
            "delay": bad(rng.normal(10, 30, n).clip(-120, 1440), 9999.0),
            "humidity": bad(rng.uniform(0, 100, n), -1.0),
            "leaves": leaves,
            "arrives": bad(leaves + rng.integers(0, 300, n), -1),
        }
    )
    gone = rng.choice(n, 1000, replace=False)
    frame.with_columns(
        temp=frame["temp"].scatter(gone, None), carrier=frame["carrier"].scatter(gone, None)
    ).write_parquet(path)


def rows() -> list[Row]:
    """The two lines of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        table(path)
        ours_s, ours = in_own_process(OURS, str(path))
        polars_s, polars = peer("pandera", PANDERA, PEER_POLARS, str(path))
        expectations_s, expectations = peer("great-expectations", GREAT_EXPECTATIONS, PEER_EXPECTATIONS, str(path))
    print("failing rows, rule by rule:", ours, polars, expectations, sep="\n  ")
    assert ours == polars == expectations, "the counts differ"
    what = "12 checks on 1M rows, ids of all failing rows, CPU s"
    return [
        Row(f"{what}: pandera", f"{ours_s:.3f}", f"{polars_s:.3f}", f"{ours_s / polars_s:.3f}", "<= 0.6"),
        Row(
            f"{what}: Great Expectations",
            f"{ours_s:.3f}",
            f"{expectations_s:.2f}",
            f"{ours_s / expectations_s:.4f}",
            "<= 0.05",
        ),
    ]


if __name__ == "__main__":
    for row in rows():
        print(f"| {' | '.join(row)} |")
