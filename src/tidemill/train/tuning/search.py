"""The search of a tuning: asks Optuna for parameters, has the trials done by an engine, tells what they came to.

The study is in the graph (train.storage), under a name that says what is searched: code, data, ranges, seed, all but
how many trials and where. So a search that was killed goes on: trials that ended count, and those that were going on
are done again, with the parameters that they had and from their last checkpoint. One after the other, the end is as it
is without the kill: what the sampler draws depends on the seed, the trial's number and the trials before it alone.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from tidemill.core import recording
from tidemill.core.engine import Engine, Resources, Task
from tidemill.core.errors import ServerFailed
from tidemill.core.ids import digest
from tidemill.core.workspace import Workspace
from tidemill.train.ranges import Fit, conditions_of, defaults_of, distribution, fit_name, ranges_of
from tidemill.train.tuning.budgets import Budget
from tidemill.train.tuning.limits import Limit
from tidemill.train.tuning.storage import GraphStorage
from tidemill.train.tuning.trial import Job, Outcome, Rows, attempt, judge, perform, stored

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler

Progress = Callable[[int, int, str], None]
RUN = "run"  # user attributes of a trial in the study
WALL_S = "wall_s"
TEXT = "text"
GIVE_UP_S = 10.0  # how long cancelled trials are waited for: their processes end within seconds


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched, and how. job_of: the job for a fit with parameters, its ids still to be set.

    scores: names, with "max" or "min". sampler: a factory (the extension point "sampler").
    """

    fits: Mapping[str, Fit]
    scores: tuple[tuple[str, str], ...]
    sampler: Callable[..., BaseSampler]
    seed: int
    trials: int
    limits: tuple[Limit, ...]
    budget: Budget
    job_of: Callable[[Fit, Mapping[str, Any]], Job]
    rows: Rows
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Where:
    """Where trials are done: an engine (None: in this process, one after the other), how many at once, each with what.

    retries: how often a trial is done again whose worker died.
    """

    engine: Engine | None = None
    at_once: int = 1
    needs: Resources | None = None
    timeout_s: float | None = None
    retries: int = 2


