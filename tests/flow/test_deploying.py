"""A pipeline is seen to fit its schedule before it runs by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tidemill.core.errors import BadInput, NotFound, WrongType
from tidemill.core.workspace import Workspace, open_workspace
from tidemill.flow.scheduling import deploying, schedules, slots
from tidemill.flow.scheduling.schedules import cron, every

FLOWS = """
from datetime import date, datetime

from tidemill.flow.pipelines import pipeline


@pipeline(name="report", schedule="0 5 * * *")
def report(day: date, rows: int = 3):
    return rows


@pipeline(name="hourly")
def hourly(at: datetime | None = None):
    return 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flows.py").write_text(FLOWS)
    return tmp_path


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "a.mill")


def test_its_own_schedule_is_the_default_and_its_folder_is_kept(ws: Workspace, folder: Path) -> None:
    made = deploying.deploy(ws, "flows.py:report", params={"day": "2026-01-01"}, folder=folder)
    assert (made.name, made.pipeline, made.schedule) == ("report", "report", cron("0 5 * * *"))
    assert (made.entry, made.folder) == ("flows.py:report", str(folder))


def test_a_parameter_that_is_a_date_is_given_the_date_in_the_schedules_zone(ws: Workspace, folder: Path) -> None:
    since = ws.at(datetime(2026, 5, 1, tzinfo=UTC))
    midnight = cron("15 0 * * *", zone="Europe/Berlin")
    one = deploying.deploy(since, "flows.py:report", midnight, slot_param="day", folder=folder)
    (run,) = slots.claim(ws, one, datetime(2026, 5, 1, 22, 15, tzinfo=UTC))
    assert run.params == {"day": "2026-05-02"}  # 0:15 in Berlin


def test_any_other_is_given_the_time(ws: Workspace, folder: Path) -> None:
    since = ws.at(datetime(2026, 5, 1, tzinfo=UTC))
    one = deploying.deploy(since, "flows.py:hourly", every("1h"), slot_param="at", folder=folder)
    (run,) = slots.claim(ws, one, datetime(2026, 5, 1, 1, tzinfo=UTC))
    assert run.params == {"at": "2026-05-01T01:00:00.000000Z"}


def test_what_would_fail_at_night_is_refused_now(ws: Workspace, folder: Path) -> None:
    def refused(entry: str, said: str, kind: type[Exception] = BadInput, **options: object) -> None:
        with pytest.raises(kind, match=said):
            deploying.deploy(ws, entry, folder=folder, **options)  # type: ignore[arg-type]

    refused("flows.py:report", "pipeline 'report' needs day")
    refused("flows.py:report", "pipeline 'report' needs day .date.; give it in params", slot_param="rows")
    refused("flows.py:report", "has no parameter 'dya'; it has day, rows. Did you mean 'day'", slot_param="dya")
    refused("flows.py:report", "it must be int", WrongType, params={"day": "2026-01-01", "rows": "many"})
    refused("flows.py:hourly", "pipeline 'hourly' has no schedule; give one here")
    refused("flows.py:nightly", "no pipeline 'nightly'", NotFound)
    refused("nofile.py:report", "no file", NotFound)
    assert schedules.listed(ws) == []
