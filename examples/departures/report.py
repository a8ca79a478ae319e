"""The demo's end: what each strategy was worth and what it cost by month; one prediction and one row followed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

import tidemill as tm

SCORES = ("auc", "log_loss", "brier")
SHOWN = 40  # lines of the prediction's tree


def month(
    mill: tm.Project,
    name: str,
    begin: datetime,
    end: datetime,
    *,
    frozen: tm.ModelVersion,
    blind: tm.ModelVersion,
    rows: pl.DataFrame,
) -> dict[str, Any]:
    """Scores of one month on the same rows for the three strategies: the loop's are the answers that were served."""
    truth = mill.dataset("landings").frame().select("flight_id", value="late")
    scored: dict[str, pl.DataFrame] = {
        which: pl.DataFrame({"flight_id": rows["flight_id"], "score": mill.models.score(model, rows)})
        for which, model in (("frozen", frozen), ("blind", blind))
    }
    answered = mill.deployments.predictions(name, since=begin, until=end)
    scored["loop"] = answered.select(pl.col("row_key").alias("flight_id"), "score")
    lines: dict[str, Any] = {"month": f"{begin:%Y-%m}", "rows": rows.height, "answered": answered.height}
    for which, frame in scored.items():
        joined = frame.join(truth, on="flight_id", how="inner")
        lines[which] = mill.models.scores(joined["value"].to_numpy(), joined["score"].to_numpy())
    return lines


def result(mill: tm.Project, name: str, months: list[dict[str, Any]], *, seconds: float) -> dict[str, Any]:
    """All of the end as one JSON value."""
    decisions = [
        {"at": f"{each.at:%Y-%m-%d}", "kind": each.kind, "text": each.text}
        for each in mill.improve(lambda _: mill.model(name), on=name).decisions()
    ]
    kinds = [each["kind"] for each in decisions]
    alerts = mill.deployments.alerts(name)
    served, blind = mill.models.all(name), mill.models.all(f"{name}-blind")
    labels = [int(model.artifact.meta["train_rows"]) for model in reversed(served)]
    cost = {
        "frozen": {"alerts": 0, "retrains": 0, "promotions": 0, "rollbacks": 0, "labels": labels[0]},
        "blind": {
            "alerts": 0,
            "retrains": len(blind),
            "promotions": len(blind),
            "rollbacks": 0,
            "labels": sum(int(model.artifact.meta["train_rows"]) for model in blind),
        },
        "loop": {
            "alerts": len(alerts),
            "retrains": len(served) - 1,
            "promotions": kinds.count("promoted"),
            "rollbacks": kinds.count("rolled back"),
            "labels": sum(labels),
        },
    }
    cost["frozen"]["cpu_s"] = 0.0
    cost["blind"]["cpu_s"] = _cpu(mill, "flow.step", f"{name}-blind")
    cost["loop"]["cpu_s"] = round(_cpu(mill, "improve.*", name) + _cpu(mill, "watch.*", name), 1)
    last = mill.deployments.predictions(name, since=datetime(2013, 4, 1, tzinfo=UTC)).tail(1).to_dicts()[0]
    first_row = mill.dataset("flights", 1).where(until="2013-02-01").frame()["flight_id"][0]
    impact = mill.lineage.row("flights", first_row)
    return {
        "months": months,
        "mean": {
            which: {score: sum(line[which][score] for line in months) / len(months) for score in SCORES}
            for which in ("frozen", "blind", "loop")
        },
        "cost": cost,
        "decisions": decisions,
        "alerts": [{"at": f"{each.at:%Y-%m-%d}", "what": each.what, "text": each.text} for each in alerts],
        "prediction": (traced := mill.lineage.prediction(last["id"])),
        "tree_lines": mill.lineage.lines(traced["tree"]),
        "impact": impact,
        "audit_faults": len(mill.lineage.verify()),
        "seconds": round(seconds, 1),
    }


def _short(lines: list[str]) -> list[str]:
    """The first lines of a long tree."""
    return (
        lines
        if len(lines) <= SHOWN
        else [*lines[:SHOWN], f"... {len(lines) - SHOWN} more: tidemill prediction show ID"]
    )


def _cpu(mill: tm.Project, kind: str, name: str) -> float:
    found = mill.lineage.runs(kind=kind, name=name, limit=100_000)
    return round(sum(run.cpu_s or 0.0 for run in found), 1)


def text(found: dict[str, Any]) -> str:
    """The same for people."""
    lines = ["", "Flights late by 15 minutes or more, month by month (each on the same rows)", ""]
    lines.append("            AUC                     log loss                Brier")
    lines.append("month       frozen  blind   loop    frozen  blind   loop    frozen  blind   loop     rows")
    for line in found["months"]:
        cells = "  ".join(
            "  ".join(f"{line[which][score]:.4f}" for which in ("frozen", "blind", "loop")) for score in SCORES
        )
        lines.append(f"{line['month']:10}  {cells}  {line['rows']:7,}")
    cells = "  ".join("  ".join(f"{found['mean'][w][s]:.4f}" for w in ("frozen", "blind", "loop")) for s in SCORES)
    lines += [f"{'mean':10}  {cells}", ""]
    best = max(("frozen", "blind", "loop"), key=lambda which: found["mean"][which]["auc"])
    least = min(("frozen", "blind", "loop"), key=lambda which: found["mean"][which]["log_loss"])
    lines += [f"Best mean AUC: {best}. Least mean log loss: {least}.", ""]
    lines.append("After the first model (labels: training rows read in all):")
    lines.append(f"{'':10}  alerts  retrains  promotions  rollbacks     labels  CPU seconds")
    for which, cost in found["cost"].items():
        lines.append(
            f"{which:10}  {cost['alerts']:6}  {cost['retrains']:8}  {cost['promotions']:10}  {cost['rollbacks']:9}"
            f"  {cost['labels']:9,}  {cost['cpu_s']:11.1f}"
        )
    lines += ["", "What the loop did:"]
    lines += [f"  {each['at']}  {each['kind']:11}  {each['text']}" for each in found["decisions"]]
    asked = found["prediction"]
    lines += ["", f"One prediction: {asked['prediction']}"]
    lines += [f"  {asked['row']} asked for {asked['asked_for']}: P(late) {asked['score']:.3f}, truth {asked['truth']}"]
    lines += [
        f"  answered by {asked['deployment']}, {asked['model']}",
        *(f"  {each}" for each in _short(found["tree_lines"])),
    ]
    impact = found["impact"]
    lines += ["", f"One row: {impact['row']}, in {len(impact['versions'])} versions of {impact['dataset']}"]
    lines += [f"  trained {len(impact['models'])} models: {', '.join(impact['models'][:4])} ..."]
    for name, counts in impact["answers_of_these_models"].items():
        lines += [f"  {model} gave {count:,} answers of {name}" for model, count in counts.items() if count]
    lines += ["", f"{found['seconds']:.0f} s; audit log: {found['audit_faults']} faults"]
    return "\n".join(lines)
