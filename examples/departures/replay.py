"""Plays the year back: imports, requests over HTTP in time order, landings that come back as truth."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).parent))
import report
import source

import tidemill as tm

NAME = "departures"
DAY = timedelta(days=1)
FIRST = datetime(2013, 4, 1, tzinfo=UTC)
EVE = timedelta(microseconds=1)  # a month's first instant belongs to its own import

Build = Callable[..., tm.ModelVersion]


def main(rows: Callable[[tm.Project], tm.Rows], build: Build, argv: Sequence[str]) -> int:
    """The whole turn; see departures.py. Killed and called again, it goes on where it was."""
    asked = _arguments(argv)
    began = time.monotonic()
    with tm.open(asked.workspace) as mill:
        say(f"workspace {asked.workspace}")
        bring(mill, datetime(2013, 1, 1, tzinfo=UTC), FIRST)
        check(mill)
        first = mill.at(FIRST - EVE).build(build, name=NAME)
        judge(mill.at(FIRST - EVE), rows, first)
        review(mill.at(FIRST - EVE), rows)
        served = mill.at(FIRST).deploy(first, name=NAME, port=asked.port)
        say(f"serving {first.artifact.label} at {served.url}")
        try:
            loop = mill.improve(build, on=NAME, promote=tm.better(alpha=0.05), approve="auto")
            months = [play(mill, rows, build, served, loop, first, month) for month in _months(asked.months)]
        finally:
            served.stop()
        result = report.result(mill, NAME, months, seconds=time.monotonic() - began)
    print(json.dumps(result, indent=1) if asked.json else report.text(result))
    return 0


def bring(mill: tm.Project, since: datetime, until: datetime) -> None:
    """Import what belongs to [since, until) as the datasets' next versions, cleaned on the way."""
    note = f"{since:%Y-%m-%d} to {until:%Y-%m-%d}"
    known = {"event_time": "known", "known_time": "known"}
    if since.month == 1:
        made = source.planes()
        raw = mill.add("planes_raw", made, key="tailnum", **known)
        years = [tm.null_outside("made", 1950, 2013), tm.null_outside("seats", 2, 500), tm.drop_duplicates("tailnum")]
        mill.add("planes", mill.clean("planes", made, *years, key="tailnum", of=raw), key="tailnum", **known)
    hours = source.weather(since, until)
    raw = mill.add("weather_raw", hours, key="report_id", event_time="hour_utc", known_time="known", message=note)
    limits = [
        tm.drop_duplicates("report_id"),
        tm.null_outside("temp", -30, 120),
        tm.null_outside("humid", 0, 100),
        tm.null_outside("wind_speed", 0, 120),
        tm.null_outside("pressure", 900, 1100),
    ]
    clean = mill.clean("weather", hours, *limits, key="report_id", of=raw)
    mill.add("weather", clean, key="report_id", event_time="hour_utc", known_time="known", message=note)
    for name, frame, clocks in (
        ("flights", source.flights(since, until), {"event_time": "scheduled", "known_time": "scheduled"}),
        ("departures", source.departures(since, until), {"event_time": "departed", "known_time": "known"}),
        ("landings", source.landings(since, until), {"event_time": "known", "known_time": "known"}),
    ):
        version = mill.add(name, frame, key="flight_id", message=note, **clocks)
    say(f"imported {note}: flights@{version.version}, weather, departures, landings")


def check(mill: tm.Project) -> None:
    """Stop at rows that cannot be; report those that are merely odd."""
    if mill.lineage.runs(kind="data.check", limit=1):
        return
    mill.dataset("flights").check(
        tm.unique("flight_id"),
        tm.not_null("scheduled"),
        tm.one_of("origin", "EWR", "JFK", "LGA"),
        tm.between("distance", 1, 6000),
        tm.between("planned_min", 10, 900),
        tm.warn(tm.not_null("tailnum")),
    )