class _Going:
    """A search that goes on."""

    def __init__(self, ws: Workspace, study: Study, search: Search, where: Where) -> None:
        self.ws, self.study, self.search, self.where = ws, study, search, where
        self.estimators: dict[int, object] = {}
        self.ended: queue.Queue[tuple[Trial, Job, Task[Outcome], int]] = queue.Queue()
        self.going = 0
        self.tasks: dict[int, Task[Outcome]] = {}
        self.began_s = time.monotonic()
        self.shared = stored(ws, search.rows) if where.engine is not None else ""
        assert isinstance(study._storage, GraphStorage)
        self._storage = study._storage

    def run(self) -> None:
        """Until there are enough trials or the budget is spent."""
        left = self._left_over()
        try:
            while True:
                while self.going < self.where.at_once:
                    trial = next(left, None) or self._ask()
                    if trial is None:
                        break
                    self._start(trial)
                if not self.going:
                    return
                self._take(*self.ended.get())
        finally:
            self._give_up()

    def _give_up(self) -> None:
        """End the trials that go on still, and say so in their runs, whose workers cannot any more."""
        left = list(self.tasks.values())
        if self.where.engine is None or not left:
            return
        for task in left:
            self.where.engine.cancel(task)
        for task in left:
            with suppress(Exception):
                task.result(GIVE_UP_S)
        recording.end_lost(self.ws)

    def close(self) -> None:
        """Make the study durable, and free for others."""
        self._storage.close()

    def _left_over(self) -> Iterator[Trial]:
        """The trials that a killed search had in hand."""
        for found in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._sampler_of(found.number)
            yield Trial(self.study, found._trial_id)

    def _ask(self) -> Trial | None:
        """The next trial; None when there are enough, or the budget is spent."""
        found = self.study.get_trials(deepcopy=False)
        begun = sum(trial.state is not TrialState.WAITING for trial in found)
        spent_s = sum(trial.user_attrs.get(WALL_S, 0.0) for trial in found)
        if begun >= self.search.trials or self.search.budget.is_spent(time.monotonic() - self.began_s, spent_s):
            return None
        self._sampler_of(begun)
        return self.study.ask()

    def _sampler_of(self, number: int, name: str = "") -> None:
        """A sampler that draws by the trial's number and the parameter alone: nothing has to be replayed."""
        seed = int(digest(f"{self.search.seed}/{number}/{name}".encode())[:7], 16)
        factory = self.search.sampler
        self.study.sampler = factory(seed)

    def _start(self, trial: Trial, again: int = 0) -> None:
        fit, params = self._suggest(trial)
        job = replace(
            self.search.job_of(fit, params), study=self.study.study_name, trial=trial._trial_id, number=trial.number
        )
        self.going += 1
        engine = self.where.engine
        if engine is None:
            self.ended.put((trial, job, _Here(self.ws, job, self.search.rows, trial), again))
            return
        job = replace(job, url=self.ws.url, settings=self.ws.settings, rows=self.shared, clock=self.ws.clock)
        self._submit(engine, trial, job, again)

    def _submit(self, engine: Engine, trial: Trial, job: Job, again: int) -> None:
        where = self.where
        if job.pruner != "none":
            self._storage.log.flush()  # the worker reports to the trial: it must be there to be read
        task = engine.submit(
            perform, job, needs=where.needs, timeout_s=where.timeout_s, name=f"trial {trial.number} of {job.study}"
        )
        self.tasks[trial.number] = task
        task.add_done_callback(lambda done: self.ended.put((trial, job, done, again)))

    def _take(self, trial: Trial, job: Job, task: Task[Outcome], again: int) -> None:
        self.tasks.pop(trial.number, None)
        try:
            outcome = task.result()
        except ServerFailed as error:
            if again < self.where.retries and self.where.engine is not None:
                self._submit(self.where.engine, trial, job, again + 1)
                return
            outcome = self._failed(trial, error)
        except Exception as error:  # the user's function; recorded as a failed run
            outcome = self._failed(trial, error)
        self.going -= 1
        self._tell(trial, outcome)
        self._say(job, outcome)

    def _failed(self, trial: Trial, error: Exception) -> Outcome:
        """Raises where it is a fit with its defaults; the study then keeps the trial as going on, so that the same
        call again does it again."""
        if trial.number < len(self.search.fits):
            raise error
        return Outcome("failed", None, {}, f"{type(error).__name__}: {error}")

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        names = [name for name, _ in self.search.scores]
        if outcome.run is not None:
            trial.set_user_attr(RUN, outcome.run)
        trial.set_user_attr(WALL_S, outcome.wall_s)
        if outcome.text:
            trial.set_user_attr(TEXT, outcome.text)
        if outcome.ended == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
        elif outcome.ended == "failed" or not all(name in outcome.metrics for name in names):
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            for limit in self.search.limits:
                trial.set_constraint(limit.text, limit.excess({**outcome.metrics, "fit_s": outcome.wall_s}))
            if outcome.estimator is not None:
                self.estimators = {trial.number: outcome.estimator} | self.estimators
            self.study.tell(trial, [outcome.metrics[name] for name in names])
            self._keep_best()

    def _keep_best(self) -> None:
        """Keep one estimator in memory: the best one's."""
        found = best_of(self.study, self.search)
        self.estimators = {
            number: model for number, model in self.estimators.items() if found and number == found.number
        }

    def _suggest(self, trial: Trial) -> tuple[Fit, dict[str, Any]]:
        def draw(name: str, spread: Any) -> Any:  # Any: one of Optuna's distributions, and its value
            self._sampler_of(trial.number, name)
            match spread:
                case FloatDistribution(low=low, high=high, log=log):
                    return trial.suggest_float(name, low, high, log=log)
                case IntDistribution(low=low, high=high):
                    return trial.suggest_int(name, low, high)
                case CategoricalDistribution(choices=choices):
                    return trial.suggest_categorical(name, choices)

        fit = self.search.fits[draw("fit", CategoricalDistribution(list(self.search.fits)))]
        params: dict[str, Any] = {}
        conditions, defaults = conditions_of(fit), defaults_of(fit)
        for name, values in ranges_of(fit).items():
            if name in conditions and not conditions[name].holds(params):
                params[name] = defaults[name]
            else:
                params[name] = draw(f"{fit_name(fit)}.{name}", distribution(values))
        return fit, params

    def _say(self, job: Job, outcome: Outcome) -> None:
        if self.search.progress is None:
            return
        score, name = self.search.scores[0][0], fit_name(job.fit)
        found = self.study.get_trials(deepcopy=False)
        done = sum(each.state.is_finished() for each in found)
        if outcome.ended == "failed":
            text = f"{name} failed, see its run"
        elif outcome.ended == "pruned":
            text = f"{name} {outcome.text}"
        else:
            best = best_of(self.study, self.search)
            shown = "none within the limits yet" if best is None else f"best {best.values[0]:.4f}"
            text = f"{name} {score} {outcome.metrics.get(score, float('nan')):.4f}, {shown}"
        self.search.progress(done, self.search.trials, text)


class _Here:
    """A trial that is done in this process when its result is asked for."""

    def __init__(self, ws: Workspace, job: Job, rows: Rows, trial: Trial) -> None:
        self._call = (ws, job, rows, None if job.pruner == "none" else judge(trial))

    def result(self, timeout_s: float | None = None) -> Outcome:  # noqa: ARG002  as Task says
        """Do it."""
        return attempt(*self._call)

    def done(self) -> bool:
        """It is done when it is asked for."""
        return False

    def add_done_callback(self, callback: Callable[[Task[Any]], object]) -> None:
        """Call at once."""
        callback(self)


def search(ws: Workspace, study: Study, what: Search, where: Where) -> tuple[FrozenTrial | None, object | None]:
    """Search, or go on with it. Returns the best trial and its estimator where this process has fitted it."""
    going = _Going(ws, study, what, where)
    try:
        going.run()
    finally:
        going.close()
    best = best_of(study, what)
    return best, None if best is None else going.estimators.get(best.number)


def best_of(study: Study, what: Search) -> FrozenTrial | None:
    """The best trial within the limits, by the first score, then the next ones; ties go to the earlier."""
    sign = [1.0 if direction == "max" else -1.0 for _, direction in what.scores]
    found = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if all(excess <= 0 for excess in trial.constraints.values())
    ]
    if not found:
        return None
    # So it is on the Pareto front: nothing that is as good in the first score is better in another.
    return max(found, key=lambda trial: (*(s * v for s, v in zip(sign, trial.values, strict=True)), -trial.number))


def defaults_as_params(fit: Fit) -> dict[str, Any]:
    """The first trial of a fit, under the names that the study has."""
    return {"fit": fit_name(fit), **{f"{fit_name(fit)}.{name}": value for name, value in defaults_of(fit).items()}}
