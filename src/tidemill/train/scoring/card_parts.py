"""What a model card says of an evaluation, in Markdown, and the tables that all of a card is written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_LINES = 10  # weak slices and importances in a card; the evaluation has them all


def evaluated(report: Mapping[str, Any]) -> list[str]:
    """Sections of an evaluation's report: scores with intervals, weak slices, fairness, what the model looks at."""
    parts = [
        "## Evaluation",
        f"On {report['rows']:,} rows, which were then looked at {_times(report['looks'])}; intervals at 95 %.",
        _intervals(report["scores"], report["baseline"]),
    ]
    if report["threshold"] is not None:
        parts.append(_threshold(report["threshold"]))
    parts += ["## Weak slices", *_weak(report["weak"])]
    for each in report["fairness"]:
        parts += [f"## Fairness by {each['column']}", *_fair(each)]
    if report["importances"] is not None:
        parts += ["## What it looks at", *_importances(report["importances"])]
    return parts


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; what is in a cell cannot break it."""
    lines = [head, ["---"] * len(head), *([number(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: Any) -> str:  # Any: a cell of a table
    """A cell: numbers with four digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _intervals(scores: Mapping[str, Mapping[str, Any]], baseline: Mapping[str, float]) -> str:
    return table(
        ["score", "value", "from", "to", "baseline (constant)", "interval"],
        [
            [name, each["value"], each["low"], each["high"], baseline.get(name), each["method"]]
            for name, each in scores.items()
        ],
    )


def _threshold(found: Mapping[str, Any]) -> str:
    costs = ", ".join(f"{name.replace('_', ' ')} {number(cost)}" for name, cost in found["costs"].items())
    cut = "above all rows" if found["threshold"] is None else f"{found['threshold']:.4g}"
    return (
        f"Cheapest threshold at costs of {costs}: {cut}; {found['cost']:.4g} a row, against {found['cost_never']:.4g} "
        f"where none and {found['cost_always']:.4g} where all are called positive. Chosen on these rows: other "
        "rows will cost a little more."
    )


def _weak(found: Mapping[str, Any]) -> list[str]:
    told = (
        f"Of {found['looked_at']:,} slices tested by {found['score']} (overall {found['overall']:.4g}; p corrected for "
        f"all of them by Holm's method), {len(found['found'])} are weaker than the rest."
    )
    rows: list[list[Any]] = []
    for each in found["found"][:MOST_LINES]:
        (column, value), *more = each["where"]
        rows.append([column, value, each["rows"], each["value"], each["elsewhere"], each["adjusted"]])
        # A line of its own, so that each value stands behind its column.
        rows += [[column, value, each["rows"], "with the line above", "", ""] for column, value in more]
    head = ["column", "value", "rows", "there", "elsewhere", "p"]
    return [told, table(head, rows)] if rows else [told]


def _fair(found: Mapping[str, Any]) -> list[str]:
    column = found["column"]
    if "classes" in found:
        lines = [
            [column, each["group"], each["rows"], one["class"], *_shares(each)]
            for one in found["classes"]
            for each in one["groups"]
        ]
        return [table(["column", "group", "rows", "class", "observed", "called", "recall", "false alarms"], lines)]
    if "reference" not in found:
        lines = [
            [column, each["group"], each["rows"], each["off"], each["off_low"], each["off_high"], each["mae"]["value"]]
            for each in found["groups"]
        ]
        return [table(["column", "group", "rows", "mean error", "from", "to", "mae"], lines)]
    sure = sum(not each["low"] <= 0 <= each["high"] for each in found["gaps"])
    told = (
        f"Called positive from {found['threshold']:.4g} on. Largest differences between groups: share called positive "
        f"{number(found['demographic_parity'])}, recall {number(found['equal_opportunity'])}, recall or false alarms "
        f"{number(found['equalised_odds'])}. Gaps to the reference whose interval leaves out 0: {sure} of "
        f"{len(found['gaps'])}."
    )
    lines = [[column, each["group"], each["rows"], *_shares(each), each["off"]] for each in found["groups"]]
    head = ["column", "group", "rows", "observed", "called", "recall", "false alarms", "observed less predicted"]
    return [told, table(head, lines)]


def _shares(group: Mapping[str, Any]) -> list[Any]:
    return [group[name]["value"] for name in ("observed", "selected", "recall", "false_alarms")]


def _importances(found: Mapping[str, Any]) -> list[str]:
    lines = found["columns"][:MOST_LINES]
    if found["method"] == "shap":
        told = f"Mean size of each column's Shapley values ({found['unit']} scale) on {found['rows']:,} rows."
        return [told, table(["column", "mean size"], [[f"`{each['name']}`", each["size"]] for each in lines])]
    told = f"How much worse {found['score']} gets when a column is shuffled, on {found['rows']:,} rows."
    head = ["column", "worse by", "from", "to"]
    return [told, table(head, [[f"`{each['name']}`", each["drop"], each["low"], each["high"]] for each in lines])]
