"""The table of what may be asked."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel

from scheduler.http import bodies, handlers
from scheduler.http.handlers import Visit

NAME = "[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"
INDEX = "(?:0|[1-9][0-9]{0,8})"


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    """With ``{name}`` of an experiment and ``{index}`` of a trial."""
    handle: Callable[[Visit], BaseModel]
    answer: type[BaseModel]
    body: type[BaseModel] | None = None
    query: type[BaseModel] = bodies.Query
    takes_experiment: bool = False
    """Whether the body is an experiment, whose rules are those of a file."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What a path looks like."""
        named = self.path.replace("{name}", f"(?P<name>{NAME})")
        return re.compile(named.replace("{index}", f"(?P<index>{INDEX})"))

    @property
    def takes_time(self) -> bool:
        """Whether a model may be fitted, or another driver be waited for."""
        return self.method == "POST" or self.query is bodies.ByModel

    @property
    def status(self) -> int:
        """Return the status of success."""
        return 201 if self.handle in _MAKERS else 200

    @property
    def summary(self) -> str:
        """Return what it does, in a sentence."""
        return (self.handle.__doc__ or "").strip()


_MAKERS = (handlers.create_experiment, handlers.next_trial, handlers.attach_trial)
_ONE = "/v1/experiments/{name}"
_TRIAL = _ONE + "/trials/{index}"

ROUTES = (
    Route(
        "GET",
        "/v1/experiments",
        handlers.list_experiments,
        bodies.ExperimentsAnswer,
        query=bodies.Page,
    ),
    Route(
        "POST",
        "/v1/experiments",
        handlers.create_experiment,
        bodies.ExperimentAnswer,
        takes_experiment=True,
    ),
    Route("GET", _ONE, handlers.get_experiment, bodies.ExperimentAnswer),
    Route(
        "GET",
        _ONE + "/trials",
        handlers.list_trials,
        bodies.TrialsAnswer,
        query=bodies.TrialsPage,
    ),
    Route("POST", _ONE + "/trials", handlers.attach_trial, bodies.TrialAnswer, bodies.AttachTrial),
    Route(
        "POST", _ONE + "/trials/next", handlers.next_trial, bodies.TrialAnswer, bodies.NextTrial
    ),
    Route("GET", _TRIAL, handlers.get_trial, bodies.TrialAnswer),
    Route(
        "POST",
        _TRIAL + "/complete",
        handlers.complete_trial,
        bodies.TrialAnswer,
        bodies.Complete,
    ),
    Route("POST", _TRIAL + "/data", handlers.attach_data, bodies.TrialAnswer, bodies.AttachData),
    Route("POST", _TRIAL + "/fail", handlers.fail_trial, bodies.TrialAnswer, bodies.End),
    Route("POST", _TRIAL + "/abandon", handlers.abandon_trial, bodies.TrialAnswer, bodies.End),
    Route(
        "POST", _TRIAL + "/stop-early", handlers.stop_trial_early, bodies.TrialAnswer, bodies.End
    ),
    Route("GET", _ONE + "/best", handlers.best, bodies.BestAnswer, query=bodies.ByModel),
    Route("GET", _ONE + "/pareto", handlers.pareto, bodies.FrontierAnswer, query=bodies.ByModel),
    Route("POST", _ONE + "/predict", handlers.predict, bodies.PredictionsAnswer, bodies.Points),
)
