"""The loop door: a function is optimized by one call."""

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from scheduler.python import words
from scheduler.python.errors import (
    EvaluationsFailed,
    NoTrialAvailable,
    ObjectNotFoundError,
    OptimizationComplete,
    UserInputError,
)

if TYPE_CHECKING:
    from scheduler.python.answers import Moments, Values
    from scheduler.python.client import Client
    from scheduler.python.experiment import Experiment

Evaluate = Callable[..., Any]
"""From parameters, or parameters and a weight, to a result as ``Client.complete_trial`` takes."""
LOG = logging.getLogger("schedd")


class Model:
    """What was learned, to be asked; it is fitted when it is asked."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def predict(self, points: Sequence[Mapping[str, Any]]) -> "list[Moments]":
        """Return metric -> (mean, its standard error) of each arm. Raises ModelError."""
        return self._client.predict(points)


class Optimized(NamedTuple):
    """What came of a loop."""

    best_parameters: dict[str, Any]
    values: "Values"
    """Means by metric, and their covariances, as far as they are known."""
    experiment: "Experiment"
    """The experiment, which may be asked for more. Its store lives as long as it does."""
    model: Model


def optimize(  # noqa: PLR0913, PLR0917  # Ax's own
    parameters: Sequence[Any],
    evaluation_function: Evaluate,
    experiment_name: str | None = None,
    objective_name: str | None = None,
    minimize: bool = False,
    parameter_constraints: Sequence[Any] | None = None,
    outcome_constraints: Sequence[Any] | None = None,
    total_trials: int = 20,
    arms_per_trial: int = 1,
    random_seed: int | None = None,
    generation_strategy: Any = None,
    *,
    n_jobs: int = 1,
    executor: Executor | None = None,
    storage: str | None = None,
    progress: bool | None = None,
    options: Mapping[str, Any] | None = None,
) -> Optimized:
    """Optimize a function; return (best_parameters, values, experiment, model).

    ``evaluation_function`` takes an arm's parameters, and its weight where it has room for that,
    and returns a number, (mean, sem), or {metric: either}. ``n_jobs`` evaluations run at a time,
    in threads; an ``executor`` of yours, of processes perhaps, may run them instead.
    An exception makes the trial FAILED and is logged; where more than half of the trials fail,
    from five failures on, :class:`EvaluationsFailed` is raised. Ctrl-C gives up what runs and
    returns what is done. With ``storage``, another call goes on where this one ended.
    ``progress``: whether to draw a bar; by default on a terminal. Raises UserInputError.
    """
    from scheduler.python.client import Client

    if n_jobs < 1:
        raise UserInputError(f"n_jobs is {n_jobs}; it is at least 1")
    client = Client(storage, random_seed=random_seed, generation_strategy=generation_strategy)
    pending = max(words.MAX_PENDING, n_jobs)
    trials = {"total_trials": total_trials, "max_pending_trials": pending}
    client.create_experiment(
        parameters,
        experiment_name,
        parameter_constraints=parameter_constraints or (),
        outcome_constraints=outcome_constraints or (),
        objective_name=objective_name,
        minimize=minimize,
        options={"trials": {**trials, "batch_size": arms_per_trial}, **(options or {})},
    )
    with _bar(total_trials, progress) as advance:
        _Loop(client, _with_weight(evaluation_function), n_jobs, advance).run(executor)
    return Optimized(*_best(client), client.experiment, Model(client))


@dataclass
class _Loop:
    """Evaluations that run, and what is reported of them."""

    client: "Client"
    evaluate: Callable[[Mapping[str, Any], float], Any]
    n_jobs: int
    advance: Callable[[], None]
    running: "dict[Future[Any], int]" = field(default_factory=dict)
    last: BaseException | None = None
    """What an evaluation raised last."""

    def run(self, executor: Executor | None) -> None:
        """Evaluate until no trial is left, or Ctrl-C."""
        own = executor or (_Here() if self.n_jobs == 1 else ThreadPoolExecutor(self.n_jobs))
        try:
            while self._fill(own):
                for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                    self._report(self.running.pop(future), future)
        except KeyboardInterrupt:
            self._give_up()
        finally:
            if executor is None:
                own.shutdown(wait=False, cancel_futures=True)
        self._check()

    def _fill(self, executor: Executor) -> bool:
        """Start as many evaluations as may run; return whether any does."""
        while len(self.running) < self.n_jobs:
            try:
                _, index = self.client.get_next_trial()
            except OptimizationComplete:
                break
            except NoTrialAvailable:
                if not self.running:
                    raise
                break
            arms = [(a.parameters, a.weight) for a in self.client.session.record(index).trial.arms]
            self.running[executor.submit(_evaluated, self.evaluate, arms)] = index
        return bool(self.running)

    def _report(self, index: int, future: "Future[Any]") -> None:
        error = future.exception()
        if isinstance(error, KeyboardInterrupt):
            self.client.mark_trial_abandoned(index, "interrupted")
            raise error
        if error is None:
            try:
                self._complete(index, future.result())
            except UserInputError as refused:
                error = refused
        if error is not None:
            self.last = error
            LOG.warning("trial %d failed: %s", index, error, exc_info=error)
            self.client.mark_trial_failed(index, f"{type(error).__name__}: {error}")
        self.advance()

    def _complete(self, index: int, results: list[Any]) -> None:
        arms = self.client.session.record(index).trial.arms
        if len(arms) == 1:
            self.client.complete_trial(index, results[0])
        else:
            named = zip(arms, results, strict=True)
            self.client.complete_trial(index, {arm.name: result for arm, result in named})

    def _give_up(self) -> None:
        """Abandon what runs; threads cannot be ended, but nobody waits for them."""
        for future, index in self.running.items():
            future.cancel()
            with suppress(UserInputError):
                self.client.mark_trial_abandoned(index, "interrupted")

    def _check(self) -> None:
        """Raise EvaluationsFailed where failures ended the experiment."""
        stop = self.client.session.state().stop
        if stop is not None and stop.failed:
            last = f"; the last: {type(self.last).__name__}: {self.last}" if self.last else ""
            raise EvaluationsFailed(f"{stop.message}{last}") from self.last


class _Here(Executor):
    """Evaluates in the calling thread, so that Ctrl-C and debuggers find the function."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except (Exception, KeyboardInterrupt) as error:  # the caller looks at it
            future.set_exception(error)
        return future


