"""The label-review queue, with real people simulated by names and real processes."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tidemill.core.errors import BadInput, NotFound
from tidemill.core.recording import recorded
from tidemill.core.types import Query
from tidemill.core.workspace import open_workspace
from tidemill.prepare import labels

NOON = datetime(2013, 4, 1, 12, tzinfo=UTC)


@pytest.fixture
def ws(tmp_path):
    opened = open_workspace(tmp_path / "w.mill")
    yield opened.at(NOON)
    opened.close()


def questions(count=3):
    return [{"key": f"f{row}", "given": 0, "suggested": 1, "show": {"carrier": "UA"}} for row in range(count)]


def test_asking_twice_makes_each_task_once(ws):
    first = labels.ask(ws, "late", questions())
    assert labels.ask(ws, "late", questions(4))[:3] == first
    assert labels.progress(ws, "late").tasks == 4
    assert len(ws.graph.find(Query("run", kind="prepare.ask"))) == 2


def test_two_people_get_different_tasks_in_the_order_asked(ws):
    asked = labels.ask(ws, "late", questions())
    ann, ben = labels.next_task(ws, "late", "ann"), labels.next_task(ws, "late", "ben")
    assert [ann.id, ben.id] == [asked[0].id, asked[1].id]
    assert ann.until == NOON + timedelta(minutes=10)


def test_a_person_gets_the_task_that_they_hold_again(ws):
    labels.ask(ws, "late", questions())
    assert labels.next_task(ws, "late", "ann").id == labels.next_task(ws, "late", "ann").id


def test_a_lease_that_ran_out_goes_to_the_next_person(ws):
    asked = labels.ask(ws, "late", questions(1))
    labels.next_task(ws, "late", "ann", lease_s=60)
    assert labels.next_task(ws, "late", "ben") is None
    later = ws.at(NOON + timedelta(seconds=61))
    assert labels.next_task(later, "late", "ben").id == asked[0].id


def test_an_answered_task_is_not_given_out_again(ws):
    task = labels.ask(ws, "late", questions(1))[0]
    labels.answer(ws, "late", task.id, 1, "ann")
    assert labels.next_task(ws, "late", "ben") is None
    assert labels.progress(ws, "late") == labels.Progress("late", 1, 1, 0, 0, {"ann": 1})


def test_answers_are_appended_and_the_last_of_each_person_counts(ws):
    task = labels.ask(ws, "late", questions(1))[0]
    for value, who in ((1, "ann"), (0, "ben"), (0, "ann"), (1, "ann")):
        labels.answer(ws, "late", task.id, value, who)
    assert [(each.who, each.value) for each in labels.answers(ws, "late")] == [("ben", 0), ("ann", 1)]
    assert len(ws.graph.events("labels/late/*", kind="answered")) == 4


def test_the_same_answer_again_changes_nothing(ws):
    task = labels.ask(ws, "late", questions(1))[0]
    first = labels.answer(ws, "late", task.id, 1, "ann")
    assert labels.answer(ws, "late", task.id, 1, "ann") == first
    assert len(ws.graph.find(Query("artifact", kind="labels"))) == 1


def test_a_label_set_of_an_old_version_can_be_read_again(ws):
    tasks = labels.ask(ws, "late", questions(2))
    labels.answer(ws, "late", tasks[0].id, 1, "ann")
    labels.answer(ws, "late", tasks[1].id, 0, "ben")
    labels.answer(ws, "late", tasks[0].id, 0, "ann")
    sets = sorted(ws.graph.find(Query("artifact", kind="labels", name="late")), key=lambda each: each.version)
    first = labels.answers(ws, "late", through=sets[0].meta["through"])
    assert [(each.who, each.value) for each in first] == [("ann", 1)]
    assert [each.version for each in sets] == [1, 2, 3]


def test_a_label_set_traces_to_the_tasks_and_the_dataset(ws):
    with recorded(ws, "data.import", "flights") as run:
        source = run.emit("dataset", "flights", digest="0" * 32)
    task = labels.ask(ws, "late", questions(1), source=source)[0]
    labels.answer(ws, "late", task.id, 1, "ann")
    (found,) = ws.graph.find(Query("artifact", kind="labels"))
    assert {each.kind for each in found.trace().artifacts} >= {"tasks", "dataset"}
    assert found.meta["by"] == "ann"
    assert ws.graph.verify() == []


def test_an_answer_may_be_typed_as_text_and_a_task_named_by_its_first_characters(ws):
    task = labels.ask(ws, "late", questions(1))[0]
    assert labels.answer(ws, "late", task.id[:6], "1", "ann").value == 1


def test_what_cannot_be_answered_is_refused(ws):
    task = labels.ask(ws, "late", questions(1))[0]
    with pytest.raises(BadInput, match=f"answer 'maybe' to task {task.id}; allowed: 0, 1"):
        labels.answer(ws, "late", task.id, "maybe", "ann")
    with pytest.raises(NotFound, match="no task 'zzz' in queue 'late'; see `tidemill label next late`"):
        labels.answer(ws, "late", "zzz", 1, "ann")
    with pytest.raises(NotFound, match=r"no label queue 'lat'; there are late\. Did you mean 'late'\?"):
        labels.next_task(ws, "lat", "ann")
    with pytest.raises(BadInput, match="queue 'a/b'; a name has letters"):
        labels.ask(ws, "a/b", questions())
    with pytest.raises(BadInput, match="has no key"):
        labels.ask(ws, "late", [{"given": 1}])
    with pytest.raises(BadInput, match="who is empty"):
        labels.answer(ws, "late", task.id, 1, "")


WORKER = """
import sys
from tidemill.core.workspace import open_workspace
from tidemill.prepare import labels
ws = open_workspace(sys.argv[1])
while (task := labels.next_task(ws, "late", sys.argv[2])) is not None:
    print(task.id, flush=True)
    labels.answer(ws, "late", task.id, 1, sys.argv[2])
"""


def test_people_in_two_processes_never_do_the_same_task(ws):
    labels.ask(ws, "late", questions(12))
    people = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(ws.root), who], stdout=subprocess.PIPE, text=True)
        for who in ("ann", "ben")
    ]
    done = [line for person in people for line in person.communicate(timeout=120)[0].split()]
    assert [person.returncode for person in people] == [0, 0]
    assert len(done) == len(set(done)) == 12
    assert labels.progress(ws, "late").answered == 12