def judge(mill: tm.Project, rows: Callable[[tm.Project], tm.Rows], first: tm.ModelVersion) -> None:
    """Say for whom the first model is worse, on the flights that it was tested with."""
    if mill.evaluate.of(first):
        return
    test = rows(mill).labelled(mill.dataset("landings"), "late").where(since=mill.now - 14 * DAY)
    found = mill.evaluate(first, on=test, slices=["carrier", "origin", "scheduled"], groups=["carrier"])
    auc, weak = found.scores["auc"], found.weak
    worst = " and ".join(f"{column} {value}" for column, value in weak[0]["where"]) if weak else "none"
    say(f"AUC {auc['low']:.3f} to {auc['high']:.3f}; weakest slice: {worst}; /evaluations/{found.id}")


def review(mill: tm.Project, rows: Callable[[tm.Project], tm.Rows]) -> None:
    """Ask people about the labels that a model contradicts most surely."""
    import departures

    def ask() -> int:
        recent = rows(mill).labelled(mill.dataset("landings"), "late").where(since=FIRST - 14 * DAY)
        return mill.labels.ask(
            "late-review", recent, departures.linear, departures.RECIPE, target="late", params={}, at_most=20
        )

    if not mill.lineage.events("labels/late-review/*"):
        say(f"{ask()} suspicious labels wait for a person: tidemill label next late-review")


def play(
    mill: tm.Project,
    rows: Callable[[tm.Project], tm.Rows],
    build: Build,
    served: Any,
    loop: Any,
    first: tm.ModelVersion,
    month: datetime,
) -> dict[str, Any]:
    """One month: its flights answered day by day, its landings brought back, the loop ticking at midnight (UTC)."""
    after = _after(month)
    blind = first if month == FIRST else mill.at(month - EVE).build(_blind(build), name=f"{NAME}-blind")
    bring(mill, month, after)
    live = rows(mill.at(after)).where(since=month, until=after).frame()
    truth = source.landings(max(month - 2 * DAY, FIRST), after)  # before, nobody had asked
    for number in range((after - month).days):
        day = month + number * DAY
        if loop.ticked(day + DAY):
            continue
        ask(served, live.filter(pl.col("scheduled").is_between(day, day + DAY, closed="left")))
        landed = truth.filter(pl.col("known").is_between(day, day + DAY, closed="left"))
        mill.at(day + DAY).deployments.truth(
            NAME,
            landed.select(
                pl.col("flight_id").map_elements(partial(mill.deployments.prediction_id, NAME), pl.String).alias("id"),
                value="late",
                known_time="known",
            ),
        )
        for decision in loop.tick(day + DAY):
            say(f"  {day + DAY:%Y-%m-%d} {decision.text}")
        show(f"{day:%Y-%m-%d}")
    return report.month(mill, NAME, month, after, frozen=first, blind=blind, rows=live)


def _blind(build: Build) -> Build:
    def blindly(mill: tm.Project) -> tm.ModelVersion:
        return build(mill, hold_out=timedelta(hours=6), name=f"{NAME}-blind")

    return blindly


def ask(served: Any, rows: pl.DataFrame) -> None:
    """Ask for a day's flights in time order, one request an hour of departures."""
    for _, hour in rows.group_by(pl.col("scheduled").dt.truncate("1h"), maintain_order=True):
        sent = hour.to_dicts()
        served.predict(sent, keys=hour["flight_id"].to_list(), at=[row["scheduled"].isoformat() for row in sent])


def _months(until: int) -> list[datetime]:
    return [datetime(2013, month, 1, tzinfo=UTC) for month in range(4, until + 1)]


def _after(month: datetime) -> datetime:
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tidemill demo", description=__doc__)
    parser.add_argument("--workspace", default=f"{NAME}.mill", help="folder to keep all of it in")
    parser.add_argument("--months", type=int, default=12, choices=range(4, 13), help="play until this month (12)")
    parser.add_argument("--port", type=int, default=0, help="of the model server (0: a free one)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(list(argv))


@cache
def _began_s() -> float:
    return time.monotonic()


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.monotonic() - _began_s():6.1f} s  {text}", file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Progress that is overwritten, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{time.monotonic() - _began_s():6.1f} s  {text}", end="\r", file=sys.stderr, flush=True)


def show_trial(done: int, total: int, text: str) -> None:
    """Progress of the tuning."""
    say(f"trial {done}/{total}: {text}")