def _evaluated(
    evaluate: Callable[[Mapping[str, Any], float], Any], arms: list[tuple[Any, float]]
) -> list[Any]:
    """Return the results of a trial's arms; called where evaluations run."""
    return [evaluate(dict(parameters), weight) for parameters, weight in arms]


def _with_weight(function: Evaluate) -> Callable[[Mapping[str, Any], float], Any]:
    """Return the function as one of parameters and a weight, whichever it takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function written in C
        return _Alone(function)
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in places if p.default is p.empty]
    return function if len(needed) == 2 or _takes_weight(places) else _Alone(function)


def _takes_weight(places: Sequence[inspect.Parameter]) -> bool:
    return len(places) >= 2 and places[1].name == "weight"


@dataclass(frozen=True)
class _Alone:
    """A function of parameters alone; it can be sent to another process if the function can."""

    function: Evaluate

    def __call__(self, parameters: Mapping[str, Any], _weight: float) -> Any:
        return self.function(parameters)


@contextmanager
def _bar(length: int, wanted: bool | None) -> Iterator[Callable[[], None]]:
    """Draw a bar, and give what moves it on."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda: None
        return
    import click

    with click.progressbar(length=length, label="trials", file=sys.stderr) as bar:
        yield lambda: bar.update(1)


def _best(client: "Client") -> "tuple[dict[str, Any], Values]":
    """Return the best arm and its values; where none is feasible, the one that misses by least."""
    from scheduler.python.answers import best_of, values_of

    choice = client.finding().choice
    if not choice.chosen and choice.least_infeasible is None:
        raise ObjectNotFoundError("no trial has completed")
    if not choice.chosen:
        LOG.warning("no arm is feasible; the one that misses by least is returned")
    found = choice.chosen[0] if choice.chosen else choice.least_infeasible
    assert found is not None
    parameters, moments, _, _ = best_of(found)
    return parameters, values_of(moments)
